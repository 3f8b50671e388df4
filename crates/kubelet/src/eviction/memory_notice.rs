//! The kernel's word that memory has fallen below a threshold, so that it need not be looked for all the time.
//!
//! Version 1 of cgroups gives it: an event descriptor is bound to a level of a cgroup's memory. The level moves with
//! the page cache that could be given back, so that it is set anew at each look. Version 2 has nothing of the kind.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::event::{EventfdFlags, eventfd};
use tokio::io::unix::AsyncFd;

use super::observe::Observations;
use super::threshold::{Signal, Threshold};
use crate::context::Context;

/// The thresholds of memory that the kernel watches.
#[derive(Default)]
pub struct MemoryNotices(Vec<Notice>);

struct Notice {
    threshold: Threshold,
    cgroup: PathBuf,
    armed: Option<Armed>,
}

struct Armed {
    level: i64,
    event: AsyncFd<OwnedFd>,
    // Closing it would end the watch.
    _usage: File,
}

impl MemoryNotices {
    /// For the thresholds of memory, if the kubelet is told to ask the kernel.
    pub fn new(context: &Context, thresholds: &[Threshold]) -> Self {
        if !context.config.eviction.memory_notification {
            return Self::default();
        }
        let notice = |threshold: &Threshold| {
            let cgroup = match threshold.signal {
                Signal::MemoryAvailable => context.cgroups.machine_memory_dir(),
                Signal::AllocatableMemoryAvailable => context.cgroups.pods_memory_dir(),
                _ => None,
            };
            Some(Notice { threshold: *threshold, cgroup: cgroup?, armed: None })
        };
        Self(thresholds.iter().filter_map(notice).collect())
    }

    /// Sets the levels by what was seen last.
    pub fn arm(&mut self, observations: &Observations) {
        for notice in &mut self.0 {
            let Some(seen) = observations.get(&notice.threshold.signal) else { continue };
            let usage = number(&notice.cgroup, "memory.usage_in_bytes").unwrap_or(0);
            let given_back = (usage - (seen.capacity - seen.available)).max(0);
            let level = seen.capacity - notice.threshold.value.of(seen.capacity) + given_back;
            if notice.armed.as_ref().is_some_and(|armed| armed.level == level) {
                continue;
            }
            notice.armed = match arm(&notice.cgroup, level) {
                Ok(armed) => Some(armed),
                Err(err) => {
                    tracing::warn!(cgroup = %notice.cgroup.display(), err = %err, "the kernel will not say when memory is short");
                    None
                }
            };
        }
    }

    /// Waits until memory passes one of the levels; for ever where none is set.
    pub async fn next(&self) {
        let waits = self.0.iter().filter_map(|notice| notice.armed.as_ref());
        let waits: Vec<_> = waits.map(|armed| Box::pin(passed(&armed.event))).collect();
        if waits.is_empty() {
            return std::future::pending().await;
        }
        futures::future::select_all(waits).await;
    }
}

/// Waits for one event. One that cannot be waited for is left to the next look.
async fn passed(event: &AsyncFd<OwnedFd>) {
    loop {
        let Ok(mut guard) = event.readable().await else { return std::future::pending().await };
        let mut count = [0; 8];
        let read = guard.try_io(|event| Ok(rustix::io::read(event.get_ref(), &mut count)?));
        if let Ok(Ok(_)) = read {
            return;
        }
    }
}

fn number(cgroup: &Path, file: &str) -> Option<i64> {
    fs::read_to_string(cgroup.join(file)).ok()?.trim().parse().ok()
}

fn arm(cgroup: &Path, level: i64) -> io::Result<Armed> {
    let event = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
    let usage = File::open(cgroup.join("memory.usage_in_bytes"))?;
    let control = format!("{} {} {level}", event.as_raw_fd(), usage.as_raw_fd());
    fs::write(cgroup.join("cgroup.event_control"), control)?;
    Ok(Armed { level, event: base::watch_descriptor(event)?, _usage: usage })
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use super::*;

    struct Cgroup(PathBuf);

    impl Drop for Cgroup {
        fn drop(&mut self) {
            // The next run of the test does not mind what is left.
            let _ = fs::remove_dir(&self.0);
        }
    }

    #[tokio::test]
    async fn the_kernel_says_when_memory_passes_the_level() {
        let root = Path::new("/sys/fs/cgroup/memory");
        if !root.join("cgroup.event_control").exists() {
            return eprintln!("skipped: no memory cgroups of version 1");
        }
        let name = format!("skiff-notice-{}", std::process::id());
        let cgroup = Cgroup(root.join(name));
        fs::create_dir_all(&cgroup.0).expect("root may make cgroups");
        let armed = arm(&cgroup.0, 8 << 20).expect("armed");
        let quiet = tokio::time::timeout(Duration::from_millis(1), passed(&armed.event)).await;
        assert!(quiet.is_err(), "nothing uses memory yet");
        // A program that keeps a line of 24 MiB in memory.
        let script = "echo 0 > \"$0/cgroup.procs\" && head -c 25165824 /dev/zero | tail -n 1 | wc -c";
        let mut child = Command::new("sh").args(["-c", script]).arg(&cgroup.0).spawn().expect("a shell");
        tokio::time::timeout(Duration::from_secs(60), passed(&armed.event)).await.expect("the kernel says so");
        assert!(child.wait().expect("it ends").success());
    }
}
