//! CPUs and memory of containers' own, as the kernel has it.

use std::collections::BTreeSet;

use crate::{SOON, Stage};

const OWN: &str = "resources: {limits: {cpu: \"1\", memory: 32Mi}}";

/// The numbers in a list of the kernel's.
fn list(text: &str) -> BTreeSet<u32> {
    let number = |text: &str| text.trim().parse::<u32>().expect("a number");
    let parts = text.trim().split(',').filter(|part| !part.is_empty());
    let ranges = parts.map(|part| part.split_once('-').unwrap_or((part, part)));
    ranges.flat_map(|(first, last)| number(first)..=number(last)).collect()
}

/// The CPUs of the machine.
pub fn online() -> BTreeSet<u32> {
    list(&std::fs::read_to_string("/sys/devices/system/cpu/online").expect("the kernel tells"))
}

/// Whether there are CPUs to give: more than one, and all of them ours.
pub fn can_be_given() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").expect("the kernel tells");
    let ours = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).expect("it is said");
    online().len() > 1 && list(ours) == online()
}

/// The CPU that no container has for itself.
pub fn reserved() -> u32 {
    *online().first().expect("a machine has a CPU")
}

/// The CPUs on which a pod's container runs, and the nodes of which its memory is.
#[track_caller]
fn allowed(stage: &Stage, pod: &str, field: &str) -> BTreeSet<u32> {
    list(&stage.shell(pod, &format!("while read -r k v; do test $k != {field}: || echo $v; done </proc/1/status")))
}

fn cpus(stage: &Stage, pod: &str) -> BTreeSet<u32> {
    allowed(stage, pod, "Cpus_allowed_list")
}

#[track_caller]
fn until_neighbour_runs_on(stage: &Stage, expected: &BTreeSet<u32>) {
    let what = format!("the neighbour to run on {expected:?}");
    testkit::until(SOON, &what, || (cpus(stage, "neighbour") == *expected).then_some(()));
}

fn all_but(cpus: &BTreeSet<u32>) -> BTreeSet<u32> {
    &online() - cpus
}

pub fn neighbour_runs_everywhere(stage: &Stage) {
    let free = online().len() - 1;
    stage.until_shown("cpu", &format!("{} {free}", online().len()));
    stage.run("neighbour", "resources: {requests: {memory: 16Mi}}", "");
    assert_eq!(cpus(stage, "neighbour"), online());
    let told = stage.watcher().allocatable();
    let all: BTreeSet<u32> = told.cpu_ids.iter().map(|id| u32::try_from(*id).expect("a CPU")).collect();
    assert_eq!(all, all_but(&[reserved()].into()));
    assert!(told.memory.iter().any(|block| block.memory_type == "memory" && block.size > 0), "{:?}", told.memory);
}

/// The CPUs that the pod has.
pub fn guaranteed_pod_has_its_own_cpu(stage: &Stage) -> BTreeSet<u32> {
    stage.run("pinned", OWN, "");
    let own = cpus(stage, "pinned");
    assert!(own.len() == 1 && !own.contains(&reserved()), "{own:?}");
    let nodes = allowed(stage, "pinned", "Mems_allowed_list");
    until_neighbour_runs_on(stage, &all_but(&own));
    let told = stage.watcher().container("pinned");
    assert_eq!(told.cpu_ids, own.iter().map(|cpu| i64::from(*cpu)).collect::<Vec<_>>());
    let memory = &told.memory[0];
    assert_eq!((memory.memory_type.as_str(), memory.size, told.memory.len()), ("memory", 32 << 20, 1));
    let told = memory.topology.iter().flat_map(|topology| &topology.nodes);
    assert_eq!(told.map(|node| u32::try_from(node.id).expect("a node")).collect::<BTreeSet<u32>>(), nodes);
    assert!(stage.watcher().container("neighbour").cpu_ids.is_empty());
    own
}

pub fn have_not_moved(stage: &Stage, own: &BTreeSet<u32>) {
    assert_eq!(cpus(stage, "pinned"), *own);
    assert_eq!(cpus(stage, "neighbour"), all_but(own));
}

pub fn neighbour_has_them_back(stage: &Stage) {
    stage.delete("pinned");
    until_neighbour_runs_on(stage, &online());
    // A pod that comes later is there from its start.
    stage.run("pinned", OWN, "");
    until_neighbour_runs_on(stage, &all_but(&cpus(stage, "pinned")));
    stage.delete("pinned");
}
