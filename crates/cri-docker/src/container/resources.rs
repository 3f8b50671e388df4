//! Limits, and the cgroup that they are in.

use std::path::Path;

use bollard::models::{ContainerUpdateBody, HostConfig};
use cri::{ContainerResources, LinuxContainerResources};

use crate::engine::Engine;

/// The pod's cgroup, as Docker's driver names it.
pub(crate) fn cgroup_parent(engine: &Engine, path: &str) -> Option<String> {
    parent(path, engine.daemon.is_systemd)
}

fn parent(path: &str, is_systemd: bool) -> Option<String> {
    if path.is_empty() {
        return None;
    }
    // A slice's name tells where it is.
    let slice = Path::new(path).file_name().filter(|_| is_systemd);
    Some(slice.map_or_else(|| path.to_owned(), |name| name.to_string_lossy().into_owned()))
}

/// What is zero is not set.
fn set(value: i64) -> Option<i64> {
    (value != 0).then_some(value)
}

fn text(value: &str) -> Option<String> {
    (!value.is_empty()).then(|| value.to_owned())
}

/// Without a limit of its own, swap is limited with the memory: there is none.
fn swap(limits: &LinuxContainerResources) -> Option<i64> {
    let memory = set(limits.memory_limit_in_bytes)?;
    Some(set(limits.memory_swap_limit_in_bytes).unwrap_or(memory))
}

/// A container with limits.
pub(super) fn limit(host: HostConfig, limits: &LinuxContainerResources, lowest_oom_score_adj: i64) -> HostConfig {
    HostConfig {
        cpu_period: set(limits.cpu_period),
        cpu_quota: set(limits.cpu_quota),
        cpu_shares: set(limits.cpu_shares),
        cpuset_cpus: text(&limits.cpuset_cpus),
        cpuset_mems: text(&limits.cpuset_mems),
        memory: set(limits.memory_limit_in_bytes),
        memory_swap: swap(limits),
        oom_score_adj: Some(limits.oom_score_adj.max(lowest_oom_score_adj)),
        ..host
    }
}

/// A change of limits; what is not set stays.
pub(super) fn change(limits: &LinuxContainerResources) -> ContainerUpdateBody {
    ContainerUpdateBody {
        cpu_period: set(limits.cpu_period),
        cpu_quota: set(limits.cpu_quota),
        cpu_shares: set(limits.cpu_shares),
        cpuset_cpus: text(&limits.cpuset_cpus),
        cpuset_mems: text(&limits.cpuset_mems),
        memory: set(limits.memory_limit_in_bytes),
        memory_swap: swap(limits),
        ..ContainerUpdateBody::default()
    }
}

/// The limits that a container has now.
pub(super) fn of(host: &HostConfig) -> ContainerResources {
    let linux = LinuxContainerResources {
        cpu_period: host.cpu_period.unwrap_or(0),
        cpu_quota: host.cpu_quota.unwrap_or(0),
        cpu_shares: host.cpu_shares.unwrap_or(0),
        cpuset_cpus: host.cpuset_cpus.clone().unwrap_or_default(),
        cpuset_mems: host.cpuset_mems.clone().unwrap_or_default(),
        memory_limit_in_bytes: host.memory.unwrap_or(0),
        memory_swap_limit_in_bytes: host.memory_swap.unwrap_or(0).max(0),
        oom_score_adj: host.oom_score_adj.unwrap_or(0),
        ..LinuxContainerResources::default()
    };
    ContainerResources { linux: Some(linux), windows: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroups_are_named_as_the_driver_wants_it() {
        assert_eq!(parent("/kubepods/burstable/pod1", false).as_deref(), Some("/kubepods/burstable/pod1"));
        assert_eq!(parent("/kubepods.slice/kubepods-pod1.slice", true).as_deref(), Some("kubepods-pod1.slice"));
        assert_eq!(parent("", true), None);
    }

    #[test]
    fn limits_are_set_and_read_back() {
        let limits = LinuxContainerResources {
            cpu_quota: 50_000,
            cpu_period: 100_000,
            cpu_shares: 512,
            memory_limit_in_bytes: 64 << 20,
            oom_score_adj: -997,
            ..LinuxContainerResources::default()
        };
        let host = limit(HostConfig::default(), &limits, 0);
        assert_eq!((host.memory_swap, host.oom_score_adj, &host.cpuset_cpus), (Some(64 << 20), Some(0), &None));
        let back = of(&host).linux.expect("limits");
        let expected = LinuxContainerResources { oom_score_adj: 0, memory_swap_limit_in_bytes: 64 << 20, ..limits };
        assert_eq!(back, expected);
    }

    #[test]
    fn a_change_of_one_limit_leaves_the_others() {
        let limits = LinuxContainerResources { cpu_shares: 100, ..LinuxContainerResources::default() };
        assert_eq!(change(&limits), ContainerUpdateBody { cpu_shares: Some(100), ..Default::default() });
    }
}
