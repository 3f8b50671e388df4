//! The calls of this crate that the compiler cannot check.
#![expect(
    unsafe_code,
    reason = "tokio asks for a promise about the descriptor that it watches, and what runs between fork and exec is unsafe"
)]

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::io::unix::AsyncFd;

/// Lets tokio watch a descriptor, which must be non-blocking, for readiness.
///
/// # Errors
///
/// When tokio has no reactor here, or the kernel cannot watch such a file.
pub fn watch_descriptor(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` stays open and names the same file until it is dropped, and the `AsyncFd` owns it; it
    // deregisters the descriptor before that.
    unsafe { AsyncFd::register(descriptor) }.map_err(io::Error::from)
}

/// Sets the limit of open files in the process that a command starts, before its program runs.
pub(crate) fn limit_open_files(command: &mut Command, limit: Rlimit) -> &mut Command {
    // SAFETY: between fork and exec, a process of which other threads were may only do what is safe in a signal handler.
    // This makes one system call with values of its own, and allocates nothing: errors are numbers.
    unsafe { command.pre_exec(move || Ok(setrlimit(Resource::Nofile, limit)?)) }
}
