//! Process 1 of a pid namespace that containers share: it does nothing but reap.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};

use nix::sched::CloneFlags;
use nix::unistd::{Gid, Uid};
use rustix::process::{Pid, Signal, WaitOptions};

/// Makes a pid namespace with its process 1, binds it to `namespace`, writes the process's number to `pid_file`. The
/// namespace belongs to the user namespace that is bound to `users`, if there is one.
pub(super) fn make(namespace: &Path, pid_file: &Path, users: Option<&Path>) -> ExitCode {
    told(try_make(namespace, pid_file, users))
}

/// Makes a pid namespace in a user namespace, where nothing can be bound any more: prints the number of its process 1.
pub(super) fn make_in(users: &Path) -> ExitCode {
    let make = || -> io::Result<()> {
        rustix::thread::move_into_link_name_space(File::open(users)?.as_fd(), None)?;
        // Its own root: nobody in the pod shall find a process here that is more than itself.
        nix::unistd::setgroups(&[])?;
        nix::unistd::setresgid(ROOT.1, ROOT.1, ROOT.1)?;
        nix::unistd::setresuid(ROOT.0, ROOT.0, ROOT.0)?;
        println!("{}", start()?.id());
        Ok(())
    };
    told(make())
}

/// Root in a user namespace.
const ROOT: (Uid, Gid) = (Uid::from_raw(0), Gid::from_raw(0));

fn told(result: io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("cannot make a pid namespace: {err}");
            ExitCode::FAILURE
        }
    }
}

/// Starts process 1 of a new pid namespace.
fn start() -> io::Result<Child> {
    nix::sched::unshare(CloneFlags::CLONE_NEWPID)?;
    Command::new("/proc/self/exe")
        .args(["shim", "pause-init"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .env_clear()
        .current_dir("/")
        .spawn()
}

/// The same by a process of its own, which enters a user namespace before: the number of process 1.
fn start_in(users: &Path) -> io::Result<u32> {
    let output = Command::new("/proc/self/exe").args(["shim", "pause-in"]).arg(users).stdin(Stdio::null()).output()?;
    if !output.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    String::from_utf8_lossy(&output.stdout).trim().parse().map_err(io::Error::other)
}

fn try_make(namespace: &Path, pid_file: &Path, users: Option<&Path>) -> io::Result<()> {
    rustix::process::setsid()?;
    let pid = match users {
        Some(users) => start_in(users)?,
        None => start()?.id(),
    };
    let publish = || -> io::Result<()> {
        fs::write(namespace, "")?;
        rustix::mount::mount_bind(format!("/proc/{pid}/ns/pid"), namespace)?;
        fs::write(pid_file, pid.to_string())
    };
    publish().inspect_err(|_| {
        if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
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
