//! Unpacking one layer archive into a directory.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use tar::{Archive, Entry, EntryType};

use super::tree;
use crate::disk::DiskError;
use crate::overlay::OverlayError;

/// Marks a name that the layer removes.
const WHITEOUT: &[u8] = b".wh.";

/// Marks a directory of which the layer removes everything that lies below.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Marks what a file system of the past wrote for itself.
const RESERVED: &[u8] = b".wh..wh.";

/// Extended attributes in the headers of an archive.
const XATTR_PREFIX: &str = "SCHILY.xattr.";

/// Why a layer could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    /// The archive cannot be read.
    #[error("cannot read the archive: {0}")]
    Source(io::Error),
    /// A name in the archive points out of it.
    #[error("invalid path {0:?} in the archive")]
    Path(PathBuf),
    /// A file could not be made.
    #[error("cannot unpack {}: {source}", path.display())]
    Entry {
        /// The name in the archive.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The content is not the one that the image's configuration names.
    #[error("wrong layer: {0}")]
    DiffId(String),
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The layers below could not be mounted.
    #[error(transparent)]
    Overlay(#[from] OverlayError),
}

/// Unpacks `archive` into `root`, which shows the layers below, if there are any.
pub(super) fn apply(root: BorrowedFd<'_>, archive: impl Read) -> Result<(), ApplyError> {
    let mut archive = Archive::new(archive);
    let mut state = Applied { root, unpacked: HashSet::new(), directories: Vec::new() };
    for entry in archive.entries().map_err(ApplyError::Source)? {
        let mut entry = entry.map_err(ApplyError::Source)?;
        let path = entry.path().map_err(ApplyError::Source)?.into_owned();
        let cleaned = tree::clean(&path).ok_or_else(|| ApplyError::Path(path.clone()))?;
        state.entry(&mut entry, &cleaned).map_err(|source| ApplyError::Entry { path, source })?;
    }
    state.finish()
}

struct Applied<'fd> {
    root: BorrowedFd<'fd>,
    /// What this layer brought, which its own whiteouts do not concern.
    unpacked: HashSet<PathBuf>,
    /// Directories and their times, which the files put into them later would change.
    directories: Vec<(PathBuf, i64)>,
}

impl Applied<'_> {
    fn entry<R: Read>(&mut self, entry: &mut Entry<'_, R>, path: &Path) -> io::Result<()> {
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader) {
            return Ok(());
        }
        let Some(name) = path.file_name() else {
            return self.root_entry(entry);
        };
        let parent = path.parent().unwrap_or(Path::new(""));
        let dir = tree::open_dir(self.root, parent)?;
        let dir = dir.as_fd();
        if let Some(hidden) = name.as_bytes().strip_prefix(WHITEOUT) {
            return self.whiteout(dir, parent, name, OsStr::from_bytes(hidden));
        }
        self.unpacked.extend(path.ancestors().map(Path::to_owned));
        let existing = tree::file_type(dir, name)?;
        if kind == EntryType::Directory {
            if existing.is_some_and(|existing| existing != FileType::Directory) {
                tree::remove(dir, name)?;
            }
            if existing != Some(FileType::Directory) {
                rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o755))?;
            }
            self.directories.push((path.to_owned(), entry.header().mtime()?.try_into().unwrap_or(i64::MAX)));
        } else {
            if existing.is_some() {
                tree::remove(dir, name)?;
            }
            self.make(entry, dir, name, kind)?;
        }
        if kind == EntryType::Link {
            return Ok(());
        }
        set_metadata(entry, dir, name, kind)
    }

    fn root_entry<R: Read>(&mut self, entry: &mut Entry<'_, R>) -> io::Result<()> {
        let header = entry.header();
        rustix::fs::fchown(self.root, uid(header.uid()?), gid(header.gid()?))?;
        rustix::fs::fchmod(self.root, Mode::from_raw_mode(header.mode()? & 0o7777))?;
        Ok(())
    }

    fn make<R: Read>(
        &self,
        entry: &mut Entry<'_, R>,
        dir: BorrowedFd<'_>,
        name: &OsStr,
        kind: EntryType,
    ) -> io::Result<()> {
        match kind {
            EntryType::Symlink => {
                let target = entry.link_name_bytes().ok_or(io::ErrorKind::InvalidData)?;
                Ok(rustix::fs::symlinkat(OsStr::from_bytes(&target), dir, name)?)
            }
            EntryType::Link => {
                let (target_dir, target) = self.link_target(entry)?;
                Ok(rustix::fs::linkat(&target_dir, target, dir, name, AtFlags::empty())?)
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                let header = entry.header();
                let device = match (header.device_major()?, header.device_minor()?) {
                    (Some(major), Some(minor)) => rustix::fs::makedev(major, minor),
                    _ => 0,
                };
                let file_type = match kind {
                    EntryType::Char => FileType::CharacterDevice,
                    EntryType::Block => FileType::BlockDevice,
                    _ => FileType::Fifo,
                };
                Ok(rustix::fs::mknodat(dir, name, file_type, Mode::from_raw_mode(0o600), device)?)
            }
            // Regular, continuous, sparse: what is left has content.
            _ => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o600))?;
                io::copy(entry, &mut File::from(file)).map(drop)
            }
        }
    }

    fn link_target<R: Read>(&self, entry: &Entry<'_, R>) -> io::Result<(OwnedFd, OsString)> {
        let target = entry.link_name()?.ok_or(io::ErrorKind::InvalidData)?;
        let target = tree::clean(&target).ok_or(io::ErrorKind::InvalidData)?;
        let name = target.file_name().ok_or(io::ErrorKind::InvalidData)?.to_owned();
        let dir = tree::open_dir(self.root, target.parent().unwrap_or(Path::new("")))?;
        Ok((dir, name))
    }

    fn whiteout(&self, dir: BorrowedFd<'_>, parent: &Path, name: &OsStr, hidden: &OsStr) -> io::Result<()> {
        if name.as_bytes() == OPAQUE {
            return self.clear(dir, parent);
        }
        if name.as_bytes().starts_with(RESERVED) {
            return Ok(());
        }
        if hidden.is_empty() || hidden == "." || hidden == ".." {
            return Err(io::ErrorKind::InvalidData.into());
        }
        tree::remove(dir, hidden)
    }

    /// Removes what this layer did not bring.
    fn clear(&self, dir: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
        for name in tree::names(dir)? {
            let child = path.join(&name);
            if !self.unpacked.contains(&child) {
                tree::remove(dir, &name)?;
            } else if tree::file_type(dir, &name)? == Some(FileType::Directory) {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let inner = rustix::fs::openat(dir, &name, flags, Mode::empty())?;
                self.clear(inner.as_fd(), &child)?;
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<(), ApplyError> {
        for (path, mtime) in self.directories.iter().rev() {
            let (parent, Some(name)) = (path.parent().unwrap_or(Path::new("")), path.file_name()) else { continue };
            let set = || -> io::Result<()> {
                let dir = tree::open_dir(self.root, parent)?;
                set_times(dir.as_fd(), name, *mtime)
            };
            match set() {
                // A later entry replaced or removed it.
                Err(err) if err.kind() == io::ErrorKind::NotFound => {}
                other => other.map_err(|source| ApplyError::Entry { path: path.clone(), source })?,
            }
        }
        Ok(())
    }
}

fn uid(id: u64) -> Option<Uid> {
    u32::try_from(id).ok().map(Uid::from_raw)
}

fn gid(id: u64) -> Option<Gid> {
    u32::try_from(id).ok().map(Gid::from_raw)
}

fn set_metadata<R: Read>(
    entry: &mut Entry<'_, R>,
    dir: BorrowedFd<'_>,
    name: &OsStr,
    kind: EntryType,
) -> io::Result<()> {
    let header = entry.header();
    let (mode, mtime) = (header.mode()?, header.mtime()?.try_into().unwrap_or(i64::MAX));
    // Ownership first: changing it takes set-user-ID bits and capabilities away.
    rustix::fs::chownat(dir, name, uid(header.uid()?), gid(header.gid()?), AtFlags::SYMLINK_NOFOLLOW)?;
    if kind != EntryType::Symlink {
        // The name was made by this process a moment ago and is no symbolic link.
        rustix::fs::chmodat(dir, name, Mode::from_raw_mode(mode & 0o7777), AtFlags::empty())?;
    }
    set_xattrs(entry, &tree::through_proc(dir, name))?;
    set_times(dir, name, mtime)
}

fn set_xattrs<R: Read>(entry: &mut Entry<'_, R>, path: &Path) -> io::Result<()> {
    let Some(extensions) = entry.pax_extensions()? else { return Ok(()) };
    for extension in extensions {
        let extension = extension?;
        let Some(name) = extension.key().ok().and_then(|key| key.strip_prefix(XATTR_PREFIX)) else { continue };
        match rustix::fs::lsetxattr(path, name, extension.value_bytes(), XattrFlags::empty()) {
            Ok(()) => {}
            // Attributes that this file system or kernel does not know are left out, as other runtimes do.
            Err(Errno::OPNOTSUPP | Errno::PERM) => {}
            Err(err) => return Err(err.into()),
        }
    }
    Ok(())
}

fn set_times(dir: BorrowedFd<'_>, name: &OsStr, mtime: i64) -> io::Result<()> {
    let time = Timespec { tv_sec: mtime, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(rustix::fs::utimensat(dir, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}
