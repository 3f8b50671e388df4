//! Whether the machine is short of memory, disk or processes.

use std::fs;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};

use super::machine::{Machine, RESERVED_DISK_PERCENT, RESERVED_MEMORY, disk_usage, meminfo};

/// Pressure is reported until it has been over for so long.
const TRANSITION: SignedDuration = SignedDuration::from_mins(5);
/// Below this share of free inodes, in hundredths, the disk counts as full.
const MIN_FREE_INODES_PERCENT: u64 = 5;
/// Above this share of process numbers in use, in hundredths, there is pressure.
const MAX_PIDS_PERCENT: u64 = 90;

/// When each pressure was last seen.
#[derive(Debug, Default)]
pub struct Pressures {
    memory: Option<Timestamp>,
    disk: Option<Timestamp>,
    pids: Option<Timestamp>,
}

/// What is short now or was until shortly ago.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// Memory.
    pub memory: bool,
    /// Disk space or inodes.
    pub disk: bool,
    /// Processes.
    pub pids: bool,
}

impl Pressures {
    /// Looks at the machine; `dir` is on the disk on which pods write.
    pub fn measure(&mut self, machine: &Machine, dir: &Path, now: Timestamp) -> Measured {
        Measured {
            memory: held(&mut self.memory, memory_is_short(machine), now),
            disk: held(&mut self.disk, disk_is_short(dir), now),
            pids: held(&mut self.pids, pids_are_short(), now),
        }
    }
}

fn held(seen: &mut Option<Timestamp>, short: bool, now: Timestamp) -> bool {
    if short {
        *seen = Some(now);
    }
    seen.is_some_and(|seen| short || now.duration_since(seen) < TRANSITION)
}

fn memory_is_short(machine: &Machine) -> bool {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = meminfo(&text, "MemAvailable").unwrap_or(machine.memory_bytes);
    available < RESERVED_MEMORY
}

fn disk_is_short(dir: &Path) -> bool {
    let space = disk_usage(dir)
        .is_some_and(|(used, total)| total > 0 && (total - used.min(total)) * 100 < total * RESERVED_DISK_PERCENT);
    let stat = dir.ancestors().find_map(|path| rustix::fs::statvfs(path).ok());
    // Some file systems have no fixed number of inodes and say 0.
    let inodes =
        stat.is_some_and(|stat| stat.f_files > 0 && stat.f_favail * 100 < stat.f_files * MIN_FREE_INODES_PERCENT);
    space || inodes
}

fn pids_are_short() -> bool {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let limit = |path: &str| read(path).trim().parse::<u64>().ok();
    let most = [limit("/proc/sys/kernel/pid_max"), limit("/proc/sys/kernel/threads-max")].into_iter().flatten().min();
    // The fourth field is "running/all".
    let all =
        read("/proc/loadavg").split_whitespace().nth(3).and_then(|field| field.split('/').nth(1)?.parse::<u64>().ok());
    match (all, most) {
        (Some(all), Some(most)) => all * 100 > most * MAX_PIDS_PERCENT,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_is_reported_for_five_minutes_after_its_end() {
        let at = |second| Timestamp::from_second(second).expect("a valid time");
        let mut seen = None;
        assert!(!held(&mut seen, false, at(0)));
        assert!(held(&mut seen, true, at(10)));
        assert!(held(&mut seen, false, at(200)));
        assert!(!held(&mut seen, false, at(310)));
    }
}
