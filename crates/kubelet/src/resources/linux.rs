//! Requests and limits as Linux knows them: shares, quotas, bytes, and the order in which processes are killed.

use cri::LinuxContainerResources;
use k8s_openapi::api::core::v1::{Container, Pod};

use super::amounts::{QosClass, container_amount, pod_limits, pod_requests, qos_class};
use super::cgroups::PodLimits;
use crate::pods::spec;

/// The period over which a CPU quota is counted, in microseconds.
const CPU_PERIOD: i64 = 100_000;
/// The smallest quota the kernel takes.
const MIN_QUOTA: i64 = 1_000;
const MIN_SHARES: i64 = 2;
const MAX_SHARES: i64 = 262_144;
/// Pods at or above this priority keep the node itself alive.
const SYSTEM_CRITICAL: i32 = 2_000_000_000;

/// Thousandths of a CPU as shares.
pub fn shares(milli: i64) -> i64 {
    if milli <= 0 { MIN_SHARES } else { (milli.saturating_mul(1024) / 1000).clamp(MIN_SHARES, MAX_SHARES) }
}

/// Thousandths of a CPU as a quota for each period; 0 for no limit.
pub fn quota(milli: i64) -> i64 {
    if milli <= 0 { 0 } else { (milli.saturating_mul(CPU_PERIOD) / 1000).max(MIN_QUOTA) }
}

/// What the runtime is told of a container's resources.
pub fn container_resources(pod: &Pod, container: &Container, memory_capacity: i64) -> LinuxContainerResources {
    let requirements = container.resources.clone().unwrap_or_default();
    let of = |list, resource| container_amount(list, resource);
    let cpu_limit = of(requirements.limits.as_ref(), "cpu").unwrap_or(0);
    let cpu_request = of(requirements.requests.as_ref(), "cpu").unwrap_or(cpu_limit);
    LinuxContainerResources {
        cpu_period: CPU_PERIOD,
        cpu_quota: quota(cpu_limit),
        cpu_shares: shares(cpu_request),
        memory_limit_in_bytes: of(requirements.limits.as_ref(), "memory").unwrap_or(0),
        oom_score_adj: oom_score_adj(pod, container, memory_capacity),
        ..LinuxContainerResources::default()
    }
}

/// Whether a container has the limits and shares that it should have.
pub fn agree(actual: &LinuxContainerResources, wanted: &LinuxContainerResources) -> bool {
    let of = |resources: &LinuxContainerResources| {
        // Both say that there is no limit.
        (resources.cpu_quota.max(0), resources.cpu_shares, resources.memory_limit_in_bytes.max(0))
    };
    of(actual) == of(wanted)
}

/// What the runtime is told of a pod's resources as a whole.
pub fn pod_resources(pod: &Pod) -> LinuxContainerResources {
    let (requests, limits) = (pod_requests(pod), pod_limits(pod));
    let amount = |map: &super::Amounts, name: &str| map.get(name).copied().unwrap_or(0);
    LinuxContainerResources {
        cpu_period: CPU_PERIOD,
        cpu_quota: quota(amount(&limits, "cpu")),
        cpu_shares: shares(amount(&requests, "cpu")),
        memory_limit_in_bytes: amount(&limits, "memory"),
        ..LinuxContainerResources::default()
    }
}

/// What the pod's own cgroup is set to.
pub fn pod_cgroup_limits(pod: &Pod, pids: i64) -> PodLimits {
    let (requests, limits) = (pod_requests(pod), pod_limits(pod));
    let limit = |name: &str| limits.get(name).copied().filter(|amount| *amount > 0);
    PodLimits {
        cpu_shares: shares(requests.get("cpu").copied().unwrap_or(0)),
        cpu_quota: limit("cpu").map(quota),
        cpu_period: CPU_PERIOD,
        memory: limit("memory"),
        pids: Some(pids).filter(|pids| *pids > 0),
    }
}

/// How readily the kernel kills a container's processes when memory runs out: the less a pod asked for, the sooner.
fn oom_score_adj(pod: &Pod, container: &Container, memory_capacity: i64) -> i64 {
    let critical = spec::spec(pod).priority.is_some_and(|priority| priority >= SYSTEM_CRITICAL);
    match qos_class(pod) {
        _ if critical => -997,
        QosClass::Guaranteed => -997,
        QosClass::BestEffort => 1000,
        QosClass::Burstable => {
            let requests = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
            let request = container_amount(requests, "memory").unwrap_or(0);
            let share = if memory_capacity > 0 { request.saturating_mul(1000) / memory_capacity } else { 0 };
            (1000 - share).clamp(3, 999)
        }
    }
}
