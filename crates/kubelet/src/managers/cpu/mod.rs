//! The CPU manager: gives whole CPUs to containers for themselves, and the rest to all others.

mod distribute;
mod policy;
mod settings;
mod state;
mod take;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{Container, Pod};
use tokio::sync::watch;

pub use policy::PolicyError;
pub use settings::{Policy, Settings};

use super::checkpoint::{Checkpoint, CheckpointError};
use super::cpuset::{CpuSet, CpuSetError};
use super::machine::MachineTopology;
use super::topology::{AllocationError, Hint, HintProvider, Hints};
use policy::{Reusable, StaticPolicy};
use state::{State, StateFile};

/// The file below the kubelet's directory.
const FILE: &str = "cpu_manager_state";

/// The CPU manager cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum CpuManagerError {
    /// The state file cannot be used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The state file names no CPUs.
    #[error("{} is corrupt: {source}", path.display())]
    Cpus {
        /// The file.
        path: PathBuf,
        /// Why.
        source: CpuSetError,
    },
    /// The state is another policy's.
    #[error(
        "configured CPU manager policy {configured:?} differs from that of {}, {found:?}: drain this node and delete the file before restarting the kubelet", path.display()
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
    #[error("CPU manager: {0}")]
    Policy(#[source] PolicyError),
    /// The policy does not go with the state.
    #[error("CPU manager: {source}: drain this node and delete {} before restarting the kubelet", path.display())]
    State {
        /// Why.
        source: PolicyError,
        /// The file.
        path: PathBuf,
    },
}

/// The CPU manager.
pub struct CpuManager {
    policy: Option<StaticPolicy>,
    inner: Mutex<Inner>,
    file: Checkpoint,
    /// Counts changes of the shared CPUs.
    changes: watch::Sender<u64>,
    requests: AtomicU64,
    errors: AtomicU64,
}

#[derive(Default)]
struct Inner {
    state: State,
    reusable: Reusable,
}

impl CpuManager {
    /// The manager with the state that was kept in `dir`; the node reserves so many thousandths of CPUs.
    pub fn open(
        settings: &Settings,
        machine: &Arc<MachineTopology>,
        reserved_milli: u64,
        dir: &Path,
    ) -> Result<Self, CpuManagerError> {
        let file = Checkpoint::new(&dir.join(FILE));
        let path = || file.path().to_path_buf();
        let configured = settings.policy.name();
        let (mut state, mut kept_state) = (State::default(), None);
        if let Some(kept) = file.read::<StateFile>()? {
            if kept.policy != configured {
                return Err(CpuManagerError::OtherPolicy { configured, found: kept.policy, path: path() });
            }
            state = kept.state().map_err(|source| CpuManagerError::Cpus { path: path(), source })?;
            kept_state = Some(state.clone());
        }
        let policy = match settings.policy {
            Policy::None => None,
            Policy::Static => {
                let policy = StaticPolicy::new(settings, machine, reserved_milli).map_err(CpuManagerError::Policy)?;
                state = policy.begin(state).map_err(|source| CpuManagerError::State { source, path: path() })?;
                tracing::info!(reserved = %policy.reserved(), shared = %state.shared, "CPUs are given to containers");
                Some(policy)
            }
        };
        if kept_state.as_ref() != Some(&state) {
            file.write(StateFile::new(configured, &state))?;
        }
        let inner = Mutex::new(Inner { state, reusable: Reusable::default() });
        let changes = watch::channel(0).0;
        Ok(Self { policy, inner, file, changes, requests: AtomicU64::new(0), errors: AtomicU64::new(0) })
    }

    /// Whether containers get CPUs for themselves.
    pub fn is_static(&self) -> bool {
        self.policy.is_some()
    }

    /// The CPUs on which a container may run: its own, or the shared ones; `None` where nobody says.
    pub fn cpus(&self, uid: &str, container: &str) -> Option<CpuSet> {
        self.policy.as_ref()?;
        let inner = self.lock();
        Some(inner.state.of(uid, container).unwrap_or(&inner.state.shared).clone())
    }

    /// Whether a container, or any container of a pod, has CPUs for itself.
    pub fn has_own(&self, uid: &str, container: Option<&str>) -> bool {
        let inner = self.lock();
        match container {
            Some(container) => inner.state.of(uid, container).is_some(),
            None => inner.state.exclusive.contains_key(uid),
        }
    }

    /// Tells when the shared CPUs change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down what is whose, and lets it be known.
    async fn keep(&self) -> Result<(), CheckpointError> {
        let kept = self.file.keep(|| StateFile::new(Policy::Static.name(), &self.lock().state)).await;
        self.changes.send_modify(|count| *count += 1);
        kept
    }

    fn take(&self, pod: &Pod, container: &Container, hint: Hint) -> Result<bool, AllocationError> {
        let Some(policy) = &self.policy else { return Ok(false) };
        if policy.wanted(pod, container) > 0 {
            self.requests.fetch_add(1, Ordering::Relaxed);
        }
        let mut inner = self.lock();
        let Inner { state, reusable } = &mut *inner;
        let taken = policy.allocate(state, reusable, (pod, container), hint);
        if taken.is_err() {
            self.errors.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }
}

impl HintProvider for CpuManager {
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
                tracing::warn!(uid, err = %err, "the release of CPUs cannot be written down");
            }
        }
        .boxed()
    }

    fn holders(&self) -> Vec<String> {
        self.lock().state.exclusive.keys().cloned().collect()
    }
}
