//! The static policy: containers of Guaranteed pods that ask for whole CPUs get CPUs for themselves, all others share
//! what is left.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Pod};

use super::super::cpuset::CpuSet;
use super::super::machine::{Level, MachineTopology};
use super::super::manager;
use super::super::requests;
use super::super::topology::{AllocationError, Hint, Hints, NodeMask, preferring};
use super::distribute::distributed;
use super::settings::{Options, Settings};
use super::state::State;
use super::take::{NotEnough, Preference, packed};
use crate::pods::spec;

/// The resource.
const CPU: &str = "cpu";

/// The policy for one machine.
#[derive(Clone, Debug)]
pub struct StaticPolicy {
    machine: Arc<MachineTopology>,
    options: Options,
    /// CPUs that no container gets for itself.
    reserved: CpuSet,
}

/// The policy cannot be carried out with the reservation or the state that is there. The messages are for operators.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PolicyError {
    /// Nothing is reserved.
    #[error(
        "the static policy requires systemReserved.cpu + kubeReserved.cpu or reservedSystemCPUs to be greater than zero"
    )]
    NothingReserved,
    /// More is reserved than the machine has, or not what it has.
    #[error("unable to reserve the required amount of CPUs (size of {found:?} did not equal {wanted})")]
    Unreservable {
        /// The CPUs that can be reserved.
        found: String,
        /// How many are to be reserved.
        wanted: usize,
    },
    /// Containers have CPUs, and nothing is left for others.
    #[error("default cpuset cannot be empty")]
    NothingShared,
    /// CPUs are reserved that were not.
    #[error("not all reserved cpus: {reserved:?} are present in defaultCpuSet: {shared:?}")]
    ReservedElsewhere {
        /// The CPUs that are reserved.
        reserved: String,
        /// The CPUs that containers share.
        shared: String,
    },
    /// Containers share CPUs that are to be for none.
    #[error("some of strictly reserved cpus: {reserved:?} are present in defaultCpuSet: {shared:?}")]
    ReservedShared {
        /// The CPUs that are reserved.
        reserved: String,
        /// The CPUs that containers share.
        shared: String,
    },
    /// CPUs are both shared and not.
    #[error("pod: {uid}, container: {container} cpuset: {cpus:?} overlaps with default cpuset {shared:?}")]
    Overlap {
        /// The pod.
        uid: String,
        /// The container.
        container: String,
        /// Its CPUs.
        cpus: String,
        /// The CPUs that containers share.
        shared: String,
    },
    /// The machine has other CPUs than before.
    #[error("current set of available CPUs {now:?} doesn't match with CPUs in state {before:?}")]
    OtherMachine {
        /// The CPUs of the machine.
        now: String,
        /// The CPUs of the state.
        before: String,
    },
}

/// CPUs that init containers of the pod that is being let in leave to the containers after them.
#[derive(Clone, Debug, Default)]
pub struct Reusable {
    uid: String,
    cpus: CpuSet,
}

impl Reusable {
    fn of(&self, uid: &str) -> CpuSet {
        if self.uid == uid { self.cpus.clone() } else { CpuSet::default() }
    }
}

impl StaticPolicy {
    /// The policy for a machine of which the node reserves so many thousandths of CPUs.
    pub fn new(settings: &Settings, machine: &Arc<MachineTopology>, reserved_milli: u64) -> Result<Self, PolicyError> {
        let mut policy =
            Self { machine: Arc::clone(machine), options: settings.options, reserved: settings.reserved.clone() };
        let all = machine.cpus();
        if policy.reserved.is_empty() {
            let wanted = usize::try_from(reserved_milli.div_ceil(1000)).unwrap_or(usize::MAX);
            if wanted == 0 {
                return Err(PolicyError::NothingReserved);
            }
            let taken = policy.take(&all, wanted);
            policy.reserved = taken.map_err(|_| PolicyError::Unreservable { found: all.to_string(), wanted })?;
        } else if !policy.reserved.is_subset(&all) {
            let found = policy.reserved.intersection(&all).to_string();
            return Err(PolicyError::Unreservable { found, wanted: policy.reserved.len() });
        }
        Ok(policy)
    }

    /// The CPUs that no container gets for itself.
    pub fn reserved(&self) -> &CpuSet {
        &self.reserved
    }

    /// The CPUs that containers can get for themselves.
    pub fn allocatable(&self) -> CpuSet {
        self.machine.cpus().difference(&self.reserved)
    }

    /// How many CPUs a container gets for itself.
    pub fn wanted(&self, pod: &Pod, container: &Container) -> usize {
        let milli = requests::requests(container).get(CPU).copied().unwrap_or(0);
        let whole = requests::is_exclusive(pod) && milli > 0 && milli % 1000 == 0;
        usize::try_from(milli / 1000).ok().filter(|_| whole).unwrap_or(0)
    }

    fn hints(&self, state: &State, had: Option<CpuSet>, reusable: &CpuSet, wanted: usize) -> Hints {
        if wanted == 0 {
            return Hints::new();
        }
        let places = match had {
            Some(had) if had.len() == wanted => self.places(&had, &CpuSet::default(), wanted),
            Some(_) => Vec::new(),
            None => self.places(&self.available(state), reusable, wanted),
        };
        Hints::from([(CPU.to_owned(), places)])
    }

    /// The sets of nodes that have enough CPUs. All that can be used again must be used again.
    fn places(&self, available: &CpuSet, reusable: &CpuSet, wanted: usize) -> Vec<Hint> {
        let nodes = self.machine.groups(Level::Node, &self.machine.cpus());
        let mut least = nodes.len();
        let mut masks = Vec::new();
        for mask in NodeMask::all_of(&nodes) {
            let inside = self.machine.within_any(Level::Node, &mask.nodes());
            if inside.len() >= wanted {
                least = least.min(mask.count());
            }
            let has = inside.intersection(&available.union(reusable)).len();
            if has >= wanted && reusable.is_subset(&inside) {
                masks.push(mask);
            }
        }
        preferring(masks, |mask| {
            mask.count() == least || (self.options.by_socket && self.is_socket_aligned(mask, least))
        })
    }

    /// Whether nodes are of as few sockets as so many nodes can be.
    fn is_socket_aligned(&self, mask: NodeMask, nodes: usize) -> bool {
        let per_socket = self.machine.count(Level::Node) / self.machine.count(Level::Socket).max(1);
        let cpus = self.machine.within_any(Level::Node, &mask.nodes());
        per_socket > 0 && self.machine.groups(Level::Socket, &cpus).len() == nodes.div_ceil(per_socket)
    }

    /// Where only whole cores are given, parts of them cannot be asked for, and cores with a reserved thread count for
    /// nothing.
    fn check_cores(&self, free: &CpuSet, requested: usize) -> Result<(), AllocationError> {
        if !self.options.full_cores {
            return Ok(());
        }
        let per_core = self.machine.cpus_per_core();
        if !requested.is_multiple_of(per_core.max(1)) {
            return Err(AllocationError::PartOfCore { requested, per_core });
        }
        let reserved = self.machine.groups(Level::Core, &self.reserved);
        let available = free.difference(&self.machine.within_any(Level::Core, &reserved)).len();
        if requested > available {
            return Err(AllocationError::TooFewCores { requested, available, per_core });
        }
        Ok(())
    }

    fn available(&self, state: &State) -> CpuSet {
        state.shared.difference(&self.reserved)
    }

    /// The CPUs of the hint's nodes first, then any.
    fn choose(&self, state: &State, reusable: &CpuSet, wanted: usize, hint: Hint) -> Result<CpuSet, NotEnough> {
        let available = self.available(state).union(reusable);
        let mut chosen = CpuSet::default();
        if let Some(mask) = hint.nodes {
            let mut near = self.machine.within_any(Level::Node, &mask.nodes());
            if self.options.by_socket {
                let sockets = self.machine.groups(Level::Socket, &near);
                near = self.machine.within_any(Level::Socket, &sockets);
            }
            let near = near.intersection(&available);
            chosen = self.take(&near, wanted.min(near.len()))?;
        }
        let rest = available.difference(&chosen);
        Ok(chosen.union(&self.take(&rest, wanted - chosen.len())?))
    }

    fn take(&self, available: &CpuSet, count: usize) -> Result<CpuSet, NotEnough> {
        let Options { full_cores, across_nodes, across_cores, by_cache, .. } = self.options;
        let preference = Preference { spread: across_cores, by_cache };
        if !across_nodes {
            return packed(&self.machine, available, count, preference);
        }
        let group = if full_cores { self.machine.cpus_per_core() } else { 1 };
        distributed(&self.machine, available, count, group, preference)
    }
}

impl manager::Policy for StaticPolicy {
    const NAME: &'static str = "CPU";
    type State = State;
    type Reusable = Reusable;
    type Error = PolicyError;

    fn begin(&self, state: State) -> Result<State, PolicyError> {
        let mut all = self.machine.cpus();
        if self.options.strict_reservation {
            all = all.difference(&self.reserved);
        }
        let shared = &state.shared;
        if shared.is_empty() {
            let fresh = State { shared: all, ..State::default() };
            return if state.exclusive.is_empty() { Ok(fresh) } else { Err(PolicyError::NothingShared) };
        }
        let texts = || (self.reserved.to_string(), shared.to_string());
        let kept = self.reserved.intersection(shared);
        if self.options.strict_reservation && !kept.is_empty() {
            let (reserved, shared) = texts();
            return Err(PolicyError::ReservedShared { reserved, shared });
        }
        if !self.options.strict_reservation && kept != self.reserved {
            let (reserved, shared) = texts();
            return Err(PolicyError::ReservedElsewhere { reserved, shared });
        }
        let mut sets =
            state.exclusive.iter().flat_map(|(uid, sets)| sets.iter().map(move |(name, set)| (uid, name, set)));
        if let Some((uid, container, cpus)) = sets.find(|(_, _, set)| !set.intersection(shared).is_empty()) {
            let (uid, container, cpus) = (uid.clone(), container.clone(), cpus.to_string());
            return Err(PolicyError::Overlap { uid, container, cpus, shared: shared.to_string() });
        }
        let before = shared.union(&state.given());
        if before != all {
            return Err(PolicyError::OtherMachine { now: all.to_string(), before: before.to_string() });
        }
        Ok(state)
    }

    fn is_asked(&self, pod: &Pod, container: &Container) -> bool {
        self.wanted(pod, container) > 0
    }

    fn container_hints(&self, state: &State, reusable: &Reusable, pod: &Pod, container: &Container) -> Hints {
        let (uid, wanted) = (spec::uid(pod), self.wanted(pod, container));
        let had = state.of(uid, &container.name).cloned();
        self.hints(state, had, &reusable.of(uid), wanted)
    }

    fn pod_hints(&self, state: &State, reusable: &Reusable, pod: &Pod) -> Hints {
        let uid = spec::uid(pod);
        let wanted = requests::peak(pod, |container| self.wanted(pod, container) as u64);
        let union =
            |sets: &BTreeMap<String, CpuSet>| sets.values().fold(CpuSet::default(), |all, cpus| all.union(cpus));
        let had = state.exclusive.get(uid).map(union);
        self.hints(state, had, &reusable.of(uid), usize::try_from(wanted).unwrap_or(usize::MAX))
    }

    fn allocate(
        &self,
        state: &mut State,
        reusable: &mut Reusable,
        (pod, container): (&Pod, &Container),
        hint: Hint,
    ) -> Result<bool, AllocationError> {
        let (uid, wanted) = (spec::uid(pod), self.wanted(pod, container));
        if wanted == 0 {
            return Ok(false);
        }
        let (rest, had) = (reusable.of(uid), state.of(uid, &container.name).cloned());
        let cpus = match &had {
            Some(cpus) => cpus.clone(),
            None => {
                self.check_cores(&state.shared.union(&rest), wanted)?;
                self.choose(state, &rest, wanted, hint).map_err(AllocationError::unexpected)?
            }
        };
        let again = requests::is_reusable(pod, container);
        reusable.cpus = if again { rest.union(&cpus) } else { rest.difference(&cpus) };
        uid.clone_into(&mut reusable.uid);
        state.shared = state.shared.difference(&cpus);
        state.exclusive.entry(uid.to_owned()).or_default().insert(container.name.clone(), cpus);
        Ok(had.is_none())
    }

    fn release(&self, state: &mut State, uid: &str) -> bool {
        let Some(sets) = state.exclusive.remove(uid) else { return false };
        state.shared = sets.values().fold(std::mem::take(&mut state.shared), |all, cpus| all.union(cpus));
        true
    }
}
