//! How the machine is built: sockets, cores, threads, shared caches, and the NUMA nodes with their memory, as the
//! kernel shows them below `/sys/devices/system`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::cpuset::{CpuSet, CpuSetError};
use crate::resources::huge_page_resource;

/// Where the kernel shows the machine.
pub const SYS: &str = "/sys/devices/system";
/// The level of the caches that many cores share.
const UNCORE_LEVEL: &str = "3";
/// The distance of a NUMA node to itself, and to another one where the kernel tells nothing.
const DISTANCES: (u32, u32) = (10, 20);

/// What CPUs can have in common, from the loosest to the closest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// The package.
    Socket,
    /// The NUMA node.
    Node,
    /// The last cache.
    Uncore,
    /// The physical CPU, of which each thread is one CPU.
    Core,
}

/// Where one CPU is. Cores and caches are named by the lowest of their CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    socket: u32,
    node: u32,
    uncore: u32,
    core: u32,
}

impl Place {
    /// The socket, node, cache or core in which the CPU is.
    pub fn at(self, level: Level) -> u32 {
        match level {
            Level::Socket => self.socket,
            Level::Node => self.node,
            Level::Uncore => self.uncore,
            Level::Core => self.core,
        }
    }
}

/// One NUMA node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NumaNode {
    /// Bytes of memory, huge pages included.
    pub memory: u64,
    /// Bytes of huge pages, by resource (`hugepages-2Mi`).
    pub huge_pages: BTreeMap<String, u64>,
    /// Its distance to the nodes, itself included.
    pub distances: BTreeMap<u32, u32>,
}

/// How the machine is built.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MachineTopology {
    cpus: BTreeMap<u32, Place>,
    nodes: BTreeMap<u32, NumaNode>,
}

/// The machine cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    /// A file is missing.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file holds something else than it should.
    #[error("cannot read {}: {source}", path.display())]
    List {
        /// The file.
        path: PathBuf,
        /// Why.
        source: CpuSetError,
    },
}

impl MachineTopology {
    /// Reads the machine below `root`. A kernel without NUMA has one node with all CPUs and `memory` bytes.
    pub fn read(root: &Path, memory: u64) -> Result<Self, TopologyError> {
        let online = list(&root.join("cpu/online"))?;
        let mut nodes = BTreeMap::new();
        let mut node_of = BTreeMap::new();
        let node_root = root.join("node");
        if node_root.join("online").exists() {
            for node in list(&node_root.join("online"))?.iter() {
                let dir = node_root.join(format!("node{node}"));
                node_of.extend(list(&dir.join("cpulist"))?.iter().map(|cpu| (cpu, node)));
                nodes.insert(node, read_node(&dir)?);
            }
            let names: Vec<u32> = nodes.keys().copied().collect();
            for node in &names {
                let distances = read_distances(&node_root.join(format!("node{node}")), *node, &names);
                nodes.entry(*node).and_modify(|found| found.distances = distances);
            }
        } else {
            let distances = BTreeMap::from([(0, DISTANCES.0)]);
            nodes.insert(0, NumaNode { memory, huge_pages: BTreeMap::new(), distances });
        }
        let cpus = online.iter().map(|cpu| {
            let node = node_of.get(&cpu).copied().unwrap_or(0);
            Ok((cpu, read_cpu(&root.join(format!("cpu/cpu{cpu}")), cpu, node)?))
        });
        Ok(Self { cpus: cpus.collect::<Result<_, TopologyError>>()?, nodes })
    }

    /// All CPUs.
    pub fn cpus(&self) -> CpuSet {
        self.cpus.keys().copied().collect()
    }

    /// The NUMA nodes with their memory.
    pub fn nodes(&self) -> &BTreeMap<u32, NumaNode> {
        &self.nodes
    }

    /// The sockets, nodes, caches or cores of CPUs.
    pub fn groups(&self, level: Level, cpus: &CpuSet) -> BTreeSet<u32> {
        cpus.iter().filter_map(|cpu| self.cpus.get(&cpu)).map(|place| place.at(level)).collect()
    }

    /// All CPUs of a socket, node, cache or core.
    pub fn within(&self, level: Level, group: u32) -> CpuSet {
        self.cpus.iter().filter(|(_, place)| place.at(level) == group).map(|(cpu, _)| *cpu).collect()
    }

    /// All CPUs of any of these.
    pub fn within_any(&self, level: Level, groups: &BTreeSet<u32>) -> CpuSet {
        self.cpus.iter().filter(|(_, place)| groups.contains(&place.at(level))).map(|(cpu, _)| *cpu).collect()
    }

    /// How many sockets, nodes, caches or cores there are.
    pub fn count(&self, level: Level) -> usize {
        self.groups(level, &self.cpus()).len()
    }

    /// How many CPUs a core has.
    pub fn cpus_per_core(&self) -> usize {
        self.cpus.len() / self.count(Level::Core).max(1)
    }
}

fn text(path: &Path) -> Result<String, TopologyError> {
    fs::read_to_string(path).map_err(|source| TopologyError::Read { path: path.to_owned(), source })
}

fn list(path: &Path) -> Result<CpuSet, TopologyError> {
    text(path)?.parse().map_err(|source| TopologyError::List { path: path.to_owned(), source })
}

fn read_cpu(dir: &Path, cpu: u32, node: u32) -> Result<Place, TopologyError> {
    let topology = dir.join("topology");
    // Machines that do not know say -1.
    let socket = text(&topology.join("physical_package_id"))?.trim().parse().unwrap_or(0);
    // The newer name says what is meant, the older one is everywhere.
    let siblings = ["core_cpus_list", "thread_siblings_list"].map(|name| topology.join(name));
    let siblings = list(if siblings[0].exists() { &siblings[0] } else { &siblings[1] })?;
    let core = siblings.iter().next().unwrap_or(cpu);
    Ok(Place { socket, node, uncore: read_uncore(&dir.join("cache")).unwrap_or(socket), core })
}

/// The lowest CPU of those that share the last cache with this one.
fn read_uncore(dir: &Path) -> Option<u32> {
    let caches = fs::read_dir(dir).ok()?.flatten();
    let mut last = caches
        .filter(|entry| fs::read_to_string(entry.path().join("level")).is_ok_and(|level| level.trim() == UNCORE_LEVEL));
    list(&last.next()?.path().join("shared_cpu_list")).ok()?.iter().next()
}

fn read_node(dir: &Path) -> Result<NumaNode, TopologyError> {
    let total = text(&dir.join("meminfo"))?.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip_while(|word| *word != "MemTotal:").skip(1);
        words.next()?.parse::<u64>().ok()
    });
    let mut huge_pages = BTreeMap::new();
    for entry in fs::read_dir(dir.join("hugepages")).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let size = name.strip_prefix("hugepages-").and_then(|name| name.strip_suffix("kB"));
        let Some(size) = size.and_then(|size| size.parse::<u64>().ok()) else { continue };
        let pages: u64 = text(&entry.path().join("nr_hugepages"))?.trim().parse().unwrap_or(0);
        huge_pages.insert(huge_page_resource(size), pages * size * 1024);
    }
    Ok(NumaNode { memory: total.unwrap_or(0) * 1024, huge_pages, distances: BTreeMap::new() })
}

fn read_distances(dir: &Path, node: u32, nodes: &[u32]) -> BTreeMap<u32, u32> {
    let text = fs::read_to_string(dir.join("distance")).unwrap_or_default();
    let told: Vec<u32> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let guess = |other: u32| if other == node { DISTANCES.0 } else { DISTANCES.1 };
    let of = |(index, other): (usize, &u32)| (*other, told.get(index).copied().unwrap_or_else(|| guess(*other)));
    nodes.iter().enumerate().map(of).collect()
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A machine of alike sockets, made of files as the kernel shows them.
    pub struct Shape {
        pub sockets: u32,
        /// NUMA nodes in each socket.
        pub nodes: u32,
        /// Caches in each node.
        pub uncores: u32,
        /// Cores below each cache.
        pub cores: u32,
        /// CPUs in each core.
        pub threads: u32,
    }

    impl Shape {
        /// The machine, with a GiB of memory in each node and 64 MiB of that in pages of 2 MiB.
        pub fn machine(&self) -> MachineTopology {
            let dir = tempfile::tempdir().expect("a directory");
            self.write(dir.path());
            MachineTopology::read(dir.path(), 0).expect("it can be read")
        }

        fn write(&self, root: &Path) {
            let all_cores = self.sockets * self.nodes * self.uncores * self.cores;
            let put = |path: String, text: String| {
                let path = root.join(path);
                fs::create_dir_all(path.parent().expect("below the root")).expect("made");
                fs::write(path, format!("{text}\n")).expect("written");
            };
            // The second threads of all cores come after the first ones, as on most machines.
            let threads = |cores: std::ops::Range<u32>| -> CpuSet {
                (0..self.threads).flat_map(|thread| cores.clone().map(move |core| core + thread * all_cores)).collect()
            };
            put("cpu/online".to_owned(), threads(0..all_cores).to_string());
            for cpu in threads(0..all_cores).iter() {
                let core = cpu % all_cores;
                let uncore = core / self.cores;
                let socket = uncore / self.uncores / self.nodes;
                let dir = format!("cpu/cpu{cpu}");
                put(format!("{dir}/topology/physical_package_id"), socket.to_string());
                put(format!("{dir}/topology/core_cpus_list"), threads(core..core + 1).to_string());
                for (index, level, shared) in
                    [(0, 1, threads(core..core + 1)), (1, 3, threads(uncore * self.cores..(uncore + 1) * self.cores))]
                {
                    put(format!("{dir}/cache/index{index}/level"), level.to_string());
                    put(format!("{dir}/cache/index{index}/shared_cpu_list"), shared.to_string());
                }
            }
            let nodes = self.sockets * self.nodes;
            put("node/online".to_owned(), (0..nodes).collect::<CpuSet>().to_string());
            for node in 0..nodes {
                let (dir, size) = (format!("node/node{node}"), self.uncores * self.cores);
                put(format!("{dir}/cpulist"), threads(node * size..(node + 1) * size).to_string());
                put(format!("{dir}/meminfo"), format!("Node {node} MemTotal: 1048576 kB\nNode {node} MemFree: 1 kB"));
                put(format!("{dir}/hugepages/hugepages-2048kB/nr_hugepages"), "32".to_owned());
                put(format!("{dir}/hugepages/hugepages-1048576kB/nr_hugepages"), "0".to_owned());
                let far = |other: u32| match other {
                    other if other == node => 10,
                    other if other / self.nodes == node / self.nodes => 12,
                    _ => 32,
                };
                put(
                    format!("{dir}/distance"),
                    (0..nodes).map(|other| far(other).to_string()).collect::<Vec<_>>().join(" "),
                );
            }
        }
    }

    /// 2 sockets of 4 cores of 2 threads.
    pub const TWO_SOCKETS: Shape = Shape { sockets: 2, nodes: 1, uncores: 1, cores: 4, threads: 2 };
    /// 2 sockets of 2 nodes of 4 cores of 2 threads.
    pub const FOUR_NODES: Shape = Shape { sockets: 2, nodes: 2, uncores: 1, cores: 4, threads: 2 };

    #[track_caller]
    fn check(machine: &MachineTopology, level: Level, expected: &[&str]) {
        let groups = machine.groups(level, &machine.cpus());
        let found: Vec<String> = groups.iter().map(|group| machine.within(level, *group).to_string()).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn cpus_are_found_in_sockets_nodes_caches_and_cores() {
        let machine = TWO_SOCKETS.machine();
        check(&machine, Level::Socket, &["0-3,8-11", "4-7,12-15"]);
        check(&machine, Level::Node, &["0-3,8-11", "4-7,12-15"]);
        check(&machine, Level::Core, &["0,8", "1,9", "2,10", "3,11", "4,12", "5,13", "6,14", "7,15"]);
        assert_eq!((machine.cpus_per_core(), machine.count(Level::Uncore)), (2, 2));
        let machine = Shape { sockets: 1, nodes: 2, uncores: 2, cores: 2, threads: 1 }.machine();
        check(&machine, Level::Uncore, &["0-1", "2-3", "4-5", "6-7"]);
        check(&machine, Level::Node, &["0-3", "4-7"]);
    }

    #[test]
    fn nodes_have_memory_huge_pages_and_distances() {
        let machine = FOUR_NODES.machine();
        let node = &machine.nodes()[&1];
        assert_eq!(
            (node.memory, node.huge_pages["hugepages-2Mi"], node.huge_pages["hugepages-1Gi"]),
            (1 << 30, 64 << 20, 0)
        );
        assert_eq!(node.distances, BTreeMap::from([(0, 12), (1, 10), (2, 32), (3, 32)]));
    }

    #[test]
    fn this_machine_can_be_read() {
        let machine = MachineTopology::read(Path::new(SYS), 1).expect("it can be read");
        assert!(!machine.cpus().is_empty() && !machine.nodes().is_empty());
        assert!(machine.nodes().values().all(|node| node.memory > 0));
    }
}
