//! The one call of this crate that the compiler cannot check.
#![expect(unsafe_code, reason = "tokio asks for a promise about the descriptor that it watches")]

use std::io;
use std::os::fd::OwnedFd;

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
