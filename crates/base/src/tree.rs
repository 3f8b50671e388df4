//! Directories that somebody else has filled, perhaps to do harm: deeper than any path can say, with more files than fit
//! in memory, with links that lead elsewhere, changing meanwhile.
//!
//! Nothing here follows a link, needs a stack or as many open files as a tree is deep, or goes into what is mounted in it.

use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, ResolveFlags, Stat};
use rustix::io::Errno;

/// How many directories are open at a time while a tree is removed; what is deeper is moved up first.
const OPEN: usize = 64;

/// How many names of one directory are held.
const NAMES: usize = 1024;

/// How long a path is gone along anew for each directory, before another one is kept open for those below.
const PATH: usize = 256;

/// Removes a file, or a directory with everything in it. What is not there is none. Nothing is removed of what is mounted
/// there: that is somebody's data, and an error. Blocks.
///
/// # Errors
///
/// When the system refuses.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    let (Some(name), Some(parent)) = (path.file_name(), path.parent()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{} has no name", path.display())));
    };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let parent = match File::open(parent) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
        parent => parent?,
    };
    let name = CString::new(name.as_encoded_bytes())?;
    let Some(dir) = remove_or_open(parent.as_fd(), &name)? else { return Ok(()) };
    empty(dir.as_fd(), dir.as_fd(), OPEN)?;
    absent_is_fine(rustix::fs::unlinkat(&parent, &name, AtFlags::REMOVEDIR)).map_err(|err| told(&parent, &name, err))
}

/// Empties a directory with `left` levels of others open below; what is deeper goes to `top`, and is found there later.
fn empty(dir: BorrowedFd<'_>, top: BorrowedFd<'_>, left: usize) -> io::Result<()> {
    loop {
        let names = names(dir)?;
        if names.is_empty() {
            return Ok(());
        }
        for name in names {
            let Some(inner) = remove_or_open(dir, &name)? else { continue };
            if left == 0 {
                move_up(dir, &name, top)?;
                continue;
            }
            empty(inner.as_fd(), top, left - 1)?;
            absent_is_fine(rustix::fs::unlinkat(dir, &name, AtFlags::REMOVEDIR))
                .map_err(|err| told(&dir, &name, err))?;
        }
    }
}

/// Some of the names in a directory, none where it has none.
fn names(dir: BorrowedFd<'_>) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        if !is_dots(entry.file_name()) {
            names.push(entry.file_name().to_owned());
        }
        if names.len() == NAMES {
            break;
        }
    }
    Ok(names)
}

fn is_dots(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}

/// Removes a file or an empty directory; opens a directory that has something in it.
fn remove_or_open(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<Option<OwnedFd>> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(None),
        Err(Errno::ISDIR) => {}
        Err(err) => return Err(told(&dir, name, err)),
    }
    match rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => return Ok(None),
        Err(Errno::NOTEMPTY | Errno::EXIST) => {}
        Err(err) => return Err(told(&dir, name, err)),
    }
    open_dir(dir, name).map(Some).map_err(|err| told(&dir, name, err))
}

/// Opens a directory below another one, reached without links and on no other mount.
fn open_dir(dir: impl AsFd, path: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat2(dir, path, flags, Mode::empty(), ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS)
}

fn move_up(dir: BorrowedFd<'_>, name: &CStr, top: BorrowedFd<'_>) -> io::Result<()> {
    for number in 0_u64.. {
        match rustix::fs::renameat_with(dir, name, top, format!(".removed-{number}"), RenameFlags::NOREPLACE) {
            Ok(()) | Err(Errno::NOENT) => break,
            Err(Errno::EXIST) => {}
            Err(err) => return Err(told(&dir, name, err)),
        }
    }
    Ok(())
}

fn absent_is_fine(result: Result<(), Errno>) -> Result<(), Errno> {
    if result == Err(Errno::NOENT) { Ok(()) } else { result }
}

/// An error with the path that it is about.
fn told(dir: &impl AsFd, name: &CStr, err: Errno) -> io::Error {
    let dir = std::fs::read_link(format!("/proc/self/fd/{}", dir.as_fd().as_raw_fd())).unwrap_or_default();
    let path = dir.join(name.to_string_lossy().as_ref());
    match err {
        Errno::BUSY | Errno::XDEV => {
            io::Error::new(io::ErrorKind::ResourceBusy, format!("{} is still mounted", path.display()))
        }
        err => {
            let err = io::Error::from(err);
            io::Error::new(err.kind(), format!("{}: {err}", path.display()))
        }
    }
}

/// Something in a tree.
#[derive(Debug)]
pub struct TreeEntry<'a> {
    /// The directory that it is in.
    pub dir: BorrowedFd<'a>,
    /// What it is called there.
    pub name: &'a CStr,
    /// What it is.
    pub stat: Stat,
}

/// Visits everything below a directory, the directory itself not included, in no particular order. What disappears
/// meanwhile is passed over, and what is mounted there. Blocks.
///
/// # Errors
///
/// When the system refuses, or `visit` fails.
pub fn walk_tree(dir: &Path, mut visit: impl FnMut(TreeEntry<'_>) -> io::Result<()>) -> io::Result<()> {
    // Directories to look into, each by its path from one that is open.
    let mut waiting = vec![(Rc::new(OwnedFd::from(File::open(dir)?)), PathBuf::from("."))];
    while let Some((anchor, path)) = waiting.pop() {
        let at = CString::new(path.as_os_str().as_encoded_bytes())?;
        let dir = match open_dir(&*anchor, &at) {
            // Gone, or another thing, or another mount by now.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => continue,
            dir => dir?,
        };
        let mut inner = Vec::new();
        for entry in Dir::read_from(&dir)? {
            let entry = entry?;
            let name = entry.file_name();
            if is_dots(name) {
                continue;
            }
            let Ok(stat) = rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                inner.push(name.to_owned());
            }
            visit(TreeEntry { dir: dir.as_fd(), name, stat })?;
        }
        // Where paths become too long, the next ones begin here.
        let (anchor, path) =
            if path.as_os_str().len() > PATH { (Rc::new(dir), PathBuf::from(".")) } else { (anchor, path) };
        let below = |name: CString| path.join(Path::new(OsStr::from_bytes(name.as_bytes())));
        waiting.extend(inner.into_iter().map(|name| (anchor.clone(), below(name))));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// Deeper than a path can say, and than a thread's stack allows.
    const DEPTH: usize = 8000;

    /// Makes directories in each other, and a file in the last one.
    fn make_deep(top: &Path) {
        let mut dir = OwnedFd::from(File::open(top).expect("opened"));
        for _ in 0..DEPTH {
            rustix::fs::mkdirat(&dir, "d", Mode::from_raw_mode(0o755)).expect("made");
            dir = open_dir(&dir, c"d").expect("opened");
        }
        let flags = OFlags::CREATE | OFlags::WRONLY;
        rustix::fs::openat(&dir, "file", flags, Mode::from_raw_mode(0o600)).expect("made");
    }

    #[test]
    fn what_is_deep_and_what_is_wide_is_walked_and_removed() {
        let dir = tempfile::tempdir().expect("a directory");
        let (tree, outside) = (dir.path().join("tree"), dir.path().join("outside"));
        for made in [&tree, &outside] {
            std::fs::create_dir(made).expect("made");
        }
        std::fs::write(outside.join("file"), "precious").expect("written");
        symlink(&outside, tree.join("link")).expect("linked");
        for number in 0..2 * NAMES {
            std::fs::write(tree.join(format!("{number}")), "").expect("written");
        }
        make_deep(&tree);
        let (mut dirs, mut others) = (0, 0);
        let count = |entry: TreeEntry<'_>| {
            let is_dir = FileType::from_raw_mode(entry.stat.st_mode) == FileType::Directory;
            *(if is_dir { &mut dirs } else { &mut others }) += 1;
            Ok(())
        };
        walk_tree(&tree, count).expect("walked");
        assert_eq!((dirs, others), (DEPTH, 2 * NAMES + 2));
        remove_tree(&tree).expect("removed");
        assert!(!tree.exists() && outside.join("file").exists());
        remove_tree(&tree).expect("nothing is there");
        remove_tree(&dir.path().join("no/where")).expect("nothing is there");
        remove_tree(&outside.join("file")).expect("files are removed too");
        assert!(!outside.join("file").exists());
    }
}
