//! The one call of the server that the compiler cannot check.
#![expect(unsafe_code, reason = "tokio asks for a promise about the descriptor that it watches")]

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::unix::AsyncFd;

/// Has a descriptor watched for readiness.
pub fn watch_descriptor(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open until it is dropped, names the same file all along, and is owned by the `AsyncFd`
    // from here on, which takes it out of its watch before dropping it.
    unsafe { AsyncFd::register(descriptor) }.map_err(io::Error::from)
}
