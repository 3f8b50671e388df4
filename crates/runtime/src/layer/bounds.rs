//! How much a layer may bring: an archive of a few bytes can be one of terabytes.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::ApplyError;

/// A layer may always have so many bytes.
const ALWAYS: u64 = 4 << 30;

/// A layer may have so many times the bytes that came.
const RATIO: u64 = 50;

/// After so many bytes it is looked at what is left of the disk.
const LOOK: u64 = 32 << 20;

/// What is left to others: a twentieth of the disk, and no more than this.
const RESERVE: u64 = 4 << 30;

/// Passes plain content on, until it is too much.
pub(super) struct Bounded<R> {
    source: R,
    dir: PathBuf,
    packed: u64,
    limit: u64,
    read: u64,
    next_look: u64,
    verdict: Option<ApplyError>,
}

impl<R: Read> Bounded<R> {
    /// Bounds what becomes of `packed` bytes in `dir`.
    pub(super) fn new(source: R, packed: u64, dir: &Path) -> Self {
        let limit = packed.saturating_mul(RATIO).max(ALWAYS);
        Self { source, dir: dir.to_owned(), packed, limit, read: 0, next_look: 0, verdict: None }
    }

    /// Why it stopped, if it did, and what it read from.
    pub(super) fn finish(self) -> (Option<ApplyError>, R) {
        (self.verdict, self.source)
    }

    fn judge(&mut self) -> Option<ApplyError> {
        if self.read > self.limit {
            return Some(ApplyError::Bomb { limit: self.limit, packed: self.packed });
        }
        if self.read < self.next_look {
            return None;
        }
        self.next_look = self.read + LOOK;
        // A file system that does not tell is used as far as it goes.
        let disk = rustix::fs::statvfs(&self.dir).ok()?;
        let reserve = (disk.f_blocks * disk.f_frsize / 20).min(RESERVE);
        let full = |reserve, what| Some(ApplyError::Full { path: self.dir.clone(), reserve, what });
        if disk.f_bavail * disk.f_frsize < reserve {
            return full(reserve, "bytes");
        }
        let reserve = disk.f_files / 50;
        if disk.f_favail < reserve { full(reserve, "inodes") } else { None }
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.verdict.is_none() {
            self.verdict = self.judge();
        }
        if let Some(verdict) = &self.verdict {
            return Err(io::Error::other(verdict.to_string()));
        }
        let read = self.source.read(buffer)?;
        self.read += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bomb_ends_at_its_bound() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut bounded = Bounded::new(io::repeat(0), 10, dir.path());
        bounded.limit = 1 << 20;
        let err = io::copy(&mut bounded, &mut io::sink()).expect_err("it is endless");
        assert!(err.to_string().contains("more than 1048576 bytes"), "{err}");
        assert!(matches!(bounded.finish().0, Some(ApplyError::Bomb { packed: 10, .. })));
        let mut small = Bounded::new(&b"abc"[..], 10, dir.path());
        assert_eq!(io::copy(&mut small, &mut io::sink()).expect("it is small"), 3);
        assert!(small.finish().0.is_none());
    }
}
