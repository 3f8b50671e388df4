//! Tells of processes that the kernel killed because the machine had no memory left.
//!
//! The kernel's log says so. What it kills because a cgroup has reached its own limit is told otherwise: such processes
//! belong to containers, whose states say it.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use base::Drain;
use client::EventType;
use rustix::fs::{OFlags, SeekFrom, seek};
use tokio::io::unix::AsyncFd;

use super::node_reference;
use crate::context::Shared;

const LOG: &str = "/dev/kmsg";
/// The kernel's longest record.
const RECORD: usize = 8192;

/// Records an event for each such process until the drain signal.
pub async fn watch_oom(context: Shared, drain: Drain) {
    let log = match Records::open(Path::new(LOG)) {
        Ok(log) => log,
        Err(err) => {
            tracing::warn!(err = %err, "the kernel's log cannot be read, so that nothing is told of lack of memory");
            return drain.drained().await;
        }
    };
    loop {
        match drain.until(log.next()).await {
            None => return,
            Some(Ok(record)) => {
                if let Some(victim) = victim(&record) {
                    let node = node_reference(&context.config.node_name);
                    context.recorder.event(&node, EventType::Warning, "SystemOOM", victim.message());
                }
            }
            Some(Err(err)) => {
                tracing::warn!(err = %err, "the kernel's log cannot be read any more");
                return drain.drained().await;
            }
        }
    }
}

/// What the kernel says from now on, record by record.
struct Records(AsyncFd<OwnedFd>);

impl Records {
    fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::NONBLOCK | OFlags::CLOEXEC;
        let flags = i32::try_from(flags.bits()).unwrap_or_default();
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        // What was said before is not about this kubelet's time.
        seek(&file, SeekFrom::End(0))?;
        Ok(Self(base::watch_descriptor(file.into())?))
    }

    async fn next(&self) -> io::Result<String> {
        let mut buffer = vec![0; RECORD];
        loop {
            let mut guard = self.0.readable().await?;
            match guard.try_io(|log| Ok(rustix::io::read(log.get_ref(), &mut buffer)?)) {
                Ok(Ok(0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(Ok(length)) => return Ok(String::from_utf8_lossy(&buffer[..length]).into_owned()),
                // Records were overwritten before they were read: the next one is there.
                Ok(Err(err)) if err.kind() == io::ErrorKind::BrokenPipe => {}
                Ok(Err(err)) => return Err(err),
                Err(_) => {}
            }
        }
    }
}

/// A process that was killed.
#[derive(Debug, PartialEq, Eq)]
struct Victim {
    name: String,
    pid: i32,
}

impl Victim {
    fn message(&self) -> String {
        format!("System OOM encountered, victim process: {}, pid: {}", self.name, self.pid)
    }
}

/// The process of which a record says that it was killed because the machine has no memory left.
fn victim(record: &str) -> Option<Victim> {
    let (_, text) = record.split_once(';')?;
    let text = text.lines().next()?.strip_prefix("Out of memory")?;
    // Newer kernels say "Killed", older ones "Kill" and then what the process scored.
    let (_, text) = text.split_once("process ")?;
    let (pid, rest) = text.split_once(" (")?;
    let (name, _) = rest.split_once(')')?;
    Some(Victim { name: name.to_owned(), pid: pid.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn victims_of_the_machine_are_told_from_those_of_cgroups() {
        let new = "3,1234,5678,-;Out of memory: Killed process 4321 (stress) total-vm:1kB, anon-rss:1kB, UID:0\n";
        let old = "3,1,2,-;Out of memory: Kill process 17 (a b) score 900 or sacrifice child\n SUBSYSTEM=memory\n";
        for (record, expected) in [
            (new, Some(("stress", 4321))),
            (old, Some(("a b", 17))),
            ("3,1,2,-;Memory cgroup out of memory: Killed process 5 (x) total-vm:1kB\n", None),
            ("6,1,2,-;usb 1-1: new device\n", None),
            ("Out of memory: Killed process 4321 (stress)", None),
        ] {
            let expected = expected.map(|(name, pid): (&str, i32)| Victim { name: name.to_owned(), pid });
            assert_eq!(victim(record), expected, "{record}");
        }
        let message = victim(new).expect("a victim").message();
        assert_eq!(message, "System OOM encountered, victim process: stress, pid: 4321");
    }

    #[tokio::test]
    async fn what_the_kernel_says_is_heard() {
        let Ok(log) = Records::open(Path::new(LOG)) else { return eprintln!("skipped: no {LOG} for this user") };
        let marker = format!("skiff test {}", std::process::id());
        let text = format!("<4>Out of memory: Killed process 1 ({marker})\n");
        if std::fs::write(LOG, text).is_err() {
            return eprintln!("skipped: {LOG} takes nothing from this user");
        }
        let heard = async {
            loop {
                let victim = victim(&log.next().await.expect("readable"));
                if victim.is_some_and(|victim| victim.name == marker) {
                    return;
                }
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(60), heard).await.expect("it is heard");
    }
}
