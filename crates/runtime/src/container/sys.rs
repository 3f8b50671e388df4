//! What tokio does not offer safely.
#![expect(unsafe_code, reason = "tokio cannot check that a type keeps its descriptor open")]

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::unix::AsyncFd;

/// Waits for readiness of a descriptor that is non-blocking already.
pub(super) fn register(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an owned descriptor is the same open one from here until `AsyncFd` drops it, after it deregistered it.
    Ok(unsafe { AsyncFd::register(fd) }?)
}
