//! What all operations share: the state of the installation and the means to change it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::{Env, OwnerEnded, Spawner};
use network::PodNetwork;
use streaming::Streaming;
use tokio::sync::{OwnedMutexGuard, broadcast, watch};
use tokio::time::Instant;

use crate::config::Paths;
use crate::confinement::Confinement;
use crate::container::Container;
use crate::disk::DiskError;
use crate::handlers::RuntimeHandlers;
use crate::id::{ContainerId, SandboxId};
use crate::image::{Digest, Health, ImageStore, Preloads, Puller, Settings};
use crate::layer::LayerId;
use crate::sandbox::Sandbox;
use crate::status;

pub(crate) use cri::ContainerEventType as EventKind;

/// Events that a slow subscriber may lag behind before it loses some.
const EVENT_BACKLOG: usize = 1024;

/// An image whose containers fail, though it is whole, is looked at once in this time.
const SUSPICION: Duration = Duration::from_secs(60 * 60);

/// Locks by name, for things that do not exist yet.
#[derive(Debug, Default)]
pub(crate) struct Locks(Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>);

impl Locks {
    /// Waits until nobody else holds `key`.
    pub(crate) async fn lock(&self, key: String) -> OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            locks.retain(|_, lock| Arc::strong_count(lock) > 1);
            locks.entry(key).or_default().clone()
        };
        lock.lock_owned().await
    }
}

/// The operation was broken off because the runtime ends.
#[derive(Debug, thiserror::Error)]
#[error("the container runtime is shutting down")]
pub(crate) struct ShuttingDown(#[source] OwnerEnded);

/// The runtime's state.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) paths: Paths,
    pub(crate) env: Env,
    pub(crate) instance: String,
    pub(crate) shim_program: PathBuf,
    /// How long the start of a container may take.
    pub(crate) start_timeout: Duration,
    pub(crate) images: Arc<ImageStore>,
    pub(crate) puller: Puller,
    pub(crate) preloads: Preloads,
    pub(crate) network: Option<PodNetwork>,
    pub(crate) streaming: Streaming,
    pub(crate) locks: Locks,
    pub(crate) spawner: Spawner,
    pub(crate) runtime_handlers: RuntimeHandlers,
    pub(crate) cdi_dirs: Vec<PathBuf>,
    pub(crate) confinement: Confinement,
    /// Whether the images that lie on the node have been imported.
    pub(crate) preloaded: watch::Sender<bool>,
    /// When images were last looked at because containers of theirs fail.
    suspected: Arc<Mutex<HashMap<Digest, Instant>>>,
    events: broadcast::Sender<cri::ContainerEventResponse>,
    sandboxes: Mutex<BTreeMap<SandboxId, Arc<Sandbox>>>,
    containers: Mutex<BTreeMap<ContainerId, Arc<Container>>>,
}

/// What an engine is built from.
pub(crate) struct Parts {
    pub(crate) paths: Paths,
    pub(crate) env: Env,
    pub(crate) instance: String,
    pub(crate) shim_program: PathBuf,
    pub(crate) start_timeout: Duration,
    pub(crate) images: Arc<ImageStore>,
    pub(crate) registries: Settings,
    pub(crate) network: Option<PodNetwork>,
    pub(crate) streaming: Streaming,
    pub(crate) spawner: Spawner,
    pub(crate) runtime_handlers: RuntimeHandlers,
    pub(crate) cdi_dirs: Vec<PathBuf>,
    pub(crate) confinement: Confinement,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The maps change by single inserts and removes, which a panic does not leave half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Engine {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts {
            paths,
            env,
            instance,
            shim_program,
            start_timeout,
            images,
            registries,
            network,
            streaming,
            spawner,
            runtime_handlers,
            cdi_dirs,
            confinement,
        } = parts;
        Self {
            preloads: Preloads::new(paths.preloaded()),
            paths,
            puller: Puller::new(images.clone(), registries, env.clone()),
            env,
            instance,
            shim_program,
            start_timeout,
            images,
            network,
            streaming,
            locks: Locks::default(),
            spawner,
            runtime_handlers,
            cdi_dirs,
            confinement,
            preloaded: watch::Sender::new(false),
            suspected: Arc::default(),
            events: broadcast::channel(EVENT_BACKLOG).0,
            sandboxes: Mutex::default(),
            containers: Mutex::default(),
        }
    }

    /// Runs `operation` to its end even if the caller goes away meanwhile.
    pub(crate) async fn detached<T: Send + 'static>(
        &self,
        name: &'static str,
        operation: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, ShuttingDown> {
        self.spawner.detached(name, operation).await.map_err(ShuttingDown)
    }

    pub(crate) fn sandboxes(&self) -> Vec<Arc<Sandbox>> {
        lock(&self.sandboxes).values().cloned().collect()
    }

    /// The sandbox with this identifier, or the only one whose identifier starts so.
    pub(crate) fn sandbox(&self, id: &str) -> Option<Arc<Sandbox>> {
        find(&lock(&self.sandboxes), id)
    }

    pub(crate) fn insert_sandbox(&self, sandbox: Arc<Sandbox>) {
        lock(&self.sandboxes).insert(sandbox.id().clone(), sandbox);
    }

    pub(crate) fn forget_sandbox(&self, id: &SandboxId) {
        lock(&self.sandboxes).remove(id);
    }

    pub(crate) fn containers(&self) -> Vec<Arc<Container>> {
        lock(&self.containers).values().cloned().collect()
    }

    /// Removes images because somebody wants them to go, and what only they needed. Blocks.
    pub(crate) fn remove_images<'a>(&self, ids: impl IntoIterator<Item = &'a Digest>) -> Result<(), DiskError> {
        ids.into_iter().try_for_each(|id| self.preloads.remove(&self.images, id))?;
        self.collect_images()
    }

    /// Removes the content of images that neither images nor containers need. Blocks.
    pub(crate) fn collect_images(&self) -> Result<(), DiskError> {
        let used: BTreeSet<LayerId> =
            self.containers().iter().flat_map(|container| container.record().layers.clone()).collect();
        self.images.collect(&used)
    }

    /// The container with this identifier, or the only one whose identifier starts so.
    pub(crate) fn container(&self, id: &str) -> Option<Arc<Container>> {
        find(&lock(&self.containers), id)
    }

    pub(crate) fn containers_of(&self, sandbox: &SandboxId) -> Vec<Arc<Container>> {
        lock(&self.containers).values().filter(|container| container.record().sandbox == *sandbox).cloned().collect()
    }

    pub(crate) fn insert_container(&self, container: Arc<Container>) {
        lock(&self.containers).insert(container.id().clone(), container);
    }

    pub(crate) fn forget_container(&self, id: &ContainerId) {
        lock(&self.containers).remove(id);
    }

    /// Everything that happens from now on.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<cri::ContainerEventResponse> {
        self.events.subscribe()
    }

    pub(crate) fn emit_sandbox(&self, kind: EventKind, sandbox: &Sandbox) {
        self.emit(kind, sandbox.id().as_str(), sandbox.id());
    }

    pub(crate) fn emit_container(&self, kind: EventKind, container: &Container) {
        self.emit(kind, container.id().as_str(), &container.record().sandbox);
    }

    fn emit(&self, kind: EventKind, id: &str, sandbox: &SandboxId) {
        if self.events.receiver_count() == 0 {
            return;
        }
        let pod_sandbox_status = self.sandbox(sandbox.as_str()).map(|sandbox| status::sandbox_status(&sandbox));
        let containers_statuses =
            self.containers_of(sandbox).iter().map(|container| status::container_status(self, container)).collect();
        let event = cri::ContainerEventResponse {
            container_id: id.to_owned(),
            container_event_type: kind.into(),
            created_at: status::nanoseconds(self.env.now()),
            pod_sandbox_status,
            containers_statuses,
        };
        // The last subscriber may have left in this moment.
        let _ = self.events.send(event);
    }

    /// Has an image looked at of which a container failed: the disk may have damaged it.
    pub(crate) fn suspect(&self, image: &Digest) {
        let now = self.env.instant();
        {
            let mut suspected = lock(&self.suspected);
            suspected.retain(|_, at| now.saturating_duration_since(*at) < SUSPICION);
            if suspected.contains_key(image) {
                return;
            }
            suspected.insert(image.clone(), now);
        }
        let Some(image) = self.images.find(image.as_str()) else { return };
        let (store, suspected) = (self.images.clone(), self.suspected.clone());
        self.spawner.spawn("check an image", async move {
            let _adding = store.adding().await;
            let (worker, checked) = (store.clone(), image.clone());
            match tokio::task::spawn_blocking(move || worker.check(&checked)).await {
                Ok(Ok(Health::Whole)) => {}
                Ok(Ok(health)) => {
                    // What was mended once may have to be again. What cannot be is not read again and again.
                    if health != Health::Damaged {
                        lock(&suspected).remove(&image.id);
                    }
                    tracing::warn!(image = %image.id, ?health, "an image was damaged on the disk");
                }
                Ok(Err(err)) => tracing::warn!(image = %image.id, %err, "an image cannot be checked"),
                Err(err) => tracing::error!(image = %image.id, %err, "checking an image failed"),
            }
        });
    }

    /// The cgroup of the shims.
    pub(crate) fn shim_cgroup(&self) -> PathBuf {
        shim_cgroup(&self.instance)
    }
}

/// The cgroup of an installation's shims.
pub(crate) fn shim_cgroup(instance: &str) -> PathBuf {
    Path::new("/").join(instance).join("shims")
}

fn find<K: Ord + std::borrow::Borrow<str>, V>(map: &BTreeMap<K, Arc<V>>, id: &str) -> Option<Arc<V>> {
    if let Some(exact) = map.get(id) {
        return Some(exact.clone());
    }
    if id.is_empty() {
        return None;
    }
    let mut starting = map.iter().filter(|(key, _)| {
        let key: &str = (*key).borrow();
        key.starts_with(id)
    });
    match (starting.next(), starting.next()) {
        (Some((_, only)), None) => Some(only.clone()),
        _ => None,
    }
}
