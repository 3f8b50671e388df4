//! Copies of the container's output for attached clients.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

/// How much a slow client may lag behind before it is cut off, so that it never stops the container.
const MAX_LAG: usize = 4 * 1024 * 1024;

/// One output stream towards one client.
pub(super) struct Sink {
    fd: OwnedFd,
    pending: Vec<u8>,
}

impl Sink {
    /// A sink that writes to `fd`, which is made non-blocking.
    pub(super) fn new(fd: OwnedFd) -> Result<Self, Errno> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        Ok(Self { fd, pending: Vec::new() })
    }

    /// Passes `bytes` on; false when the client is gone or too slow.
    pub(super) fn write(&mut self, bytes: &[u8]) -> bool {
        self.pending.extend_from_slice(bytes);
        self.flush() && self.pending.len() <= MAX_LAG
    }

    /// Writes what waits; false when the client is gone.
    pub(super) fn flush(&mut self) -> bool {
        while !self.pending.is_empty() {
            match rustix::io::write(&self.fd, &self.pending) {
                Ok(written) => drop(self.pending.drain(..written)),
                Err(Errno::INTR) => {}
                Err(err) => return err == Errno::AGAIN,
            }
        }
        true
    }

    /// Whether something waits to be written.
    pub(super) fn is_pending(&self) -> bool {
        !self.pending.is_empty()
    }
}

impl AsFd for Sink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
