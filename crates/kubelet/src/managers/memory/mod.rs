//! The memory manager: has the memory and huge pages of containers come from certain NUMA nodes.

mod policy;
mod settings;
mod state;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

pub use settings::{Policy, Settings};
pub use state::Block;

use super::machine::MachineTopology;
use super::manager::{Manager, ManagerError};
use policy::StaticPolicy;

/// The memory manager.
pub type MemoryManager = Manager<StaticPolicy>;

impl MemoryManager {
    /// The manager with the state that was kept in `dir`; the node keeps so many bytes from pods.
    pub fn of(
        settings: &Settings,
        machine: &Arc<MachineTopology>,
        keeps: u64,
        dir: &Path,
    ) -> Result<Self, ManagerError> {
        let policy = match settings.policy {
            Policy::None => None,
            Policy::Static => Some(StaticPolicy::new(&settings.reserved, machine, keeps)),
        };
        let policy = policy.transpose().map_err(ManagerError::policy::<StaticPolicy>)?;
        Self::open(settings.policy.name(), policy, dir)
    }

    /// What a container has of nodes; nothing where that is not managed.
    pub fn blocks(&self, uid: &str, container: &str) -> Vec<Block> {
        self.look(|_, state| state.of(uid, container).cloned()).flatten().unwrap_or_default()
    }

    /// The nodes of which a container's memory is; none where that is not managed.
    pub fn nodes(&self, uid: &str, container: &str) -> BTreeSet<u32> {
        self.blocks(uid, container).into_iter().flat_map(|block| block.nodes).collect()
    }

    /// What containers can get of each node, whether it is given or not.
    pub fn allocatable(&self) -> Vec<Block> {
        self.look(|_, state| state.allocatable()).unwrap_or_default()
    }
}
