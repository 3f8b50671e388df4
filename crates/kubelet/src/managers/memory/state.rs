//! Whose memory is on which NUMA nodes, in memory and in the file `memory_manager_state`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::checkpoint::Content;
use super::super::manager;

/// Bytes of one resource on one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    pub total: u64,
    #[serde(rename = "systemReserved")]
    pub system_reserved: u64,
    pub allocatable: u64,
    pub reserved: u64,
    pub free: u64,
}

/// One NUMA node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeState {
    /// How many blocks are on it.
    #[serde(rename = "numberOfAssignments")]
    pub assignments: u64,
    /// By resource.
    #[serde(rename = "memoryMap")]
    pub memory: BTreeMap<String, Table>,
    /// The nodes over which the blocks on it are spread: a node is used alone or always with the same others.
    pub cells: Vec<u32>,
}

/// What a container has of one resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// The nodes over which it is spread.
    #[serde(rename = "numaAffinity")]
    pub nodes: Vec<u32>,
    #[serde(rename = "type")]
    pub resource: String,
    pub size: u64,
}

/// The nodes by their numbers.
pub type MachineState = BTreeMap<u32, NodeState>;
/// Blocks of containers, by UID of the pod and name.
pub type Assignments = BTreeMap<String, BTreeMap<String, Vec<Block>>>;

/// Whose memory is where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub machine: MachineState,
    pub blocks: Assignments,
}

impl State {
    /// What a container has.
    pub fn of(&self, uid: &str, container: &str) -> Option<&Vec<Block>> {
        self.blocks.get(uid)?.get(container)
    }

    /// What all containers together can have of each node.
    pub fn allocatable(&self) -> Vec<Block> {
        let of_node = |(node, state): (&u32, &NodeState)| {
            let node = *node;
            let resources = state.memory.iter().filter(|(_, table)| table.allocatable > 0);
            let block = |(resource, table): (&String, &Table)| Block {
                nodes: vec![node],
                resource: resource.clone(),
                size: table.allocatable,
            };
            resources.map(block).collect::<Vec<_>>()
        };
        self.machine.iter().flat_map(of_node).collect()
    }
}

/// Puts a block on its nodes, of which `size` bytes are new: the first node is filled first.
pub fn put(machine: &mut MachineState, block: &Block, size: u64) {
    let mut rest = size;
    for node in &block.nodes {
        let Some(state) = machine.get_mut(node) else { continue };
        state.assignments += 1;
        state.cells.clone_from(&block.nodes);
        if let Some(table) = state.memory.get_mut(&block.resource) {
            let here = rest.min(table.free);
            (table.reserved, table.free, rest) = (table.reserved + here, table.free - here, rest - here);
        }
    }
}

/// Takes a block from its nodes.
pub fn take(machine: &mut MachineState, block: &Block) {
    let mut rest = block.size;
    for node in &block.nodes {
        let Some(state) = machine.get_mut(node) else { continue };
        state.assignments = state.assignments.saturating_sub(1);
        if state.assignments == 0 {
            state.cells = vec![*node];
        }
        if let Some(table) = state.memory.get_mut(&block.resource) {
            let here = rest.min(table.reserved);
            (table.reserved, table.free, rest) = (table.reserved - here, table.free + here, rest - here);
        }
    }
}

/// The file.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct StateFile {
    #[serde(rename = "policyName")]
    policy: String,
    #[serde(rename = "machineState")]
    machine: MachineState,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", rename = "entries")]
    blocks: Assignments,
    checksum: u32,
}

impl manager::State for State {
    const FILE: &'static str = "memory_manager_state";
    type File = StateFile;

    fn to_file(&self, policy: &str) -> StateFile {
        let State { machine, blocks } = self.clone();
        StateFile { policy: policy.to_owned(), machine, blocks, checksum: 0 }
    }

    fn of_file(file: StateFile) -> (String, Self) {
        let StateFile { policy, machine, blocks, .. } = file;
        (policy, Self { machine, blocks })
    }

    fn holders(&self) -> Vec<String> {
        self.blocks.keys().cloned().collect()
    }
}

fn list<T>(items: impl IntoIterator<Item = T>, print: impl Fn(T) -> String) -> String {
    items.into_iter().map(print).collect::<Vec<_>>().join(" ")
}

fn print_table((resource, table): (&String, &Table)) -> String {
    let Table { total, system_reserved, allocatable, reserved, free } = table;
    format!(
        "{resource}:<*>{{TotalMemSize:(uint64){total} SystemReserved:(uint64){system_reserved} \
         Allocatable:(uint64){allocatable} Reserved:(uint64){reserved} Free:(uint64){free}}}"
    )
}

fn print_node((node, state): (&u32, &NodeState)) -> String {
    format!(
        "{node}:<*>{{NumberOfAssignments:(int){} MemoryMap:(map[v1.ResourceName]*state.MemoryTable)map[{}] \
         Cells:([]int)[{}]}}",
        state.assignments,
        list(&state.memory, print_table),
        list(&state.cells, ToString::to_string)
    )
}

fn print_block(block: &Block) -> String {
    let nodes = list(&block.nodes, ToString::to_string);
    format!("{{NUMAAffinity:([]int)[{nodes}] Type:(v1.ResourceName){} Size:(uint64){}}}", block.resource, block.size)
}

impl Content for StateFile {
    fn printed(&self) -> String {
        let container = |(name, blocks): (&String, &Vec<Block>)| format!("{name}:[{}]", list(blocks, print_block));
        let pod = |(uid, containers): (&String, &BTreeMap<String, Vec<Block>>)| {
            format!("{uid}:map[{}]", list(containers, container))
        };
        format!(
            "(*state.MemoryManagerCheckpoint){{PolicyName:(string){} MachineState:(state.NUMANodeMap)map[{}] \
             Entries:(state.ContainerMemoryAssignments)map[{}] Checksum:(checksum.Checksum)0}}",
            self.policy,
            list(&self.machine, print_node),
            list(&self.blocks, pod)
        )
    }

    fn checksum(&mut self) -> &mut u32 {
        &mut self.checksum
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::checkpoint::Checkpoint;
    use super::super::super::manager::State as _;
    use super::*;

    /// Files as upstream's kubelet writes them.
    const OF_UPSTREAM: [&str; 2] = [
        r#"{"policyName":"None","machineState":{},"checksum":4236770233}"#,
        r#"{"policyName":"static","machineState":{"0":{"numberOfAssignments":0,"memoryMap":{"memory":{"total":2048,"systemReserved":512,"allocatable":1536,"reserved":512,"free":1024}},"cells":[]}},"entries":{"pod":{"container1":[{"numaAffinity":[0],"type":"memory","size":512}]}},"checksum":4215593881}"#,
    ];

    #[test]
    fn files_are_read_and_written_as_upstream_does() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = Checkpoint::new(&dir.path().join("memory_manager_state"));
        for text in OF_UPSTREAM {
            std::fs::write(file.path(), text).expect("written");
            let read: StateFile = file.read().expect("it is whole").expect("it is there");
            let (policy, state) = State::of_file(read);
            file.write(state.to_file(&policy)).expect("written");
            assert_eq!(std::fs::read_to_string(file.path()).expect("read"), text);
        }
    }
}
