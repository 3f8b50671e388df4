//! The process id file of a server or agent, by which `skiff down` finds it.

use std::fmt;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use base::Instance;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};

use crate::layout;

/// Removes the file when the process ends in order.
pub struct PidFile(PathBuf);

impl Drop for PidFile {
    fn drop(&mut self) {
        // A file that stays names a process that is gone, which readers find out.
        let _ = fs::remove_file(&self.0);
    }
}

/// Writes the file; fails where another process of this installation runs.
pub fn claim(instance: &Instance) -> Result<PidFile> {
    if let Some(process) = running(instance)? {
        bail!(
            "skiff runs already with run directory {} ({process}); stop it with `skiff down`, or use another --run-dir and --data-dir",
            instance.run_dir().display()
        );
    }
    let path = layout::pid_file(instance);
    fs::write(&path, format!("{}\n", std::process::id()))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(PidFile(path))
}

/// The process that the file names, if it is alive and a skiff.
pub fn running(instance: &Instance) -> Result<Option<Process>> {
    let Ok(text) = fs::read_to_string(layout::pid_file(instance)) else { return Ok(None) };
    let named = text.trim().parse().ok().filter(|raw| *raw > 0).and_then(Pid::from_raw);
    let Some(pid) = named.filter(|pid| *pid != rustix::process::getpid()) else { return Ok(None) };
    let fd = match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
        Ok(fd) => fd,
        Err(Errno::SRCH) => return Ok(None),
        Err(err) => return Err(err).with_context(|| format!("cannot open process {pid}")),
    };
    // One that has ended and is not yet waited for has no command.
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let is_skiff = command.split(|byte| *byte == 0).next().is_some_and(|program| program.ends_with(b"skiff"));
    Ok(is_skiff.then_some(Process { pid, fd }))
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
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A process under a name that runs a shell's commands and has begun, and its installation.
    fn start(name: &str, commands: &str) -> (Child, Instance, tempfile::TempDir) {
        let dir = tempfile::tempdir().expect("a directory");
        let mut command = Command::new("/bin/sh");
        command.arg0(name).args(["-c", &format!("{commands}\necho begun; while :; do read line || exit; done")]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a shell");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("it begins");
        assert_eq!(line, "begun\n");
        let instance = Instance::new(dir.path(), dir.path());
        fs::write(layout::pid_file(&instance), child.id().to_string()).expect("written");
        (child, instance, dir)
    }

    /// The signal by which a process ends that is stopped.
    #[track_caller]
    fn check_stop(commands: &str, grace: Duration, expected: i32) {
        let (mut child, instance, _dir) = start("/usr/bin/skiff", commands);
        let process = running(&instance).expect("it can be opened").expect("it runs");
        process.stop(grace).expect("it ends");
        assert!(running(&instance).expect("it can be looked for").is_none(), "it has ended");
        assert_eq!(child.wait().expect("it has ended").signal(), Some(expected));
        // Who comes later finds nobody.
        process.stop(grace).expect("it has ended");
    }

    #[test]
    fn a_process_is_asked_to_end_and_killed_if_it_does_not() {
        check_stop("", Duration::from_secs(60), 15);
        check_stop("trap '' TERM", Duration::from_millis(50), 9);
    }

    #[test]
    fn others_are_not_taken_for_it() {
        let (mut child, instance, _dir) = start("/usr/bin/other", "");
        assert!(running(&instance).expect("it can be looked for").is_none());
        child.kill().expect("it runs");
        child.wait().expect("it has ended");
        for text in ["", "0", "-1", "nonsense", &std::process::id().to_string()] {
            fs::write(layout::pid_file(&instance), text).expect("written");
            assert!(running(&instance).expect("it can be looked for").is_none(), "{text}");
        }
    }
}
