//! The mounts that this process sees.

use std::io;
use std::path::Path;

use base::MountEntry;
use rustix::mount::{UnmountFlags, unmount};

/// The mount that `path`, an absolute path without symbolic links, is on.
pub(crate) fn of(path: &Path) -> io::Result<Option<MountEntry>> {
    let holding = MountEntry::all(|mount| path.starts_with(&mount.point))?;
    // Of those at one place, the last hides the others.
    Ok(holding.into_iter().max_by_key(|mount| mount.point.components().count()))
}

/// Unmounts everything that is mounted at or below `path`; nothing there is fine.
pub(crate) fn unmount_all(path: &Path) -> io::Result<()> {
    // What was mounted last, or deeper, goes first.
    for MountEntry { point, .. } in MountEntry::all(|mount| mount.point.starts_with(path))?.iter().rev() {
        match unmount(point, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
            Err(err) => return Err(err.into()),
        }
    }
    Ok(())
}
