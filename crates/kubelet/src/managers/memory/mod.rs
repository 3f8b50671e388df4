//! The memory manager: has the memory and huge pages of containers come from certain NUMA nodes.

mod policy;
mod settings;
mod state;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{Container, Pod};

pub use settings::{Policy, Settings};

use super::checkpoint::{Checkpoint, CheckpointError};
use super::machine::MachineTopology;
use super::topology::{AllocationError, Hint, HintProvider, Hints};
use policy::{PolicyError, Reusable, StaticPolicy};
use state::{State, StateFile};

/// The file below the kubelet's directory.
const FILE: &str = "memory_manager_state";

/// The memory manager cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum MemoryManagerError {
    /// The state file cannot be used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The state is another policy's.
    #[error(
        "configured memory manager policy {configured:?} differs from that of {}, {found:?}: drain this node and delete the file before restarting the kubelet", path.display()
    )]
    OtherPolicy {
        /// The policy that is set.
        configured: &'static str,
        /// The policy of the file.
        found: String,
        /// The file.
        path: PathBuf,
    },
    /// The policy does not go with the reservation.
    #[error("memory manager: {0}")]
    Policy(#[source] PolicyError),
    /// The policy does not go with the state.
    #[error("memory manager: {source}: drain this node and delete {} before restarting the kubelet", path.display())]
    State {
        /// Why.
        source: PolicyError,
        /// The file.
        path: PathBuf,
    },
}

/// The memory manager.
pub struct MemoryManager {
    policy: Option<StaticPolicy>,
    inner: Mutex<Inner>,
    file: Checkpoint,
    requests: AtomicU64,
    errors: AtomicU64,
}

#[derive(Default)]
struct Inner {
    state: State,
    reusable: Reusable,
}

impl MemoryManager {
    /// The manager with the state that was kept in `dir`; the node keeps so many bytes from pods.
    pub fn open(
        settings: &Settings,
        machine: &Arc<MachineTopology>,
        keeps: u64,
        dir: &Path,
    ) -> Result<Self, MemoryManagerError> {
        let file = Checkpoint::new(&dir.join(FILE));
        let path = || file.path().to_path_buf();
        let configured = settings.policy.name();
        let mut kept = None;
        if let Some(read) = file.read::<StateFile>()? {
            if read.policy != configured {
                return Err(MemoryManagerError::OtherPolicy { configured, found: read.policy, path: path() });
            }
            kept = Some(read.into_state());
        }
        let mut state = kept.clone().unwrap_or_default();
        let policy = match settings.policy {
            Policy::None => None,
            Policy::Static => {
                let policy =
                    StaticPolicy::new(&settings.reserved, machine, keeps).map_err(MemoryManagerError::Policy)?;
                state = policy.begin(state).map_err(|source| MemoryManagerError::State { source, path: path() })?;
                Some(policy)
            }
        };
        if kept.as_ref() != Some(&state) {
            file.write(StateFile::new(configured, &state))?;
        }
        let inner = Mutex::new(Inner { state, reusable: Reusable::default() });
        Ok(Self { policy, inner, file, requests: AtomicU64::new(0), errors: AtomicU64::new(0) })
    }

    /// Whether containers get memory of certain nodes.
    pub fn is_static(&self) -> bool {
        self.policy.is_some()
    }

    /// The nodes of which a container's memory is; none where that is not managed.
    pub fn nodes(&self, uid: &str, container: &str) -> BTreeSet<u32> {
        let inner = self.lock();
        inner.state.of(uid, container).into_iter().flatten().flat_map(|block| block.nodes.iter().copied()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn keep(&self) -> Result<(), CheckpointError> {
        self.file.keep(|| StateFile::new(Policy::Static.name(), &self.lock().state)).await
    }

    fn take(&self, pod: &Pod, container: &Container, hint: Hint) -> Result<bool, AllocationError> {
        let Some(policy) = &self.policy else { return Ok(false) };
        if !policy.wanted(pod, container).is_empty() {
            self.requests.fetch_add(1, Ordering::Relaxed);
        }
        let mut inner = self.lock();
        let Inner { state, reusable } = &mut *inner;
        policy.allocate(state, reusable, (pod, container), hint).map_err(|err| {
            self.errors.fetch_add(1, Ordering::Relaxed);
            AllocationError::unexpected(err)
        })
    }
}

impl HintProvider for MemoryManager {
    fn container_hints(&self, pod: &Pod, container: &Container) -> Hints {
        let Some(policy) = &self.policy else { return Hints::new() };
        let inner = self.lock();
        policy.container_hints(&inner.state, &inner.reusable, pod, container)
    }

    fn pod_hints(&self, pod: &Pod) -> Hints {
        let Some(policy) = &self.policy else { return Hints::new() };
        let inner = self.lock();
        policy.pod_hints(&inner.state, &inner.reusable, pod)
    }

    fn allocate<'a>(
        &'a self,
        pod: &'a Pod,
        container: &'a Container,
        hint: Hint,
    ) -> BoxFuture<'a, Result<(), AllocationError>> {
        async move {
            if self.take(pod, container, hint)? {
                self.keep().await.map_err(AllocationError::unexpected)?;
            }
            Ok(())
        }
        .boxed()
    }

    fn release<'a>(&'a self, uid: &'a str) -> BoxFuture<'a, ()> {
        async move {
            let released = self.policy.as_ref().is_some_and(|policy| policy.release(&mut self.lock().state, uid));
            if released && let Err(err) = self.keep().await {
                // The next change writes it; a restart before that finds the pod gone and releases again.
                tracing::warn!(uid, err = %err, "the release of memory cannot be written down");
            }
        }
        .boxed()
    }

    fn holders(&self) -> Vec<String> {
        self.lock().state.blocks.keys().cloned().collect()
    }
}
