//! Gives files the label of SELinux with which a container may use them.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Dir, Mode, OFlags, XattrFlags, lsetxattr, openat};
use rustix::io::Errno;

/// Where SELinux keeps a file's label.
const ATTRIBUTE: &str = "security.selinux";

/// A file could not be labelled.
#[derive(Debug, thiserror::Error)]
#[error("cannot label {}: {source}", path.display())]
pub(crate) struct RelabelError {
    path: PathBuf,
    source: io::Error,
}

/// Labels a file, or a directory and all that is in it. Links are labelled and never followed, whoever changes them
/// meanwhile. What a file system does not let be labelled has a label by its mount.
pub(crate) fn relabel(path: &Path, label: &str) -> Result<(), RelabelError> {
    let fail = |err: Errno| RelabelError { path: path.to_owned(), source: err.into() };
    set(path, label).map_err(fail)?;
    match openat(CWD, path, DIRECTORY, Mode::empty()) {
        Ok(dir) => relabel_all(&dir, path, label),
        Err(err) => leaf(err).map_err(fail),
    }
}

const DIRECTORY: OFlags =
    OFlags::DIRECTORY.union(OFlags::RDONLY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

/// Labels what is in a directory, which is shown to users as `shown`.
fn relabel_all(dir: &OwnedFd, shown: &Path, label: &str) -> Result<(), RelabelError> {
    let failed = |path: &Path, err: Errno| RelabelError { path: path.to_owned(), source: err.into() };
    // The directory that was opened, wherever it is by now.
    let here = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()));
    for entry in Dir::read_from(dir).map_err(|err| failed(shown, err))? {
        let entry = entry.map_err(|err| failed(shown, err))?;
        if matches!(entry.file_name().to_bytes(), b"." | b"..") {
            continue;
        }
        let name = Path::new(OsStr::from_bytes(entry.file_name().to_bytes()));
        let shown = shown.join(name);
        set(&here.join(name), label).map_err(|err| failed(&shown, err))?;
        match openat(dir, name, DIRECTORY, Mode::empty()) {
            Ok(below) => relabel_all(&below, &shown, label)?,
            Err(err) => leaf(err).map_err(|err| failed(&shown, err))?,
        }
    }
    Ok(())
}

fn set(path: &Path, label: &str) -> Result<(), Errno> {
    match lsetxattr(path, ATTRIBUTE, label.as_bytes(), XattrFlags::empty()) {
        // The last is of what has gone meanwhile.
        Err(Errno::OPNOTSUPP | Errno::NOENT) => Ok(()),
        other => other,
    }
}

/// There is nothing below what is no directory, or is gone.
fn leaf(err: Errno) -> Result<(), Errno> {
    if matches!(err, Errno::NOTDIR | Errno::LOOP | Errno::NOENT) { Ok(()) } else { Err(err) }
}
