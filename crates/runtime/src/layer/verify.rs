//! Whether an unpacked layer is still what its archive says.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use tar::EntryType;

use super::entries::{Entries, Item};
use super::tree;

/// How much is compared at once.
const CHUNK: usize = 64 << 10;

/// The files below `root` that are not what `archive`, which was unpacked there, has. Reads both; blocks.
pub(super) fn damaged(root: BorrowedFd<'_>, archive: impl Read) -> io::Result<HashSet<PathBuf>> {
    let (mut entries, mut damaged) = (Entries::new(archive), HashSet::new());
    let mut chunks = (vec![0; CHUNK], vec![0; CHUNK]);
    while let Some(item) = entries.next()? {
        let Some(path) = tree::clean(&item.path) else { continue };
        match item.kind {
            // A later entry of the same name is what counts.
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                damaged.remove(&path);
                if !same(root, &path, &item, &mut entries, &mut chunks)? {
                    damaged.insert(path);
                }
            }
            // Another name of a damaged file is damaged with it.
            EntryType::Link => {
                let target = item.link.as_deref().and_then(tree::clean);
                if target.is_some_and(|target| damaged.contains(&target)) {
                    damaged.insert(path);
                } else {
                    damaged.remove(&path);
                }
            }
            _ => {
                damaged.remove(&path);
            }
        }
    }
    Ok(damaged)
}

fn same(
    root: BorrowedFd<'_>,
    path: &Path,
    item: &Item,
    content: &mut impl Read,
    (wanted, found): &mut (Vec<u8>, Vec<u8>),
) -> io::Result<bool> {
    if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".wh.")) {
        return Ok(true);
    }
    // A file that is gone, or another thing now, is as bad as one with another content.
    let Ok(file) = open(root, path) else { return Ok(false) };
    let mut file = File::from(file);
    if file.metadata()?.len() != item.size {
        return Ok(false);
    }
    if item.segments.is_some() {
        return Ok(true);
    }
    let mut left = item.size;
    while left > 0 {
        let count = wanted.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        content.read_exact(&mut wanted[..count])?;
        if file.read_exact(&mut found[..count]).is_err() || wanted[..count] != found[..count] {
            return Ok(false);
        }
        left -= count as u64;
    }
    Ok(true)
}

fn open(root: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    Ok(rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)?)
}
