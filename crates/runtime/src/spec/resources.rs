//! Limits.

use std::fs;
use std::path::Path;

use cri::LinuxContainerResources;
use serde_json::{Value, json};

use crate::cgroup::Hierarchy;

/// The `resources` of the specification; what is zero or empty is not limited.
pub(crate) fn resources(wanted: &LinuxContainerResources) -> Value {
    let mut cpu = json!({});
    if wanted.cpu_shares > 0 {
        cpu["shares"] = json!(wanted.cpu_shares);
    }
    if wanted.cpu_quota != 0 {
        cpu["quota"] = json!(wanted.cpu_quota);
    }
    if wanted.cpu_period > 0 {
        cpu["period"] = json!(wanted.cpu_period);
    }
    if !wanted.cpuset_cpus.is_empty() {
        cpu["cpus"] = json!(wanted.cpuset_cpus);
    }
    if !wanted.cpuset_mems.is_empty() {
        cpu["mems"] = json!(wanted.cpuset_mems);
    }
    let mut memory = json!({});
    if wanted.memory_limit_in_bytes != 0 {
        memory["limit"] = json!(wanted.memory_limit_in_bytes);
    }
    if wanted.memory_swap_limit_in_bytes != 0 && counts_swap() {
        memory["swap"] = json!(wanted.memory_swap_limit_in_bytes);
    }
    let mut resources = json!({"cpu": cpu, "memory": memory});
    if !wanted.hugepage_limits.is_empty() && Hierarchy::of_machine().has("hugetlb") {
        let limits = wanted.hugepage_limits.iter();
        resources["hugepageLimits"] =
            limits.map(|limit| json!({"pageSize": limit.page_size, "limit": limit.limit})).collect();
    }
    if !wanted.unified.is_empty() && Hierarchy::of_machine().is_v2() {
        resources["unified"] = json!(wanted.unified);
    }
    resources
}

/// Whether the kernel limits swap by cgroup here.
fn counts_swap() -> bool {
    if Hierarchy::of_machine().is_v2() {
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let total = meminfo.lines().find_map(|line| line.strip_prefix("SwapTotal:"));
        return total.is_some_and(|total| !total.trim().starts_with("0 "));
    }
    Path::new("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_means_no_limit() {
        assert_eq!(resources(&LinuxContainerResources::default()), json!({"cpu": {}, "memory": {}}));
        let wanted = LinuxContainerResources {
            cpu_shares: 100,
            cpu_quota: 50_000,
            cpu_period: 100_000,
            memory_limit_in_bytes: 1 << 20,
            ..Default::default()
        };
        let expected =
            json!({"cpu": {"shares": 100, "quota": 50_000, "period": 100_000}, "memory": {"limit": 1 << 20}});
        assert_eq!(resources(&wanted), expected);
    }
}
