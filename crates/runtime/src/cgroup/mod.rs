//! Control groups, version 1 (each controller in a hierarchy of its own, also hybrid) and version 2.
//!
//! libcontainer makes the cgroups of containers; this module joins, reads, changes, kills and removes them, and limits
//! their devices on version 2, which libcontainer does with C libraries only. A cgroup is named by its path from the root
//! of the hierarchy, as the kubelet gives it.

mod devices;
mod hierarchy;
mod pressure;
mod rate;
mod stats;
mod sys;
mod update;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal};

pub(crate) use devices::{DeviceFilter, DeviceFilterError};
pub(crate) use hierarchy::Hierarchy;
pub(crate) use rate::CpuRate;
pub(crate) use stats::{CgroupStats, field};
pub(crate) use update::UpdateError;

/// How often a removal or a killing is tried; the kernel needs a moment to let processes go.
const ATTEMPTS: u32 = 200;

/// One cgroup.
#[derive(Clone, Debug)]
pub(crate) struct Cgroup {
    hierarchy: &'static Hierarchy,
    path: PathBuf,
}

impl Cgroup {
    /// The cgroup of this path, which need not exist.
    pub(crate) fn new(path: &Path) -> Self {
        let path = path.strip_prefix("/").unwrap_or(path).to_owned();
        Self { hierarchy: Hierarchy::of_machine(), path }
    }

    /// Whether the machine has version 2.
    pub(crate) fn is_v2(&self) -> bool {
        self.hierarchy.is_v2()
    }

    /// The directory of `controller`, if the machine has it.
    fn dir(&self, controller: &str) -> Option<PathBuf> {
        self.hierarchy.mount_point(controller).map(|root| root.join(&self.path))
    }

    /// The directories of this cgroup in all hierarchies.
    fn dirs(&self) -> Vec<PathBuf> {
        let roots = self.hierarchy.mount_points().into_iter().chain(self.hierarchy.beside());
        roots.map(|root| root.join(&self.path)).collect()
    }

    /// A file of `controller` here; `None` if there is none.
    pub(crate) fn read(&self, controller: &str, file: &str) -> Option<String> {
        fs::read_to_string(self.dir(controller)?.join(file)).ok()
    }

    fn read_number(&self, controller: &str, file: &str) -> Option<u64> {
        self.read(controller, file)?.trim().parse().ok()
    }

    /// Moves the calling process here, and makes the cgroup for that where it does not exist.
    pub(crate) fn join(&self) -> io::Result<()> {
        for root in self.hierarchy.mount_points() {
            // A new cpuset of version 1 has no CPUs and takes no process; being outside of it does no harm.
            if !self.hierarchy.is_v2() && root.join("cpuset.cpus").exists() {
                continue;
            }
            let dir = root.join(&self.path);
            fs::create_dir_all(&dir)?;
            fs::write(dir.join("cgroup.procs"), "0")?;
        }
        Ok(())
    }

    /// Limits the devices of this cgroup's processes, on version 2; on version 1 libcontainer has done it.
    pub(crate) fn limit_devices(&self, filter: &DeviceFilter) -> Result<(), DeviceFilterError> {
        match self.hierarchy {
            Hierarchy::V2 => self.dirs().iter().try_for_each(|dir| filter.attach(dir)),
            Hierarchy::V1(_) => Ok(()),
        }
    }

    /// The processes in this cgroup and those below it.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let mut pids = Vec::new();
        for dir in self.dirs() {
            collect_processes(&dir, &mut pids);
        }
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    /// Kills every process in this cgroup and below it, and waits until they are gone.
    pub(crate) fn kill_all(&self) -> io::Result<()> {
        for _ in 0..ATTEMPTS {
            let pids = self.processes();
            if pids.is_empty() {
                return Ok(());
            }
            for pid in pids {
                if let Some(pid) = Pid::from_raw(pid) {
                    // It may be gone already.
                    let _ = rustix::process::kill_process(pid, Signal::KILL);
                }
            }
            // A killed process stays in the list until it has left the kernel.
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "processes do not end"))
    }

    /// How many processes the kernel killed here for want of memory.
    pub(crate) fn oom_kills(&self) -> u64 {
        let file = if self.hierarchy.is_v2() { "memory.events" } else { "memory.oom_control" };
        let text = self.read("memory", file).unwrap_or_default();
        stats::field(&text, "oom_kill").unwrap_or(0)
    }

    /// Removes this cgroup and those below it; none there is fine.
    pub(crate) fn remove(&self) -> io::Result<()> {
        if self.path.as_os_str().is_empty() {
            return Ok(());
        }
        self.dirs().iter().try_for_each(|dir| remove_tree(dir))
    }
}

fn collect_processes(dir: &Path, pids: &mut Vec<i32>) {
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
    for child in children(dir) {
        collect_processes(&child, pids);
    }
}

fn children(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

fn remove_tree(dir: &Path) -> io::Result<()> {
    for child in children(dir) {
        remove_tree(&child)?;
    }
    for attempt in 1.. {
        match fs::remove_dir(dir) {
            Ok(()) => break,
            Err(err) if err.kind() == io::ErrorKind::NotFound => break,
            Err(err) if attempt == ATTEMPTS => return Err(err),
            Err(err) if err.raw_os_error() == Some(libc::EBUSY) => {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            Err(err) => return Err(err),
        }
    }
    Ok(())
}
