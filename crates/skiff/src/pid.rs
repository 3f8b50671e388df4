//! The process id file of a server or agent, by which `skiff down` finds it.
//!
//! The process holds a lock on the file as long as it lives: a file without it names a process that is gone, whoever has
//! its number now.

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use base::Instance;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};

use crate::layout;

/// Holds the file's lock, and removes the file when the process ends in order.
pub struct PidFile {
    path: PathBuf,
    _locked: File,
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // A file that stays has no lock any more, which readers find out.
        let _ = fs::remove_file(&self.path);
    }
}

/// Writes the file; fails where another process of this installation runs.
pub fn claim(instance: &Instance) -> Result<PidFile> {
    let path = layout::pid_file(instance);
    let failed = || format!("cannot write {}", path.display());
    let mut file = File::options().write(true).create(true).truncate(false).open(&path).with_context(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let process = running(instance)?.map_or_else(String::new, |process| format!(" ({process})"));
            bail!(
                "skiff runs already with run directory {}{process}; stop it with `skiff down`, or use another --run-dir and --data-dir",
                instance.run_dir().display()
            );
        }
        Err(TryLockError::Error(err)) => return Err(err).with_context(failed),
    }
    file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).with_context(failed)?;
    Ok(PidFile { path, _locked: file })
}

/// The process that holds the file, if there is one.
pub fn running(instance: &Instance) -> Result<Option<Process>> {
    let path = layout::pid_file(instance);
    let Ok(file) = File::open(&path) else { return Ok(None) };
    match file.try_lock_shared() {
        Ok(()) => return Ok(None),
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(err)) => return Err(err).with_context(|| format!("cannot look at {}", path.display())),
    }
    let text = fs::read_to_string(&path).unwrap_or_default();
    let Some(pid) = text.trim().parse().ok().filter(|raw| *raw > 0).and_then(Pid::from_raw) else { return Ok(None) };
    match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
        Ok(fd) => Ok(Some(Process { pid, fd })),
        Err(Errno::SRCH) => Ok(None),
        Err(err) => Err(err).with_context(|| format!("cannot open process {pid}")),
    }
}

/// A process that is held by more than its number, which another may get when it has ended.
pub struct Process {
    pid: Pid,
    fd: OwnedFd,
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {}", self.pid)
    }
}

impl Process {
    /// Asks it to end, kills it if it has not after `grace`, and returns once it has ended.
    pub fn stop(&self, grace: Duration) -> Result<()> {
        for signal in [Signal::TERM, Signal::KILL] {
            match rustix::process::pidfd_send_signal(&self.fd, signal) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(err) => return Err(err).with_context(|| format!("cannot stop {self}")),
            }
            if self.ends_within(grace)? {
                return Ok(());
            }
        }
        bail!("{self} was killed and has not ended after {} s", grace.as_secs())
    }

    fn ends_within(&self, time: Duration) -> Result<bool> {
        let deadline = Instant::now() + time;
        loop {
            let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now()));
            let left = left.context("the time to wait is too long")?;
            match poll(&mut [PollFd::new(&self.fd, PollFlags::IN)], Some(&left)) {
                Ok(ended) => return Ok(ended > 0),
                Err(Errno::INTR) => {}
                Err(err) => return Err(err).with_context(|| format!("cannot wait for {self}")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A process that runs a shell's commands and has begun.
    fn start(commands: &str) -> Child {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &format!("{commands}\necho begun; while :; do read line || exit; done")]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a shell");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("it begins");
        assert_eq!(line, "begun\n");
        child
    }

    fn installation() -> (tempfile::TempDir, Instance) {
        let dir = tempfile::tempdir().expect("a directory");
        let instance = Instance::new(dir.path(), dir.path());
        (dir, instance)
    }

    /// The signal by which a process ends that is stopped.
    #[track_caller]
    fn check_stop(commands: &str, grace: Duration, expected: i32) {
        let (_dir, instance) = installation();
        let mut child = start(commands);
        let claimed = claim(&instance).expect("nobody runs");
        // As if the child had claimed it.
        fs::write(layout::pid_file(&instance), child.id().to_string()).expect("written");
        let process = running(&instance).expect("it can be opened").expect("it runs");
        process.stop(grace).expect("it ends");
        assert_eq!(child.wait().expect("it has ended").signal(), Some(expected));
        // Who comes later finds nobody.
        process.stop(grace).expect("it has ended");
        assert!(running(&instance).expect("it can be looked for").is_none(), "the number is nobody's");
        drop(claimed);
        assert!(!layout::pid_file(&instance).exists());
    }

    #[test]
    fn a_process_is_asked_to_end_and_killed_if_it_does_not() {
        check_stop("", Duration::from_secs(60), 15);
        check_stop("trap '' TERM", Duration::from_millis(50), 9);
    }

    #[test]
    fn a_second_process_is_told_of_the_first() {
        let (_dir, instance) = installation();
        let claimed = claim(&instance).expect("nobody runs");
        let refused = claim(&instance).err().expect("somebody runs").to_string();
        assert!(refused.contains(&format!("(process {})", std::process::id())), "{refused}");
        drop(claimed);
        claim(&instance).expect("nobody runs any more");
    }

    #[test]
    fn a_file_that_nobody_holds_names_nobody() {
        let (_dir, instance) = installation();
        for text in ["", "0", "-1", "nonsense", &std::process::id().to_string()] {
            fs::write(layout::pid_file(&instance), text).expect("written");
            assert!(running(&instance).expect("it can be looked for").is_none(), "{text}");
        }
        drop(claim(&instance).expect("it is free"));
    }
}
