//! What a cluster's processes use, as the kernel counts it.

use nix::unistd::{SysconfVar, sysconf};

use crate::Cluster;

/// What the processes of a cluster have used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Resident memory now, shared pages counted for each process that has them.
    pub megabytes: f64,
    /// Processor time since the start, in user and kernel mode.
    pub seconds: f64,
}

impl Usage {
    /// Reads it now.
    pub fn of(cluster: &Cluster) -> Self {
        let data = cluster.data_dir();
        let dir = data.parent().expect("the directory of the cluster").to_string_lossy().into_owned();
        let unit = |name| sysconf(name).ok().flatten().expect("every Linux has it") as f64;
        let (tick, page) = (1.0 / unit(SysconfVar::CLK_TCK), unit(SysconfVar::PAGE_SIZE) / 1e6);
        let mut usage = Self::default();
        for process in std::fs::read_dir("/proc").expect("proc is mounted").flatten() {
            // What is no process, and one that ends meanwhile, has no such files.
            let read = |file: &str| std::fs::read_to_string(process.path().join(file)).unwrap_or_default();
            if !read("cmdline").contains(&dir) {
                continue;
            }
            let number = |text: &str, at: usize| text.split_whitespace().nth(at)?.parse::<f64>().ok();
            usage.megabytes += number(&read("statm"), 1).unwrap_or_default() * page;
            // The name in parentheses may have spaces; user and kernel time are the 12th and 13th value after it.
            let stat = read("stat");
            let values = stat.rsplit(')').next().unwrap_or_default();
            usage.seconds += (11..=12).filter_map(|at| number(values, at)).sum::<f64>() * tick;
        }
        assert!(usage.megabytes > 0.0, "no process of the cluster runs");
        usage
    }
}
