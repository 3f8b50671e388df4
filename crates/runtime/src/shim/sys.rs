//! What the standard library and rustix do not offer safely.
#![expect(unsafe_code, reason = "signals, seccomp and what is done between fork and exec need unsafe calls")]

use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::errno::Errno;
use nix::sys::signal::{SigHandler, Signal, signal};

/// Gives SIGPIPE its usual meaning back, which Rust's start-up code took away.
pub(super) fn restore_sigpipe() -> Result<(), Errno> {
    // SAFETY: the default action runs no code of this program.
    unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) }.map(drop)
}

/// Has a program that is about to be started killed when this process ends.
pub(super) fn end_with_this(command: &mut Command) {
    // SAFETY: prctl(2) takes two numbers here and touches no memory.
    let ask = || Errno::result(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) });
    // SAFETY: between fork and exec that system call is made and nothing allocated.
    unsafe { command.pre_exec(move || ask().map(drop).map_err(Into::into)) };
}

/// Sends any signal, real-time ones included, to a process.
pub(super) fn kill(pid: i32, signal: i32) -> Result<(), Errno> {
    // SAFETY: kill(2) takes two numbers and touches no memory of this process.
    Errno::result(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// Filters the system calls of the calling thread and of all that it becomes and starts.
pub(super) fn install_filter(instructions: &[libc::sock_filter], flags: u32) -> Result<(), Errno> {
    let length = libc::c_ushort::try_from(instructions.len()).map_err(|_| Errno::EINVAL)?;
    let program = libc::sock_fprog { len: length, filter: instructions.as_ptr().cast_mut() };
    // SAFETY: the program and its instructions live until the call returns; the kernel copies and never changes them.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    Errno::result(result).map(drop)
}
