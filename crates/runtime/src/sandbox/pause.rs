//! The process that keeps a shared pid namespace alive.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Stdio;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal};

use super::SandboxPaths;
use crate::cgroup::Cgroup;

/// How long a killed process is waited for.
const KILL_TIME: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// Why there is no shared pid namespace.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PauseError {
    /// The process cannot be started.
    #[error("cannot start the pause process: {0}")]
    Start(io::Error),
    /// It says why.
    #[error("cannot make a shared pid namespace: {0}")]
    Failed(String),
}

/// Starts the process in a cgroup of its own and binds its pid namespace.
pub(super) async fn start(
    program: &Path,
    paths: &SandboxPaths,
    cgroup: &Path,
    has_users: bool,
) -> Result<(), PauseError> {
    // Before there is one, so that it is found and removed after a crash.
    fs::write(paths.pause_cgroup(), cgroup.as_os_str().as_encoded_bytes()).map_err(PauseError::Start)?;
    let mut command = tokio::process::Command::new(program);
    command
        .arg0("skiff")
        .args(["shim", "pause"])
        .arg(paths.namespace("pid"))
        .arg(paths.pause_pid())
        .arg(cgroup)
        .args(has_users.then(|| paths.namespace("user")))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    base::restore_open_files(command.as_std_mut());
    let output = command.output().await.map_err(PauseError::Start)?;
    if output.status.success() {
        return Ok(());
    }
    Err(PauseError::Failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

/// The process, as far as it was written down.
pub(crate) fn pid(paths: &SandboxPaths) -> Option<i32> {
    fs::read_to_string(paths.pause_pid()).ok()?.trim().parse().ok()
}

/// Ends the process, and with it everything in its pid namespace, and removes its cgroup.
pub(crate) fn stop(paths: &SandboxPaths) -> io::Result<()> {
    kill(paths)?;
    match fs::read(paths.pause_cgroup()) {
        Ok(path) => Cgroup::new(Path::new(OsStr::from_bytes(&path))).remove(),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(err) => Err(err),
    }
}

/// Waits for the end of a process that was killed, not for ever.
fn wait(process: &impl AsFd) -> io::Result<()> {
    let mut ended = [PollFd::new(process, PollFlags::IN)];
    match poll(&mut ended, Some(&KILL_TIME)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(err) => Err(err.into()),
    }
}

fn kill(paths: &SandboxPaths) -> io::Result<()> {
    let Some(pid) = pid(paths).and_then(Pid::from_raw) else { return Ok(()) };
    let Ok(process) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else { return Ok(()) };
    // The number may have gone to another process since; the namespace tells.
    let own = fs::metadata(paths.namespace("pid"))?;
    let of_process = fs::metadata(format!("/proc/{}/ns/pid", pid.as_raw_nonzero()));
    use std::os::unix::fs::MetadataExt;
    if of_process.is_ok_and(|of_process| of_process.ino() == own.ino() && of_process.dev() == own.dev()) {
        match rustix::process::pidfd_send_signal(&process, Signal::KILL) {
            // Gone before the pod's network is taken down, which it would hold up.
            Ok(()) => wait(&process)?,
            Err(rustix::io::Errno::SRCH) => {}
            Err(err) => return Err(err.into()),
        }
    }
    Ok(())
}
