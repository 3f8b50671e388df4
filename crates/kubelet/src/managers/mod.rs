//! The managers of what containers get of the machine for themselves: CPUs, memory of NUMA nodes, devices.
//!
//! A pod's containers are given what they ask for when the pod is let in, keep it over restarts of the kubelet, and
//! give it back when the pod has stopped.

mod checkpoint;
mod combinations;
mod counts;
mod cpu;
mod cpuset;
mod machine;
mod manager;
mod memory;
mod requests;
mod settings;
#[cfg(test)]
mod tests;
mod topology;

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use k8s_openapi::api::core::v1::Pod;
use tokio::sync::watch;

pub use cpu::Policy as CpuPolicy;
pub use cpuset::CpuSet;
pub use memory::{Block as MemoryBlock, Policy as MemoryPolicy};
pub use requests::peak;
pub use settings::{Settings, SettingsError};
pub use topology::{
    AllocationError, Hint, HintProvider, Hints, NodeMask, Policy as TopologyPolicy, Scope as TopologyScope, preferring,
};

use crate::pods::spec;
use crate::resources::{self, QosClass};
use cpu::CpuManager;
use machine::{MachineTopology, SYS, TopologyError};
use manager::ManagerError;
use memory::MemoryManager;
use topology::{TooManyNodes, TopologyManager};

/// The managers cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum ManagersError {
    /// The settings contradict each other.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The machine cannot be looked at.
    #[error(transparent)]
    Machine(#[from] TopologyError),
    /// The machine is too large.
    #[error(transparent)]
    TooManyNodes(#[from] TooManyNodes),
    /// CPUs or memory cannot be given.
    #[error(transparent)]
    Manager(#[from] ManagerError),
    /// There is no place for the state.
    #[error("cannot create {}: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What the managers start with.
pub struct Inputs<'a> {
    /// Bytes of memory of the machine.
    pub memory: u64,
    /// Thousandths of CPUs that the node keeps from pods.
    pub reserved_cpu: u64,
    /// Bytes of memory that the node keeps from pods.
    pub reserved_memory: u64,
    /// Where the state is kept.
    pub dir: &'a Path,
    /// Managers of devices.
    pub further: Vec<Arc<dyn HintProvider>>,
}

/// The managers of one node.
pub struct Managers {
    topology: TopologyManager,
    cpu: Arc<CpuManager>,
    memory: Arc<MemoryManager>,
    settled: AtomicBool,
}

impl Managers {
    /// Managers as they are set up, with what the ones before them have given.
    pub fn build(settings: &Settings, inputs: Inputs<'_>) -> Result<Self, ManagersError> {
        let machine = Arc::new(MachineTopology::read(Path::new(SYS), inputs.memory)?);
        Self::on(&machine, settings, inputs)
    }

    fn on(machine: &Arc<MachineTopology>, settings: &Settings, inputs: Inputs<'_>) -> Result<Self, ManagersError> {
        settings.cpu.check(&settings.topology)?;
        let Inputs { reserved_cpu, reserved_memory, dir, further, .. } = inputs;
        std::fs::create_dir_all(dir).map_err(|source| ManagersError::Directory { path: dir.to_owned(), source })?;
        let cpu = Arc::new(CpuManager::of(&settings.cpu, machine, reserved_cpu, dir)?);
        let memory = Arc::new(MemoryManager::of(&settings.memory, machine, reserved_memory, dir)?);
        let own: [Arc<dyn HintProvider>; 2] = [cpu.clone(), memory.clone()];
        let providers = own.into_iter().chain(further).collect();
        let topology = TopologyManager::new(&settings.topology, machine, providers)?;
        Ok(Self { topology, cpu, memory, settled: AtomicBool::new(false) })
    }

    /// Gives the containers of a new pod what they ask for. A pod that is refused has got nothing.
    pub async fn admit(&self, pod: &Pod) -> Result<(), AllocationError> {
        let outcome = self.topology.admit(pod).await;
        if outcome.is_err() {
            self.release(spec::uid(pod)).await;
        }
        outcome
    }

    /// The same for a pod that was let in by a kubelet before this one. It has what it has.
    pub async fn readmit(&self, pod: &Pod) {
        if let Err(err) = self.topology.admit(pod).await {
            let (namespace, name) = (spec::namespace(pod), spec::name(pod));
            tracing::warn!(namespace, name, err = %err, "a pod that runs cannot be given what it asks for");
        }
    }

    /// The CPUs on which a container may run; `None` where nobody says.
    pub fn cpus(&self, uid: &str, container: &str) -> Option<CpuSet> {
        self.cpu.cpus(uid, container)
    }

    /// The NUMA nodes of which a container's memory is; none where that is not managed.
    pub fn memory_nodes(&self, uid: &str, container: &str) -> BTreeSet<u32> {
        self.memory.nodes(uid, container)
    }

    /// The CPUs that a container has for itself. Nothing else limits their use.
    pub fn own_cpus(&self, uid: &str, container: &str) -> Option<CpuSet> {
        self.cpu.own(uid, container)
    }

    /// Whether any container of a pod has CPUs for itself.
    pub fn has_own_cpus(&self, uid: &str) -> bool {
        self.cpu.has_own(uid)
    }

    /// What a container has of the memory of nodes; nothing where that is not managed.
    pub fn memory_blocks(&self, uid: &str, container: &str) -> Vec<MemoryBlock> {
        self.memory.blocks(uid, container)
    }

    /// What there is to be given to containers for themselves, whether they have it or not.
    pub fn allocatable(&self) -> (CpuSet, Vec<MemoryBlock>) {
        (self.cpu.allocatable(), self.memory.allocatable())
    }

    /// Tells when the CPUs change that containers share.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.cpu.changes()
    }

    /// Why a pod that runs cannot have other amounts than it has.
    pub fn forbids_resize(&self, has: &Pod, wanted: &Pod) -> Option<String> {
        let managed = [("CPU", "static", self.cpu.is_static()), ("Memory", "Static", self.memory.is_static())];
        let changed = managed
            .into_iter()
            .find(|(manager, _, is_static)| *is_static && requests::differ(has, wanted, &manager.to_lowercase()));
        let (manager, policy, _) = changed.filter(|_| resources::qos_class(has) == QosClass::Guaranteed)?;
        Some(format!("Resize is infeasible for Guaranteed Pods alongside {manager} Manager policy \"{policy}\""))
    }

    /// What was asked, and what of it could not be given, by the beginning of upstream's names for that.
    pub fn counts(&self) -> [(&'static str, (u64, u64)); 3] {
        [
            ("cpu_manager_pinning", self.cpu.counts()),
            ("memory_manager_pinning", self.memory.counts()),
            ("topology_manager_admission", self.topology.counts()),
        ]
    }

    /// Takes back what the containers of a pod were given.
    pub async fn release(&self, uid: &str) {
        for provider in self.topology.providers() {
            provider.release(uid).await;
        }
    }

    /// Takes back what pods were given of which nothing is left, now that the pods that are here are known.
    pub async fn settle(&self, here: impl Fn(&str) -> bool) {
        let holders = self.topology.providers().iter().flat_map(|provider| provider.holders());
        let gone: HashSet<String> = holders.filter(|uid| !here(uid)).collect();
        for uid in gone {
            self.release(&uid).await;
        }
        self.settled.store(true, Ordering::Release);
    }

    /// Whether what can be given is known: before that, a pod may be refused for what a pod has that is gone.
    pub fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Acquire)
    }
}
