//! Paths and files below a directory that they never leave.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// A path of an archive as a path below the root; `None` if it has `..` in it.
pub(crate) fn clean(path: &Path) -> Option<PathBuf> {
    let mut cleaned = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => cleaned.push(name),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    Some(cleaned)
}

/// Opens a directory below `root`, following symbolic links inside of it only; makes it where it does not exist.
pub(crate) fn open_dir(root: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    match open_existing_dir(root, path) {
        Err(Errno::NOENT) => {}
        other => return Ok(other?),
    }
    let mut made = PathBuf::new();
    for name in path {
        let parent = open_existing_dir(root, &made)?;
        match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(err) => return Err(err.into()),
        }
        made.push(name);
    }
    Ok(open_existing_dir(root, path)?)
}

fn open_existing_dir(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
}

/// What is there under `name`, if anything.
pub(super) fn file_type(dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<Option<FileType>> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(err) => Err(err.into()),
    }
}

/// Removes `name` with everything in it, in which so many directories may lie in each other; none there is fine.
///
/// What lies in layers below is hidden name by name, so that nothing can be moved out of the depth first.
pub(super) fn remove(dir: BorrowedFd<'_>, name: &OsStr, left: usize) -> io::Result<()> {
    match file_type(dir, name)? {
        None => Ok(()),
        Some(FileType::Directory) => {
            let left = left.checked_sub(1).ok_or_else(too_deep)?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let inner = rustix::fs::openat(dir, name, flags, Mode::empty())?;
            for child in names(inner.as_fd())? {
                remove(inner.as_fd(), &child, left)?;
            }
            Ok(rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR)?)
        }
        Some(_) => Ok(rustix::fs::unlinkat(dir, name, AtFlags::empty())?),
    }
}

/// What is said of an archive that is made to use up a stack.
pub(super) fn too_deep() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "too many directories lie in each other")
}

/// The names in a directory.
pub(super) fn names(dir: BorrowedFd<'_>) -> io::Result<Vec<std::ffi::OsString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(names)
}

/// A path that leads to `name` in `dir`, for calls that take no directory descriptor.
pub(super) fn through_proc(dir: BorrowedFd<'_>, name: &OsStr) -> PathBuf {
    Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(name)
}
