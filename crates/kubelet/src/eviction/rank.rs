//! Which pod has to go first: one that uses more than it asked for, then the less important one, then the one that is
//! furthest beyond what it asked for.

use std::cmp::Reverse;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use super::observe::Layout;
use super::threshold::Signal;
use super::usage::{Parts, PodUsage};
use crate::pods::spec;
use crate::resources::pod_requests;

/// A pod with what it takes, where that is known.
pub type Candidate = (Arc<Pod>, Option<PodUsage>);

/// Puts pods in the order in which they have to go when the node is short of something. Pods of which nothing is known
/// go first.
pub fn rank(candidates: &mut [Candidate], signal: Signal, layout: Layout) {
    candidates.sort_by_cached_key(|(pod, usage)| {
        let used = usage.as_ref().and_then(|usage| used(usage, signal, layout));
        let asked = match signal.resource() {
            // Nobody can ask for process numbers or inodes.
            "pids" | "inodes" => 0,
            resource => pod_requests(pod).get(resource).copied().unwrap_or(0),
        };
        // All use more processes than they asked for.
        let within = used.filter(|_| signal != Signal::PidAvailable).map(|used| used <= asked);
        (within, spec::priority(pod), used.map(|used| Reverse(used - asked)))
    });
}

fn used(usage: &PodUsage, signal: Signal, layout: Layout) -> Option<i64> {
    match signal.resource() {
        "memory" => usage.memory,
        "pids" => usage.processes,
        "inodes" => Some(usage.disk(Parts::on(signal, layout)).inodes),
        _ => Some(usage.disk(Parts::on(signal, layout)).bytes),
    }
}

#[cfg(test)]
mod tests {
    use testkit::{Maker, pod};

    use super::*;
    use crate::eviction::usage::{ContainerUsage, Disk};

    const MI: i64 = 1 << 20;

    /// A pod that asks for so many Mi of memory and disk and has a priority.
    fn asking(name: &str, mebibytes: i64, priority: i32) -> Maker<Pod> {
        let text = format!("{mebibytes}Mi");
        pod(name).requests(&[("memory", &text), ("ephemeral-storage", &text)]).priority(priority)
    }

    fn memory(mebibytes: i64) -> Option<PodUsage> {
        Some(PodUsage { memory: Some(mebibytes * MI), ..PodUsage::default() })
    }

    #[track_caller]
    fn check(signal: Signal, layout: Layout, pods: Vec<(Maker<Pod>, Option<PodUsage>)>, expected: &[&str]) {
        let mut candidates: Vec<Candidate> =
            pods.into_iter().map(|(maker, usage)| (Arc::new(maker.build()), usage)).collect();
        for _ in 0..2 {
            rank(&mut candidates, signal, layout);
            let names: Vec<&str> = candidates.iter().map(|(pod, _)| spec::name(pod)).collect();
            assert_eq!(names, expected);
            // The order does not depend on the one before.
            candidates.reverse();
        }
    }

    #[test]
    fn memory_goes_by_what_was_asked_for_then_by_priority_then_by_use() {
        check(
            Signal::MemoryAvailable,
            Layout::Shared,
            vec![
                (asking("within", 100, 0), memory(100)),
                (asking("far-beyond-and-important", 100, 10), memory(900)),
                (asking("beyond", 100, 0), memory(150)),
                (asking("far-beyond", 100, 0), memory(200)),
                (asking("unknown", 100, 20), None),
                (asking("important", 200, 10), memory(10)),
                (pod("asks-for-nothing"), memory(120)),
            ],
            &["unknown", "asks-for-nothing", "far-beyond", "beyond", "far-beyond-and-important", "within", "important"],
        );
    }

    #[test]
    fn a_pod_s_own_request_counts_where_it_has_one() {
        let of_pod = asking("of-pod", 1, 0).with(|pod| {
            let resources = serde_json::json!({"requests": {"memory": "500Mi"}});
            pod.spec.as_mut().expect("there").resources = serde_json::from_value(resources).expect("resources");
        });
        let pods = vec![(of_pod, memory(400)), (asking("beyond", 100, 0), memory(101))];
        check(Signal::AllocatableMemoryAvailable, Layout::Shared, pods, &["beyond", "of-pod"]);
    }

    #[test]
    fn processes_go_by_priority_then_by_number() {
        let processes = |count| Some(PodUsage { processes: Some(count), ..PodUsage::default() });
        check(
            Signal::PidAvailable,
            Layout::Shared,
            vec![
                (asking("few", 1, 0), processes(1)),
                (asking("many", 1, 0), processes(1000)),
                (asking("important", 1, 10), processes(5000)),
            ],
            &["many", "few", "important"],
        );
    }

    /// What a pod wrote to its root, its logs and its volumes, in Mi; as many inodes.
    fn disk(root: i64, logs: i64, volumes: i64) -> Option<PodUsage> {
        let of = |count: i64| Disk { bytes: count * MI, inodes: count };
        let container = ContainerUsage { root: Some(of(root)), logs: of(logs), ..ContainerUsage::default() };
        let volumes = vec![("v".to_owned(), of(volumes))];
        Some(PodUsage { containers: vec![container], volumes, ..PodUsage::default() })
    }

    #[test]
    fn of_what_pods_wrote_counts_what_is_on_the_disk_that_is_short() {
        let pods = || {
            vec![
                (asking("root", 0, 0), disk(100, 0, 0)),
                (asking("logs", 0, 0), disk(0, 50, 30)),
                (asking("volumes", 0, 0), disk(10, 0, 60)),
            ]
        };
        let all: &[&str] = &["root", "logs", "volumes"];
        check(Signal::NodeFsAvailable, Layout::Shared, pods(), all);
        check(Signal::ImageFsAvailable, Layout::Shared, pods(), all);
        check(Signal::NodeFsAvailable, Layout::ImagesApart, pods(), &["logs", "volumes", "root"]);
        check(Signal::ImageFsInodesFree, Layout::ImagesApart, pods(), &["root", "volumes", "logs"]);
        check(Signal::ContainerFsAvailable, Layout::ImagesAlone, pods(), all);
        let pods = vec![(asking("within", 70, 0), disk(60, 0, 0)), (asking("beyond", 10, 0), disk(20, 0, 0))];
        check(Signal::NodeFsAvailable, Layout::Shared, pods.clone(), &["beyond", "within"]);
        check(Signal::NodeFsInodesFree, Layout::Shared, pods, &["within", "beyond"]);
    }
}
