//! Gives a volume to a group.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, lchown};
use std::path::Path;

/// Gives everything below `dir` to `group`: readable, writable unless `read_only`, and new files in it too.
pub fn apply(dir: &Path, group: i64, read_only: bool) -> io::Result<()> {
    let group = u32::try_from(group).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    give(dir, group, read_only)
}

fn give(path: &Path, group: u32, read_only: bool) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    lchown(path, None, Some(group))?;
    if metadata.is_symlink() {
        return Ok(());
    }
    let mut mode = metadata.permissions().mode() | if read_only { 0o440 } else { 0o660 };
    if metadata.is_dir() {
        mode |= 0o2110;
    }
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    if metadata.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path(), group, read_only)?;
        }
    }
    Ok(())
}
