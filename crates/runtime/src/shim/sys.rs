//! What the standard library and rustix do not offer safely.
#![expect(unsafe_code, reason = "signal dispositions and real-time signals need unsafe calls")]

use nix::errno::Errno;
use nix::sys::signal::{SigHandler, Signal, signal};

/// Gives SIGPIPE its usual meaning back, which Rust's start-up code took away.
pub(super) fn restore_sigpipe() -> Result<(), Errno> {
    // SAFETY: the default action runs no code of this program.
    unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) }.map(drop)
}

/// Sends any signal, real-time ones included, to a process.
pub(super) fn kill(pid: i32, signal: i32) -> Result<(), Errno> {
    // SAFETY: kill(2) takes two numbers and touches no memory of this process.
    Errno::result(unsafe { libc::kill(pid, signal) }).map(drop)
}
