//! What a cluster's processes use, as the kernel counts it.

use nix::unistd::{SysconfVar, sysconf};

use crate::Cluster;

/// What some processes have used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// How many processes there are.
    pub processes: usize,
    /// Resident memory now in MB, shared pages counted for each process that has them.
    pub megabytes: f64,
    /// Resident memory now in MB, each shared page divided by those who have it.
    pub proportional: f64,
    /// Memory now in MB that one process alone has.
    pub private: f64,
    /// Processor time in seconds since the start, in user and kernel mode.
    pub seconds: f64,
}

impl Usage {
    /// What every process that carries the cluster's directory in its command line uses now.
    pub fn of(cluster: &Cluster) -> Self {
        let data = cluster.data_dir();
        let dir = data.parent().expect("the directory of the cluster").to_string_lossy().into_owned();
        Self::of_processes(|command_line| command_line.contains(&dir))
    }

    /// What the processes use now whose command line, its words ended by NUL, is wanted.
    pub fn of_processes(wanted: impl Fn(&str) -> bool) -> Self {
        let unit = |name| sysconf(name).ok().flatten().expect("every Linux has it") as f64;
        let (tick, page) = (1.0 / unit(SysconfVar::CLK_TCK), unit(SysconfVar::PAGE_SIZE) / 1e6);
        let mut usage = Self::default();
        for process in std::fs::read_dir("/proc").expect("proc is mounted").flatten() {
            // What is no process, and one that ends meanwhile, has no such files.
            let read = |file: &str| std::fs::read_to_string(process.path().join(file)).unwrap_or_default();
            if !wanted(&read("cmdline")) {
                continue;
            }
            usage.processes += 1;
            let number = |text: &str, at: usize| text.split_whitespace().nth(at)?.parse::<f64>().ok();
            usage.megabytes += number(&read("statm"), 1).unwrap_or_default() * page;
            let maps = read("smaps_rollup");
            let sum = |names: &[&str]| -> f64 {
                let lines = maps.lines().filter(|line| names.iter().any(|name| line.starts_with(name)));
                lines.filter_map(|line| number(line, 1)).sum::<f64>() * 1.024e-3
            };
            usage.proportional += sum(&["Pss:"]);
            usage.private += sum(&["Private_"]);
            // The name in parentheses may have spaces; user and kernel time are the 12th and 13th value after it.
            let stat = read("stat");
            let values = stat.rsplit(')').next().unwrap_or_default();
            usage.seconds += (11..=12).filter_map(|at| number(values, at)).sum::<f64>() * tick;
        }
        assert!(usage.processes > 0, "no such process runs");
        usage
    }
}
