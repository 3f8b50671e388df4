//! The CPU manager: gives whole CPUs to containers for themselves, and the rest to all others.

mod distribute;
mod policy;
mod settings;
mod state;
mod take;

use std::path::Path;
use std::sync::Arc;

pub use settings::{Policy, Settings};

use super::cpuset::CpuSet;
use super::machine::MachineTopology;
use super::manager::{Manager, ManagerError};
use policy::StaticPolicy;

/// The CPU manager.
pub type CpuManager = Manager<StaticPolicy>;

impl CpuManager {
    /// The manager with the state that was kept in `dir`; the node reserves so many thousandths of CPUs.
    pub fn of(
        settings: &Settings,
        machine: &Arc<MachineTopology>,
        reserved_milli: u64,
        dir: &Path,
    ) -> Result<Self, ManagerError> {
        let policy = match settings.policy {
            Policy::None => None,
            Policy::Static => Some(StaticPolicy::new(settings, machine, reserved_milli)),
        };
        let policy = policy.transpose().map_err(ManagerError::policy::<StaticPolicy>)?;
        let manager = Self::open(settings.policy.name(), policy, dir)?;
        manager.look(|policy, state| {
            tracing::info!(reserved = %policy.reserved(), shared = %state.shared, "CPUs are given to containers");
        });
        Ok(manager)
    }

    /// The CPUs on which a container may run: its own, or the shared ones; `None` where nobody says.
    pub fn cpus(&self, uid: &str, container: &str) -> Option<CpuSet> {
        self.look(|_, state| state.of(uid, container).unwrap_or(&state.shared).clone())
    }

    /// The CPUs that a container has for itself.
    pub fn own(&self, uid: &str, container: &str) -> Option<CpuSet> {
        self.look(|_, state| state.of(uid, container).cloned())?
    }

    /// Whether any container of a pod has CPUs for itself.
    pub fn has_own(&self, uid: &str) -> bool {
        self.look(|_, state| state.exclusive.contains_key(uid)).unwrap_or_default()
    }

    /// All CPUs that containers can get for themselves, whether they are given or not.
    pub fn allocatable(&self) -> CpuSet {
        self.look(|policy, _| policy.allocatable()).unwrap_or_default()
    }
}
