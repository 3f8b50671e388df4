//! Process 1 of a pid namespace that containers share: it does nothing but reap.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use nix::sched::CloneFlags;
use rustix::process::WaitOptions;

/// Makes a pid namespace with its process 1, binds it to `namespace`, writes the process's number to `pid_file`.
pub(super) fn make(namespace: &Path, pid_file: &Path) -> ExitCode {
    match try_make(namespace, pid_file) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("cannot make a pid namespace: {err}");
            ExitCode::FAILURE
        }
    }
}

fn try_make(namespace: &Path, pid_file: &Path) -> std::io::Result<()> {
    rustix::process::setsid()?;
    nix::sched::unshare(CloneFlags::CLONE_NEWPID)?;
    let mut child = Command::new("/proc/self/exe")
        .args(["shim", "pause-init"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .env_clear()
        .current_dir("/")
        .spawn()?;
    let publish = || -> std::io::Result<()> {
        fs::write(namespace, "")?;
        rustix::mount::mount_bind(format!("/proc/{}/ns/pid", child.id()), namespace)?;
        fs::write(pid_file, child.id().to_string())
    };
    publish().inspect_err(|_| {
        let _ = child.kill();
    })
}

/// Reaps until killed.
pub(super) fn run() -> ExitCode {
    let _ = rustix::thread::set_name(c"skiff-pause");
    let mut mask = nix::sys::signal::SigSet::empty();
    mask.add(nix::sys::signal::Signal::SIGCHLD);
    mask.add(nix::sys::signal::Signal::SIGTERM);
    mask.add(nix::sys::signal::Signal::SIGINT);
    if mask.thread_block().is_err() {
        return ExitCode::FAILURE;
    }
    loop {
        match mask.wait() {
            Ok(nix::sys::signal::Signal::SIGCHLD) => {
                while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
            }
            Ok(_) => return ExitCode::SUCCESS,
            Err(_) => return ExitCode::FAILURE,
        }
    }
}
