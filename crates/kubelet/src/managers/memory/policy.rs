//! The static policy: containers of Guaranteed pods get their memory and huge pages from certain NUMA nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Pod};

use super::super::machine::MachineTopology;
use super::super::manager;
use super::super::requests;
use super::super::topology::{AllocationError, Hint, Hints, NodeMask, preferring};
use super::settings::Reservation;
use super::state::{Block, MachineState, NodeState, State, Table, put, take};
use crate::pods::spec;

const MEMORY: &str = "memory";

/// Bytes by resource.
pub type Wanted = BTreeMap<String, u64>;

/// The policy for one machine.
#[derive(Clone, Debug)]
pub struct StaticPolicy {
    machine: Arc<MachineTopology>,
    reserved: Reservation,
}

/// The policy cannot be carried out with the reservation or the state that is there. The messages are for operators.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PolicyError {
    /// What is reserved on the nodes is not what the node reserves.
    #[error(
        "the total amount \"{total}\" of type {resource:?} is not equal to the value \"{wanted}\" determined by Node Allocatable feature"
    )]
    Reservation {
        /// The resource.
        resource: String,
        /// What is reserved on all nodes.
        total: u64,
        /// What the node reserves.
        wanted: u64,
    },
    /// Nothing is reserved.
    #[error("you should specify the memory that is reserved for the system")]
    NothingReserved,
    /// A reservation on a node that is not there.
    #[error("memory is reserved on NUMA node {0}, which does not exist")]
    NoNode(u32),
    /// There are blocks, and nothing is known of the nodes.
    #[error("machine state can not be empty when it has memory assignments")]
    NoMachine,
    /// The nodes are not as the blocks say.
    #[error("the expected machine state is different from the real one")]
    OtherMachine,
}

/// Why a container gets no memory. The messages are shown to users.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum MemoryError {
    /// No nodes have enough.
    #[error("[memorymanager] failed to get the default NUMA affinity, no NUMA nodes with enough memory is available")]
    NoNodes,
    /// Those that have are more than needed.
    #[error("[memorymanager] failed to find the default preferred hint")]
    NoPreferred,
    /// The nodes that were chosen do not have enough, with any others.
    #[error("[memorymanager] failed to find NUMA nodes to extend the current topology hint")]
    NoExtension,
    /// Those that have are more than needed.
    #[error("[memorymanager] failed to find the extended preferred hint")]
    NoPreferredExtension,
    /// The nodes are used alone, or with others.
    #[error("[memorymanager] preferred hint violates NUMA node allocation")]
    OtherGroup,
}

/// What init containers of the pod that is being let in leave to the containers after them.
#[derive(Clone, Debug, Default)]
pub struct Reusable {
    uid: String,
    sizes: BTreeMap<(Vec<u32>, String), u64>,
}

impl Reusable {
    fn size(&self, uid: &str, nodes: &[u32], resource: &str) -> u64 {
        if self.uid != uid {
            return 0;
        }
        self.sizes.get(&(nodes.to_vec(), resource.to_owned())).copied().unwrap_or(0)
    }

    fn note(&mut self, uid: &str, blocks: &[Block], again: bool) {
        if self.uid != uid {
            *self = Self { uid: uid.to_owned(), ..Self::default() };
        }
        for block in blocks {
            let size = self.sizes.entry((block.nodes.clone(), block.resource.clone())).or_default();
            *size = if again { (*size).max(block.size) } else { size.saturating_sub(block.size) };
        }
    }
}

fn is_managed(resource: &str) -> bool {
    resource == MEMORY || resource.starts_with("hugepages-")
}

fn nodes(mask: NodeMask) -> Vec<u32> {
    mask.nodes().into_iter().collect()
}

impl StaticPolicy {
    /// The policy for a machine, of whose memory the node keeps so many bytes from pods.
    pub fn new(reserved: &Reservation, machine: &Arc<MachineTopology>, keeps: u64) -> Result<Self, PolicyError> {
        if let Some(node) = reserved.keys().find(|node| !machine.nodes().contains_key(node)) {
            return Err(PolicyError::NoNode(*node));
        }
        let mut totals = Wanted::from([(MEMORY.to_owned(), 0)]);
        for (resource, size) in reserved.values().flatten() {
            *totals.entry(resource.clone()).or_default() += size;
        }
        if totals[MEMORY] == 0 {
            return Err(PolicyError::NothingReserved);
        }
        for (resource, total) in totals {
            let wanted = if resource == MEMORY { keeps } else { 0 };
            if total != wanted {
                return Err(PolicyError::Reservation { resource, total, wanted });
            }
        }
        Ok(Self { machine: Arc::clone(machine), reserved: reserved.clone() })
    }

    /// The nodes before anybody has anything.
    fn unused(&self) -> MachineState {
        let table = |node: u32, resource: &str, total: u64, other: u64| {
            let of_node = self.reserved.get(&node).and_then(|reserved| reserved.get(resource));
            let system_reserved = of_node.copied().unwrap_or(0);
            let allocatable = total.saturating_sub(system_reserved).saturating_sub(other);
            (resource.to_owned(), Table { total, system_reserved, allocatable, reserved: 0, free: allocatable })
        };
        let nodes = self.machine.nodes().iter().map(|(node, found)| {
            let huge = found.huge_pages.values().sum();
            let mut memory = BTreeMap::from([table(*node, MEMORY, found.memory, huge)]);
            memory.extend(found.huge_pages.iter().map(|(resource, size)| table(*node, resource, *size, 0)));
            (*node, NodeState { assignments: 0, memory, cells: vec![*node] })
        });
        nodes.collect()
    }

    /// What a container gets.
    pub fn wanted(&self, pod: &Pod, container: &Container) -> Wanted {
        if !requests::is_exclusive(pod) {
            return Wanted::new();
        }
        let all = requests::requests(container).into_iter().filter(|(resource, _)| is_managed(resource));
        all.filter_map(|(resource, size)| Some((resource, u64::try_from(size).ok().filter(|size| *size > 0)?)))
            .collect()
    }

    fn hints(&self, state: &State, reusable: &Reusable, uid: &str, wanted: &Wanted) -> Hints {
        if wanted.is_empty() {
            return Hints::new();
        }
        let places = self.places(state, reusable, uid, wanted);
        wanted.keys().map(|resource| (resource.clone(), places.clone())).collect()
    }

    /// The sets of nodes that have enough of everything.
    fn places(&self, state: &State, reusable: &Reusable, uid: &str, wanted: &Wanted) -> Vec<Hint> {
        let all: BTreeSet<u32> = state.machine.keys().copied().collect();
        let mut least = all.len();
        let mut masks = Vec::new();
        for mask in NodeMask::all_of(&all) {
            let nodes = nodes(mask);
            let sum = |resource: &str, of: fn(&Table) -> u64| sum(&state.machine, &nodes, resource, of);
            if wanted.iter().any(|(resource, size)| sum(resource, |table| table.allocatable) < *size) {
                continue;
            }
            least = least.min(mask.count());
            let enough = wanted.iter().all(|(resource, size)| {
                sum(resource, |table| table.free) + reusable.size(uid, &nodes, resource) >= *size
            });
            if enough && !is_foreign(&state.machine, &nodes) {
                masks.push(mask);
            }
        }
        preferring(masks, |mask| mask.count() == least)
    }

    /// The nodes of the hint, with others if they are too small; any that are good where there is no hint.
    fn choose(
        &self,
        state: &State,
        reusable: &Reusable,
        (uid, wanted): (&str, &Wanted),
        hint: Hint,
    ) -> Result<Vec<u32>, MemoryError> {
        let mut best = match hint.nodes {
            Some(mask) => mask,
            None => {
                let found = narrowest(self.places(state, reusable, uid, wanted)).ok_or(MemoryError::NoNodes)?;
                if hint.preferred && !found.1 {
                    return Err(MemoryError::NoPreferred);
                }
                found.0
            }
        };
        let has = |nodes: &[u32]| {
            wanted.iter().all(|(resource, size)| {
                sum(&state.machine, nodes, resource, |table| table.free) + reusable.size(uid, nodes, resource) >= *size
            })
        };
        if !has(&nodes(best)) {
            let mut wider = self.places(state, reusable, uid, wanted);
            wider.retain(|place| place.nodes.is_some_and(|nodes| nodes.and(best) == best));
            let found = narrowest(wider).ok_or(MemoryError::NoExtension)?;
            if hint.preferred && !found.1 {
                return Err(MemoryError::NoPreferredExtension);
            }
            best = found.0;
        }
        let nodes = nodes(best);
        if is_foreign(&state.machine, &nodes) { Err(MemoryError::OtherGroup) } else { Ok(nodes) }
    }
}

impl manager::Policy for StaticPolicy {
    const NAME: &'static str = "memory";
    type State = State;
    type Reusable = Reusable;
    type Error = PolicyError;

    fn begin(&self, state: State) -> Result<State, PolicyError> {
        let mut machine = self.unused();
        if state.machine.is_empty() {
            let fresh = State { machine, ..State::default() };
            return if state.blocks.is_empty() { Ok(fresh) } else { Err(PolicyError::NoMachine) };
        }
        for block in state.blocks.values().flat_map(BTreeMap::values).flatten() {
            put(&mut machine, block, block.size);
        }
        if outline(&machine) == outline(&state.machine) { Ok(state) } else { Err(PolicyError::OtherMachine) }
    }

    fn is_asked(&self, pod: &Pod, container: &Container) -> bool {
        !self.wanted(pod, container).is_empty()
    }

    fn container_hints(&self, state: &State, reusable: &Reusable, pod: &Pod, container: &Container) -> Hints {
        let uid = spec::uid(pod);
        match state.of(uid, &container.name) {
            Some(blocks) => had(blocks),
            None => self.hints(state, reusable, uid, &self.wanted(pod, container)),
        }
    }

    fn pod_hints(&self, state: &State, reusable: &Reusable, pod: &Pod) -> Hints {
        let uid = spec::uid(pod);
        if let Some(blocks) = state.blocks.get(uid).and_then(|containers| containers.values().next()) {
            return had(blocks);
        }
        let all = spec::init_containers(pod).iter().chain(spec::containers(pod));
        let resources: BTreeSet<String> = all.flat_map(|container| self.wanted(pod, container).into_keys()).collect();
        let wanted = resources.into_iter().map(|resource| {
            let of = |container: &Container| self.wanted(pod, container).get(&resource).copied().unwrap_or(0);
            let size = requests::peak(pod, of);
            (resource, size)
        });
        self.hints(state, reusable, uid, &wanted.collect())
    }

    fn allocate(
        &self,
        state: &mut State,
        reusable: &mut Reusable,
        (pod, container): (&Pod, &Container),
        hint: Hint,
    ) -> Result<bool, AllocationError> {
        let (uid, wanted) = (spec::uid(pod), self.wanted(pod, container));
        let again = requests::is_reusable(pod, container);
        if wanted.is_empty() {
            return Ok(false);
        }
        if let Some(blocks) = state.of(uid, &container.name) {
            reusable.note(uid, blocks, again);
            return Ok(false);
        }
        let nodes = self.choose(state, reusable, (uid, &wanted), hint).map_err(AllocationError::unexpected)?;
        let mut blocks = Vec::new();
        for (resource, size) in wanted {
            let block = Block { nodes: nodes.clone(), resource, size };
            let new = size.saturating_sub(reusable.size(uid, &nodes, &block.resource));
            put(&mut state.machine, &block, new);
            blocks.push(block);
        }
        reusable.note(uid, &blocks, again);
        if !again {
            shrink_init(state, pod, &blocks);
        }
        state.blocks.entry(uid.to_owned()).or_default().insert(container.name.clone(), blocks);
        Ok(true)
    }

    fn release(&self, state: &mut State, uid: &str) -> bool {
        let Some(containers) = state.blocks.remove(uid) else { return false };
        containers.values().flatten().for_each(|block| take(&mut state.machine, block));
        true
    }
}

/// The hints for what a container has already.
fn had(blocks: &[Block]) -> Hints {
    let hint = |block: &Block| Hint { nodes: Some(NodeMask::of(block.nodes.iter().copied())), preferred: true };
    blocks.iter().map(|block| (block.resource.clone(), vec![hint(block)])).collect()
}

/// Bytes of a resource on nodes together.
fn sum(machine: &MachineState, nodes: &[u32], resource: &str, of: fn(&Table) -> u64) -> u64 {
    nodes.iter().filter_map(|node| machine.get(node)?.memory.get(resource)).map(of).sum()
}

/// Whether any of the nodes is in use alone or with others than these.
fn is_foreign(machine: &MachineState, nodes: &[u32]) -> bool {
    nodes.iter().filter_map(|node| machine.get(node)).any(|state| state.assignments > 0 && state.cells != nodes)
}

/// The best of places, and whether it is preferred.
fn narrowest(places: Vec<Hint>) -> Option<(NodeMask, bool)> {
    let known = places.into_iter().filter_map(|place| Some((place.nodes?, place.preferred)));
    known.reduce(|best, new| {
        let better = if new.1 == best.1 { new.0.is_narrower_than(best.0) } else { new.1 };
        if better { new } else { best }
    })
}

/// What init containers have that the container now uses is no longer counted for them.
fn shrink_init(state: &mut State, pod: &Pod, blocks: &[Block]) {
    let Some(containers) = state.blocks.get_mut(spec::uid(pod)) else { return };
    for block in blocks {
        let mut rest = block.size;
        for init in spec::init_containers(pod).iter().filter(|init| !spec::is_sidecar(init)) {
            let of_init = containers.get_mut(&init.name).into_iter().flatten();
            for own in of_init.filter(|own| own.resource == block.resource && own.nodes == block.nodes) {
                let used = rest.min(own.size);
                (own.size, rest) = (own.size - used, rest - used);
            }
        }
    }
}

/// What must be the same of two states: over which of a group's nodes a block is spread depends on history.
type Outline =
    (BTreeMap<u32, (u64, Vec<u32>, BTreeMap<String, (u64, u64, u64)>)>, BTreeMap<(Vec<u32>, String), (u64, u64)>);

fn outline(machine: &MachineState) -> Outline {
    let mut sums = BTreeMap::new();
    let mut nodes = BTreeMap::new();
    for (node, state) in machine {
        let mut tables = BTreeMap::new();
        for (resource, table) in &state.memory {
            let sum: &mut (u64, u64) = sums.entry((state.cells.clone(), resource.clone())).or_default();
            *sum = (sum.0 + table.reserved, sum.1 + table.free);
            tables.insert(resource.clone(), (table.total, table.system_reserved, table.allocatable));
        }
        nodes.insert(*node, (state.assignments, state.cells.clone(), tables));
    }
    (nodes, sums)
}
