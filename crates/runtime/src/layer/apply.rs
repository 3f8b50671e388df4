//! Unpacking one layer archive into a directory.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use tar::EntryType;

use super::entries::{Entries, Item, Segment};
use super::tree;
use crate::disk::DiskError;
use crate::overlay::OverlayError;

/// Marks a name that the layer removes.
const WHITEOUT: &[u8] = b".wh.";

/// Marks a directory of which the layer removes everything that lies below.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Marks what a file system of the past wrote for itself.
const RESERVED: &[u8] = b".wh..wh.";

/// Extended attributes by which overlayfs keeps its own books, which an archive must not write.
const OVERLAY_XATTRS: [&str; 2] = ["trusted.overlay.", "user.overlay."];

/// How much of a file is copied at once; so many zeros become a hole.
const CHUNK: usize = 64 << 10;

/// How many entries a layer may have: the largest that people make have a tenth of it.
const MAX_ENTRIES: usize = 4 << 20;

/// How many bytes the names of a layer's directories may have in all.
const MAX_NAMES: usize = 64 << 20;

/// How many directories may lie in each other where a layer removes some.
const MAX_DEPTH: usize = 256;

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
    /// It is far larger than it was packed.
    #[error("unpacked, the layer has more than {limit} bytes, of {packed} that came: it is not unpacked any further")]
    Bomb {
        /// How much it may have.
        limit: u64,
        /// How large it was.
        packed: u64,
    },
    /// It is made to use up what a disk and a machine have.
    #[error("the layer has more than {0} entries: it is not unpacked any further")]
    Many(usize),
    /// Others need what is left of the disk.
    #[error("unpacking the layer would leave less than {reserve} {what} free on the disk of {}", path.display())]
    Full {
        /// The directory of layers.
        path: PathBuf,
        /// How much stays free.
        reserve: u64,
        /// Of what.
        what: &'static str,
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

impl ApplyError {
    /// Whether the archive is to blame, not the disk.
    pub(crate) fn is_about_content(&self) -> bool {
        matches!(self, Self::Source(_) | Self::Path(_) | Self::Entry { .. } | Self::DiffId(_))
    }
}

/// Unpacks `archive` into `root`, which shows the layers below, if there are any.
pub(super) fn apply(root: BorrowedFd<'_>, archive: impl Read) -> Result<(), ApplyError> {
    apply_some(root, archive, |_| true)
}

/// Unpacks the entries of `archive` that are `wanted` by their names.
pub(super) fn apply_some(
    root: BorrowedFd<'_>,
    archive: impl Read,
    wanted: impl Fn(&Path) -> bool,
) -> Result<(), ApplyError> {
    let mut entries = Entries::new(archive);
    let mut state = Applied {
        root,
        unpacked: HashSet::new(),
        hasher: RandomState::new(),
        directories: Vec::new(),
        names: 0,
        parent: None,
        chunk: vec![0; CHUNK].into_boxed_slice(),
    };
    let mut count = 0;
    while let Some(item) = entries.next().map_err(ApplyError::Source)? {
        count += 1;
        if count > MAX_ENTRIES {
            return Err(ApplyError::Many(MAX_ENTRIES));
        }
        let cleaned = tree::clean(&item.path).ok_or_else(|| ApplyError::Path(item.path.clone()))?;
        if !wanted(&cleaned) {
            continue;
        }
        state.entry(&item, &cleaned, &mut entries).map_err(|source| ApplyError::Entry { path: item.path, source })?;
    }
    state.finish()
}

struct Applied<'fd> {
    root: BorrowedFd<'fd>,
    /// What this layer brought, which its own whiteouts do not concern: hashes of its paths, which take less room.
    unpacked: HashSet<u64>,
    hasher: RandomState,
    /// Directories and their times, which the files put into them later would change.
    directories: Vec<(PathBuf, (i64, u32))>,
    /// How long their names are.
    names: usize,
    /// The directory of the last entry, which often is that of the next one.
    parent: Option<(PathBuf, Rc<OwnedFd>)>,
    chunk: Box<[u8]>,
}

impl Applied<'_> {
    fn entry(&mut self, item: &Item, path: &Path, content: &mut impl Read) -> io::Result<()> {
        let Some(name) = path.file_name() else {
            return self.root_entry(item);
        };
        let parent = path.parent().unwrap_or(Path::new(""));
        let dir = self.parent(parent)?;
        let dir = dir.as_fd();
        if let Some(hidden) = name.as_bytes().strip_prefix(WHITEOUT) {
            return self.whiteout(dir, parent, name, OsStr::from_bytes(hidden));
        }
        for ancestor in path.ancestors() {
            if !self.unpacked.insert(self.hasher.hash_one(ancestor)) {
                break;
            }
        }
        let existing = tree::file_type(dir, name)?;
        let is_dir = item.kind == EntryType::Directory;
        if existing.is_some_and(|existing| !is_dir || existing != FileType::Directory) {
            self.remove(dir, name)?;
        }
        match item.kind {
            EntryType::Directory => {
                if existing != Some(FileType::Directory) {
                    rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o755))?;
                }
                self.names += path.as_os_str().len();
                if self.names > MAX_NAMES {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "the layer has too many directories"));
                }
                self.directories.push((path.to_owned(), item.mtime));
            }
            EntryType::Link => {
                let (target_dir, target) = self.link_target(item)?;
                return Ok(rustix::fs::linkat(&target_dir, target, dir, name, AtFlags::empty())?);
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                return self.file(item, dir, name, content);
            }
            _ => special(item, dir, name)?,
        }
        set_metadata(item, dir, name)
    }

    /// Opens the directory of an entry; makes it where no entry named it.
    fn parent(&mut self, path: &Path) -> io::Result<Rc<OwnedFd>> {
        if let Some((known, dir)) = &self.parent
            && known == path
        {
            return Ok(dir.clone());
        }
        let dir = Rc::new(tree::open_dir(self.root, path)?);
        self.parent = Some((path.to_owned(), dir.clone()));
        Ok(dir)
    }

    /// Removes what is there; any directory may be another one afterwards.
    fn remove(&mut self, dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
        self.parent = None;
        tree::remove(dir, name, MAX_DEPTH)
    }

    fn root_entry(&mut self, item: &Item) -> io::Result<()> {
        rustix::fs::fchown(self.root, uid(item.uid), gid(item.gid))?;
        rustix::fs::fchmod(self.root, Mode::from_raw_mode(item.mode & 0o7777))?;
        Ok(())
    }

    fn file(&mut self, item: &Item, dir: BorrowedFd<'_>, name: &OsStr, content: &mut impl Read) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o600))?);
        let whole = [Segment { offset: 0, length: item.size }];
        for segment in item.segments.as_deref().unwrap_or(&whole) {
            self.copy(content, &mut file, *segment)?;
        }
        // Holes at the end have no content that would have made the file so long.
        if file.stream_position()? < item.size || item.segments.is_some() {
            file.set_len(item.size)?;
        }
        // Ownership first: changing it takes set-user-ID bits and capabilities away.
        rustix::fs::fchown(&file, uid(item.uid), gid(item.gid))?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(item.mode & 0o7777))?;
        if !item.xattrs.is_empty() {
            set_xattrs(item, &tree::through_proc(dir, name))?;
        }
        Ok(rustix::fs::futimens(&file, &timestamps(item.mtime))?)
    }

    /// Writes a piece of a file; zeros in whole chunks stay a hole.
    fn copy(&mut self, content: &mut impl Read, file: &mut File, segment: Segment) -> io::Result<()> {
        file.seek(SeekFrom::Start(segment.offset))?;
        let (mut left, mut hole) = (segment.length, false);
        while left > 0 {
            let wanted = self.chunk.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let chunk = &mut self.chunk[..wanted];
            content.read_exact(chunk)?;
            left -= wanted as u64;
            hole = wanted == CHUNK && chunk.iter().all(|byte| *byte == 0);
            if hole {
                file.seek(SeekFrom::Current(CHUNK as i64))?;
            } else {
                file.write_all(chunk)?;
            }
        }
        if hole { file.set_len(segment.offset + segment.length) } else { Ok(()) }
    }

    fn link_target(&self, item: &Item) -> io::Result<(OwnedFd, OsString)> {
        let target = tree::clean(item.link.as_deref().ok_or(io::ErrorKind::InvalidData)?);
        let target = target.ok_or(io::ErrorKind::InvalidData)?;
        let name = target.file_name().ok_or(io::ErrorKind::InvalidData)?.to_owned();
        let dir = tree::open_dir(self.root, target.parent().unwrap_or(Path::new("")))?;
        Ok((dir, name))
    }

    fn whiteout(&mut self, dir: BorrowedFd<'_>, parent: &Path, name: &OsStr, hidden: &OsStr) -> io::Result<()> {
        if name.as_bytes() == OPAQUE {
            return self.clear(dir, parent, MAX_DEPTH);
        }
        if name.as_bytes().starts_with(RESERVED) {
            return Ok(());
        }
        if hidden.is_empty() || hidden == "." || hidden == ".." {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.remove(dir, hidden)
    }

    /// Removes what this layer did not bring.
    fn clear(&mut self, dir: BorrowedFd<'_>, path: &Path, left: usize) -> io::Result<()> {
        let left = left.checked_sub(1).ok_or_else(tree::too_deep)?;
        for name in tree::names(dir)? {
            let child = path.join(&name);
            if !self.unpacked.contains(&self.hasher.hash_one(&child)) {
                self.remove(dir, &name)?;
            } else if tree::file_type(dir, &name)? == Some(FileType::Directory) {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let inner = rustix::fs::openat(dir, &name, flags, Mode::empty())?;
                self.clear(inner.as_fd(), &child, left)?;
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

/// Makes what is neither a file nor a directory nor another name of one.
fn special(item: &Item, dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    let (file_type, device) = match item.kind {
        EntryType::Symlink => {
            let target = item.link.as_deref().ok_or(io::ErrorKind::InvalidData)?;
            return Ok(rustix::fs::symlinkat(target, dir, name)?);
        }
        EntryType::Char => (FileType::CharacterDevice, item.device),
        EntryType::Block => (FileType::BlockDevice, item.device),
        EntryType::Fifo => (FileType::Fifo, (0, 0)),
        other => {
            let reason = format!("an entry is of a kind that is not known: {:?}", char::from(other.as_byte()));
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
    };
    let device = rustix::fs::makedev(device.0, device.1);
    Ok(rustix::fs::mknodat(dir, name, file_type, Mode::from_raw_mode(0o600), device)?)
}

fn uid(id: u64) -> Option<Uid> {
    u32::try_from(id).ok().map(Uid::from_raw)
}

fn gid(id: u64) -> Option<Gid> {
    u32::try_from(id).ok().map(Gid::from_raw)
}

fn set_metadata(item: &Item, dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    rustix::fs::chownat(dir, name, uid(item.uid), gid(item.gid), AtFlags::SYMLINK_NOFOLLOW)?;
    if item.kind != EntryType::Symlink {
        // The name was made by this process a moment ago and is no symbolic link.
        rustix::fs::chmodat(dir, name, Mode::from_raw_mode(item.mode & 0o7777), AtFlags::empty())?;
    }
    set_xattrs(item, &tree::through_proc(dir, name))?;
    set_times(dir, name, item.mtime)
}

fn set_xattrs(item: &Item, path: &Path) -> io::Result<()> {
    for (name, value) in &item.xattrs {
        if OVERLAY_XATTRS.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        match rustix::fs::lsetxattr(path, name.as_str(), value, XattrFlags::empty()) {
            Ok(()) => {}
            // Attributes that this file system or kernel does not know are left out, as other runtimes do.
            Err(Errno::OPNOTSUPP | Errno::PERM) => {}
            Err(err) => return Err(err.into()),
        }
    }
    Ok(())
}

fn timestamps((seconds, nanoseconds): (i64, u32)) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() };
    Timestamps { last_access: time, last_modification: time }
}

fn set_times(dir: BorrowedFd<'_>, name: &OsStr, mtime: (i64, u32)) -> io::Result<()> {
    Ok(rustix::fs::utimensat(dir, name, &timestamps(mtime), AtFlags::SYMLINK_NOFOLLOW)?)
}
