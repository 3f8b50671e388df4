//! The topology manager: has the resources of a container, or of a pod, come from as few NUMA nodes as can be, and
//! refuses pods for which that is not possible where the policy wants it so.
//!
//! The managers of CPUs, memory and devices are its hint providers. Each says from which nodes what it manages could
//! come; one place is made of all of that; and with it in hand each sets aside what is asked for. Pods are let in one
//! after the other.

mod hint;
mod merge;
mod settings;

use std::sync::Arc;

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{Container, Pod};
use tokio::sync::Mutex;

pub use hint::{Hint, Hints, NodeMask, preferring};
pub use settings::{Policy, Scope, Settings};

use super::counts::Counts;
use super::machine::MachineTopology;
use crate::pods::spec;
use merge::Merger;

/// Why a pod cannot have what it asks for. The messages are shown to users.
#[derive(Debug, thiserror::Error)]
pub enum AllocationError {
    /// What it asks for is not in one place.
    #[error("Resources cannot be allocated with Topology locality")]
    TopologyAffinity,
    /// It asks for single threads where only whole cores are given.
    #[error("SMT Alignment Error: requested {requested} cpus not multiple cpus per core = {per_core}")]
    PartOfCore {
        /// The CPUs that it asks for.
        requested: usize,
        /// How many CPUs a core has.
        per_core: usize,
    },
    /// Too few whole cores are free.
    #[error(
        "SMT Alignment Error: not enough free physical CPUs: available physical CPUs = {available}, requested CPUs = \
         {requested}, CPUs per core = {per_core}"
    )]
    TooFewCores {
        /// The CPUs that it asks for.
        requested: usize,
        /// The CPUs of free cores.
        available: usize,
        /// How many CPUs a core has.
        per_core: usize,
    },
    /// The node cannot give what it said that it has.
    #[error("Allocate failed due to {0}, which is unexpected")]
    Unexpected(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl AllocationError {
    /// Something that the node should be able to give.
    pub fn unexpected(err: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Unexpected(Box::new(err))
    }

    /// One word, as in `status.reason`.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::TopologyAffinity => "TopologyAffinityError",
            Self::PartOfCore { .. } | Self::TooFewCores { .. } => "SMTAlignmentError",
            Self::Unexpected(_) => "UnexpectedAdmissionError",
        }
    }
}

/// A manager of something that containers get for themselves. Calls for one pod come one after the other, those that
/// give something one after the other for all pods.
pub trait HintProvider: Send + Sync {
    /// Where what one container asks for could come from.
    fn container_hints(&self, pod: &Pod, container: &Container) -> Hints;

    /// Where what all containers of a pod ask for together could come from.
    fn pod_hints(&self, pod: &Pod) -> Hints;

    /// Sets aside what a container asks for, from the hint's nodes as far as it goes. What the container has already
    /// it keeps: a kubelet that starts anew asks again for the pods that run.
    fn allocate<'a>(
        &'a self,
        pod: &'a Pod,
        container: &'a Container,
        hint: Hint,
    ) -> BoxFuture<'a, Result<(), AllocationError>>;

    /// Takes back what the containers of a pod were given; a pod that has nothing is fine.
    fn release<'a>(&'a self, uid: &'a str) -> BoxFuture<'a, ()>;

    /// The pods that were given something, by UID.
    fn holders(&self) -> Vec<String>;
}

/// The machine has more NUMA nodes than is allowed.
#[derive(Debug, thiserror::Error)]
#[error("the topology manager is unsupported on machines with more than {0} NUMA nodes")]
pub struct TooManyNodes(usize);

/// The topology manager.
pub struct TopologyManager {
    settings: Settings,
    merger: Merger,
    providers: Vec<Arc<dyn HintProvider>>,
    turn: Mutex<()>,
    counts: Counts,
}

impl TopologyManager {
    /// A manager of what these providers give.
    pub fn new(
        settings: &Settings,
        machine: &MachineTopology,
        providers: Vec<Arc<dyn HintProvider>>,
    ) -> Result<Self, TooManyNodes> {
        if settings.policy != Policy::None && machine.nodes().len() > settings.max_nodes {
            return Err(TooManyNodes(settings.max_nodes));
        }
        let merger = Merger::new(settings, machine);
        Ok(Self { settings: settings.clone(), merger, providers, turn: Mutex::new(()), counts: Counts::default() })
    }

    /// How many pods asked to be let in, and were not.
    pub fn counts(&self) -> (u64, u64) {
        self.counts.all()
    }

    /// The providers.
    pub fn providers(&self) -> &[Arc<dyn HintProvider>] {
        &self.providers
    }

    /// Gives the containers of a pod what they ask for. Where that fails, what some of them have got already stays
    /// with them until it is taken back.
    pub async fn admit(&self, pod: &Pod) -> Result<(), AllocationError> {
        let turn = self.turn.lock().await;
        self.counts.asked();
        let outcome = self.allocate(pod).await;
        drop(turn);
        if outcome.is_err() {
            self.counts.failed();
        }
        outcome
    }

    async fn allocate(&self, pod: &Pod) -> Result<(), AllocationError> {
        let of_pod = match (self.settings.policy, self.settings.scope) {
            (Policy::None, _) => Some(Hint::NONE),
            (_, Scope::Pod) => Some(self.place(|provider| provider.pod_hints(pod))?),
            (_, Scope::Container) => None,
        };
        for container in spec::init_containers(pod).iter().chain(spec::containers(pod)) {
            let hint = match of_pod {
                Some(hint) => hint,
                None => self.place(|provider| provider.container_hints(pod, container))?,
            };
            for provider in &self.providers {
                provider.allocate(pod, container, hint).await?;
            }
        }
        Ok(())
    }

    fn place(&self, hints: impl Fn(&Arc<dyn HintProvider>) -> Hints) -> Result<Hint, AllocationError> {
        let hints: Vec<Hints> = self.providers.iter().map(hints).collect();
        match self.merger.merge(&hints) {
            (hint, true) => Ok(hint),
            (_, false) => Err(AllocationError::TopologyAffinity),
        }
    }
}
