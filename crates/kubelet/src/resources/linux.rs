//! Requests and limits as Linux knows them: shares, quotas, bytes, and the order in which processes are killed.

use cri::LinuxContainerResources;
use k8s_openapi::api::core::v1::{Container, Pod};

use super::amounts::{
    Amounts, QosClass, container_amount, own_limits, own_requests, pod_limits, pod_overhead, pod_requests, qos_class,
    unclaimed,
};
use super::cgroups::PodLimits;
use super::swap::NodeSwap;
use crate::pods::spec;

/// The smallest quota the kernel takes.
const MIN_QUOTA: i64 = 1_000;
const MIN_SHARES: i64 = 2;
const MAX_SHARES: i64 = 262_144;
/// The class of pods that keep the node itself alive.
const NODE_CRITICAL: &str = "system-node-critical";
/// How readily the processes of guaranteed pods are killed, and of those that ask for nothing.
const GUARANTEED_SCORE: i64 = -997;
const BEST_EFFORT_SCORE: i64 = 1000;

/// What matters of the node for the memory of containers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeMemory {
    /// Bytes in all.
    pub capacity: i64,
    /// How much may be swapped.
    pub swap: NodeSwap,
    /// Whether all of a container's processes are killed where one has to be.
    pub kills_groups: bool,
}

/// How limits of CPU are enforced: by a quota for each period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuQuota {
    /// `cpuCFSQuota`: whether they are at all.
    pub is_enforced: bool,
    /// `cpuCFSQuotaPeriod` in microseconds.
    pub period: i64,
}

impl Default for CpuQuota {
    fn default() -> Self {
        Self { is_enforced: true, period: 100_000 }
    }
}

impl CpuQuota {
    /// Thousandths of a CPU as microseconds of each period; 0 for no limit, -1 for one that is lifted.
    fn of(self, milli: i64) -> i64 {
        match (milli > 0, self.is_enforced) {
            (false, _) => 0,
            (true, false) => -1,
            (true, true) => (milli.saturating_mul(self.period) / 1000).max(MIN_QUOTA),
        }
    }
}

/// Thousandths of a CPU as shares.
pub fn shares(milli: i64) -> i64 {
    if milli <= 0 { MIN_SHARES } else { (milli.saturating_mul(1024) / 1000).clamp(MIN_SHARES, MAX_SHARES) }
}

/// What the runtime is told of a container's resources.
pub fn container_resources(
    pod: &Pod,
    container: &Container,
    node: &NodeMemory,
    cpu: CpuQuota,
) -> LinuxContainerResources {
    let requirements = container.resources.clone().unwrap_or_default();
    let of = |list, resource| container_amount(list, resource);
    let cpu_limit = of(requirements.limits.as_ref(), "cpu").unwrap_or(0);
    let cpu_request = of(requirements.requests.as_ref(), "cpu").unwrap_or(cpu_limit);
    let mut resources = LinuxContainerResources {
        cpu_period: cpu.period,
        cpu_quota: cpu.of(cpu_limit),
        cpu_shares: shares(cpu_request),
        memory_limit_in_bytes: of(requirements.limits.as_ref(), "memory").unwrap_or(0),
        oom_score_adj: oom_score_adj(pod, container, node.capacity),
        ..LinuxContainerResources::default()
    };
    node.swap.limit(pod, container, &mut resources);
    if node.kills_groups {
        resources.unified.insert("memory.oom.group".to_owned(), "1".to_owned());
    }
    resources
}

/// Whether a container has the limits and shares that it should have.
pub fn agree(actual: &LinuxContainerResources, wanted: &LinuxContainerResources) -> bool {
    let of = |resources: &LinuxContainerResources| {
        // Both say that there is no limit.
        (resources.cpu_quota.max(0), resources.cpu_shares, resources.memory_limit_in_bytes.max(0))
    };
    of(actual) == of(wanted)
}

/// What the runtime is told of a pod's resources as a whole, without those that running it takes.
pub fn pod_resources(pod: &Pod, cpu: CpuQuota) -> LinuxContainerResources {
    together(&own_requests(pod), &own_limits(pod), cpu)
}

/// What the runtime is told of the resources that running a pod takes.
pub fn overhead_resources(pod: &Pod, cpu: CpuQuota) -> LinuxContainerResources {
    let overhead = pod_overhead(pod);
    if overhead.is_empty() { LinuxContainerResources::default() } else { together(&overhead, &overhead, cpu) }
}

fn together(requests: &Amounts, limits: &Amounts, cpu: CpuQuota) -> LinuxContainerResources {
    let amount = |map: &Amounts, name: &str| map.get(name).copied().unwrap_or(0);
    LinuxContainerResources {
        cpu_period: cpu.period,
        cpu_quota: cpu.of(amount(limits, "cpu")),
        cpu_shares: shares(amount(requests, "cpu")),
        memory_limit_in_bytes: amount(limits, "memory"),
        ..LinuxContainerResources::default()
    }
}

/// What the pod's own cgroup is set to.
pub fn pod_cgroup_limits(pod: &Pod, pids: i64, cpu: CpuQuota) -> PodLimits {
    let (requests, limits) = (pod_requests(pod), pod_limits(pod));
    let limit = |name: &str| limits.get(name).copied().filter(|amount| *amount > 0);
    PodLimits {
        cpu_shares: shares(requests.get("cpu").copied().unwrap_or(0)),
        cpu_quota: limit("cpu").map(|milli| cpu.of(milli)).filter(|quota| *quota > 0),
        cpu_period: cpu.period,
        memory: limit("memory"),
        pids: Some(pids).filter(|pids| *pids > 0),
        huge_pages: Vec::new(),
    }
}

/// How readily the kernel kills a container's processes when memory runs out: the less a pod asked for, the sooner.
fn oom_score_adj(pod: &Pod, container: &Container, memory_capacity: i64) -> i64 {
    if spec::is_critical(pod) && spec::spec(pod).priority_class_name.as_deref() == Some(NODE_CRITICAL) {
        return GUARANTEED_SCORE;
    }
    match qos_class(pod) {
        QosClass::Guaranteed => return GUARANTEED_SCORE,
        QosClass::BestEffort => return BEST_EFFORT_SCORE,
        QosClass::Burstable => {}
    }
    let request = |container: &Container| {
        let requests = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
        container_amount(requests, "memory").unwrap_or(0)
    };
    // What only the pod as a whole asks for is everybody's in equal parts.
    let count = spec::containers(pod).len() + spec::init_containers(pod).len();
    let part = unclaimed(pod, "memory") / i64::try_from(count.max(1)).unwrap_or(i64::MAX);
    let score = |request: i64| {
        let share = (request + part).saturating_mul(1000).checked_div(memory_capacity).unwrap_or(0);
        1000 - share
    };
    let mut adjusted = score(request(container));
    if spec::is_sidecar(container) && spec::init_containers(pod).iter().any(|init| init.name == container.name) {
        // A sidecar goes no sooner than those that it serves.
        let least = spec::containers(pod).iter().map(request).min().unwrap_or(0);
        adjusted = adjusted.min(score(least));
    }
    adjusted.clamp(1000 + GUARANTEED_SCORE, BEST_EFFORT_SCORE - 1)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const MI: i64 = 1 << 20;

    fn pod(spec: &serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "web"}, "spec": spec})).expect("a pod")
    }

    /// A container that asks for so many Mi of memory.
    fn asking(name: &str, mebibytes: i64) -> serde_json::Value {
        json!({"name": name, "resources": {"requests": {"memory": format!("{mebibytes}Mi")}}})
    }

    /// The score of the container `a`, of a node with 1000Mi.
    #[track_caller]
    fn check(spec: serde_json::Value, expected: i64) {
        let pod = pod(&spec);
        let container = spec::container(&pod, "a").expect("it is there");
        assert_eq!(oom_score_adj(&pod, &container, 1000 * MI), expected, "{spec}");
    }

    #[test]
    fn processes_are_killed_the_sooner_the_less_was_asked_for() {
        check(json!({"containers": [{"name": "a"}]}), 1000);
        check(json!({"containers": [asking("a", 0), asking("b", 1)]}), 999);
        check(json!({"containers": [asking("a", 200), {"name": "b"}]}), 800);
        check(json!({"containers": [asking("a", 999), {"name": "b"}]}), 3);
        let fixed = json!({"cpu": "1", "memory": "1Mi"});
        check(json!({"containers": [{"name": "a", "resources": {"requests": fixed, "limits": fixed}}]}), -997);
        let critical =
            |class: &str| json!({"containers": [{"name": "a"}], "priority": 2_000_001_000, "priorityClassName": class});
        check(critical("system-node-critical"), -997);
        check(critical("system-cluster-critical"), 1000);
    }

    #[test]
    fn what_a_pod_asks_for_itself_is_its_containers_in_equal_parts() {
        let resources = json!({"requests": {"memory": "500Mi"}});
        check(json!({"containers": [asking("a", 100), asking("b", 200)], "resources": resources}), 800);
        check(json!({"containers": [{"name": "a"}, {"name": "b"}], "resources": resources}), 750);
    }

    #[test]
    fn a_sidecar_is_killed_no_sooner_than_whom_it_serves() {
        let sidecar = |mebibytes| {
            let mut container = asking("a", mebibytes);
            container["restartPolicy"] = json!("Always");
            json!({"initContainers": [container], "containers": [asking("b", 300), asking("c", 400)]})
        };
        check(sidecar(10), 700);
        check(sidecar(500), 500);
    }

    #[test]
    fn the_runtime_is_told_of_overhead_apart() {
        let pod = pod(&json!({
            "containers": [{"name": "a", "resources": {
                "requests": {"cpu": "500m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "128Mi"},
            }}],
            "overhead": {"cpu": "250m", "memory": "32Mi"},
        }));
        let figures = |resources: &LinuxContainerResources| {
            (resources.cpu_shares, resources.cpu_quota, resources.memory_limit_in_bytes)
        };
        let cpu = CpuQuota::default();
        assert_eq!(figures(&pod_resources(&pod, cpu)), (512, 100_000, 128 * MI));
        assert_eq!(figures(&overhead_resources(&pod, cpu)), (256, 25_000, 32 * MI));
        let limits = pod_cgroup_limits(&pod, 0, cpu);
        assert_eq!((limits.cpu_shares, limits.cpu_quota, limits.memory), (768, Some(125_000), Some(160 * MI)));
    }
    /// Quota and period of a container, of its pod's cgroup, and of the pod as the runtime is told of it.
    #[track_caller]
    fn check_quota(limit: &str, cpu: CpuQuota, expected: (i64, Option<i64>)) {
        let pod = pod(&json!({"containers": [{"name": "a", "resources": {"limits": {"cpu": limit}}}]}));
        let container = spec::container(&pod, "a").expect("it is there");
        let resources = container_resources(&pod, &container, &NodeMemory::default(), cpu);
        let limits = pod_cgroup_limits(&pod, 0, cpu);
        assert_eq!((resources.cpu_quota, limits.cpu_quota), expected);
        assert_eq!(pod_resources(&pod, cpu).cpu_quota, expected.0);
        assert_eq!((resources.cpu_period, limits.cpu_period), (cpu.period, cpu.period));
        assert!(resources.cpu_shares > 2, "shares are there in any case");
    }

    #[test]
    fn limits_of_cpu_are_enforced_as_the_node_is_told() {
        let usual = CpuQuota::default();
        check_quota("500m", usual, (50_000, Some(50_000)));
        check_quota("5m", usual, (1_000, Some(1_000)));
        check_quota("500m", CpuQuota { period: 10_000, ..usual }, (5_000, Some(5_000)));
        check_quota("500m", CpuQuota { is_enforced: false, ..usual }, (-1, None));
    }
}
