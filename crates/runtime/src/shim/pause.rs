//! Process 1 of a pid namespace that containers share: it does nothing but reap, and may do nothing else. It is nobody's
//! user, has no capabilities and an empty file system, and its system calls are filtered.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};

use nix::mount::{MntFlags, MsFlags};
use nix::sched::CloneFlags;
use nix::unistd::{Gid, Uid};
use rustix::process::{Pid, Signal, WaitOptions};
use rustix::thread::CapabilitySet;

use super::sys;
use crate::cgroup::Cgroup;
use crate::seccomp::{self, Filter};
use crate::spec;

/// Makes a pid namespace with its process 1, binds it to `namespace`, writes the process's number to `pid_file`. The
/// process is in a cgroup. The namespace belongs to the user namespace that is bound to `users`, if there is one.
pub(super) fn make(namespace: &Path, pid_file: &Path, cgroup: &Path, users: Option<&Path>) -> ExitCode {
    told(try_make(namespace, pid_file, cgroup, users))
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

/// The user that process 1 becomes: nobody's in images, and in every user namespace of a pod.
const USER: (Uid, Gid) = (Uid::from_raw(65535), Gid::from_raw(65535));

/// Starts process 1 of a new pid namespace, and waits until it has given up what it does not need.
fn start() -> io::Result<Child> {
    nix::sched::unshare(CloneFlags::CLONE_NEWPID)?;
    let mut child = Command::new("/proc/self/exe")
        .args(["shim", "pause-init"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .env_clear()
        .current_dir("/")
        .spawn()?;
    let mut said = String::new();
    if let Some(stdout) = &mut child.stdout {
        stdout.read_to_string(&mut said)?;
    }
    if said == READY {
        return Ok(child);
    }
    // It says why and ends; if it was killed, it says nothing.
    let status = child.wait()?;
    Err(io::Error::other(if said.is_empty() { format!("process 1 ended: {status}") } else { said }))
}

/// What process 1 says once it is what it shall be.
const READY: &str = "ready";

/// The same by a process of its own, which enters a user namespace before: the number of process 1.
fn start_in(users: &Path) -> io::Result<u32> {
    let output = Command::new("/proc/self/exe").args(["shim", "pause-in"]).arg(users).stdin(Stdio::null()).output()?;
    if !output.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    String::from_utf8_lossy(&output.stdout).trim().parse().map_err(io::Error::other)
}

fn try_make(namespace: &Path, pid_file: &Path, cgroup: &Path, users: Option<&Path>) -> io::Result<()> {
    rustix::process::setsid()?;
    Cgroup::new(cgroup).join()?;
    enter_beside(namespace)?;
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

/// Enters the pod's other namespaces, which are bound beside this one: who looks at the pod through process 1, from the
/// machine or from a container, shall see nothing else.
fn enter_beside(namespace: &Path) -> io::Result<()> {
    for kind in ["net", "uts", "ipc"] {
        match File::open(namespace.with_file_name(kind)) {
            Ok(file) => rustix::thread::move_into_link_name_space(file.as_fd(), None)?,
            // The pod uses the machine's.
            Err(err) if err.kind() == io::ErrorKind::NotFound => {}
            Err(err) => return Err(err),
        }
    }
    Ok(())
}

/// Gives up what is not needed for reaping.
fn confine() -> io::Result<()> {
    // The last of a pod that the kernel should kill for want of memory. Whether it may be said depends on the host.
    let _ = fs::write("/proc/self/oom_score_adj", "-998");
    let filter = Filter::compile(&seccomp::default_profile(&BTreeSet::new())).map_err(io::Error::other)?;
    empty_root()?;
    nix::unistd::setgroups(&[])?;
    nix::unistd::setresgid(USER.1, USER.1, USER.1)?;
    for number in 0..spec::CAPABILITIES {
        rustix::thread::remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number))?;
    }
    nix::unistd::setresuid(USER.0, USER.0, USER.0)?;
    rustix::thread::set_no_new_privs(true)?;
    Ok(sys::install_filter(&filter.instructions(), filter.flags())?)
}

/// Leaves the file systems of the machine for one with nothing in it, which cannot be written.
fn empty_root() -> io::Result<()> {
    nix::sched::unshare(CloneFlags::CLONE_NEWNS)?;
    let none = None::<&str>;
    nix::mount::mount(none, "/", none, MsFlags::MS_PRIVATE | MsFlags::MS_REC, none)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    // Any directory does: it is out of sight at once.
    let place = "/proc";
    nix::mount::mount(Some("tmpfs"), place, Some("tmpfs"), flags, Some("mode=0555,size=4k"))?;
    nix::unistd::chdir(place)?;
    nix::unistd::pivot_root(".", ".")?;
    nix::mount::umount2(".", MntFlags::MNT_DETACH)?;
    nix::unistd::chdir("/")?;
    Ok(nix::mount::mount(none, "/", none, flags | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, none)?)
}

/// Says something to whoever has started this process, and then nothing more.
fn say(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()?;
    Ok(nix::unistd::dup2_stdout(io::stdin())?)
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
    let confined = confine();
    let text = confined.as_ref().map_or_else(ToString::to_string, |()| READY.to_owned());
    if say(&text).is_err() || confined.is_err() {
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
