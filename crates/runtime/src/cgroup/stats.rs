//! What a cgroup has used.

use super::Cgroup;

/// Usage of one cgroup. What the machine does not account for is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CgroupStats {
    /// CPU time in nanoseconds.
    pub cpu_nanoseconds: Option<u64>,
    /// All memory, page cache included.
    pub memory_usage: Option<u64>,
    /// Memory without the page cache that is easily given back: what eviction looks at.
    pub memory_working_set: Option<u64>,
    /// Anonymous memory.
    pub memory_rss: Option<u64>,
    /// The limit, if there is one.
    pub memory_limit: Option<u64>,
    /// Page faults.
    pub page_faults: Option<u64>,
    /// Page faults that read from a disk.
    pub major_page_faults: Option<u64>,
    /// Swap in use.
    pub swap_usage: Option<u64>,
    /// The most swap that it may use, if there is a limit.
    pub swap_limit: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
}

/// Limits as high as this mean that there is none.
const NO_LIMIT: u64 = 1 << 60;

/// The number after `name` in lines of names and numbers.
pub(crate) fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

impl Cgroup {
    /// Reads the usage; everything is absent if there is no such cgroup.
    pub(crate) fn stats(&self) -> CgroupStats {
        let memory_stat = self.read("memory", "memory.stat").unwrap_or_default();
        let mut stats = if self.hierarchy.is_v2() {
            let cpu_stat = self.read("cpu", "cpu.stat").unwrap_or_default();
            CgroupStats {
                cpu_nanoseconds: field(&cpu_stat, "usage_usec").map(|micros| micros * 1000),
                memory_usage: self.read_number("memory", "memory.current"),
                memory_rss: field(&memory_stat, "anon"),
                memory_limit: self.read_number("memory", "memory.max"),
                page_faults: field(&memory_stat, "pgfault"),
                major_page_faults: field(&memory_stat, "pgmajfault"),
                swap_usage: self.read_number("memory", "memory.swap.current"),
                swap_limit: self.read_number("memory", "memory.swap.max"),
                ..CgroupStats::default()
            }
        } else {
            CgroupStats {
                cpu_nanoseconds: self.read_number("cpuacct", "cpuacct.usage"),
                memory_usage: self.read_number("memory", "memory.usage_in_bytes"),
                memory_rss: field(&memory_stat, "total_rss"),
                memory_limit: self.read_number("memory", "memory.limit_in_bytes"),
                page_faults: field(&memory_stat, "total_pgfault"),
                major_page_faults: field(&memory_stat, "total_pgmajfault"),
                swap_usage: field(&memory_stat, "total_swap"),
                ..CgroupStats::default()
            }
        };
        let inactive = if self.hierarchy.is_v2() { "inactive_file" } else { "total_inactive_file" };
        let inactive = field(&memory_stat, inactive).unwrap_or(0);
        stats.memory_working_set = stats.memory_usage.map(|usage| usage.saturating_sub(inactive));
        stats.memory_limit = stats.memory_limit.filter(|limit| *limit < NO_LIMIT);
        if !self.hierarchy.is_v2() {
            // Version 1 limits memory and swap together.
            let both = self.read_number("memory", "memory.memsw.limit_in_bytes").filter(|limit| *limit < NO_LIMIT);
            stats.swap_limit = both.zip(stats.memory_limit).map(|(both, memory)| both.saturating_sub(memory));
        }
        stats.pids = self.read_number("pids", "pids.current");
        stats
    }
}
