//! The lock that lets one process at a time open a data directory.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// Why a directory was not locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process, or another part of this one, has it open.
    #[error("data directory {} is in use by {holder}", dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
        /// The process, as it described itself.
        holder: String,
    },
    /// The lock file could not be used.
    #[error("locking {} failed", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Holds a directory until dropped, also by a crash: the kernel gives the lock up with the file.
#[derive(Debug)]
pub(crate) struct DirLock {
    file: File,
}

impl Drop for DirLock {
    fn drop(&mut self) {
        // Closing is not enough: a child that another thread forks has the file open too, until it is the program
        // that it shall become. What cannot be unlocked is closed all the same.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

impl DirLock {
    pub fn acquire(dir: &Path) -> Result<Self, LockError> {
        let path = dir.join("lock");
        let io = |source| LockError::Io { path: path.clone(), source };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(&path).map_err(io)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                // Who holds it is a courtesy: that it is held is known already.
                let _ = file.read_to_string(&mut holder);
                let holder = if holder.is_empty() { "another process".to_owned() } else { holder };
                return Err(LockError::InUse { dir: dir.to_owned(), holder });
            }
            Err(err) => return Err(io(err.into())),
        }
        let describe = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            write!(file, "process {} ({})", std::process::id(), program())
        };
        describe(&mut file).map_err(io)?;
        Ok(Self { file })
    }
}

fn program() -> String {
    let program = std::env::args_os().next().unwrap_or_default();
    Path::new(&program).file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_lock_is_free_though_a_child_still_has_its_file() {
        let dir = tempfile::TempDir::new().expect("a directory can be made");
        let lock = DirLock::acquire(dir.path()).expect("nobody holds it");
        // What a fork does to the file: the same open file under another number.
        let _inherited = lock.file.try_clone().expect("it can be opened twice");
        let held = DirLock::acquire(dir.path());
        assert!(matches!(held, Err(LockError::InUse { .. })), "{held:?}");
        drop(lock);
        DirLock::acquire(dir.path()).expect("it is free again");
    }
}
