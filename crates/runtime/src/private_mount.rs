//! Keeping the runtime's mounts to itself.

use std::fs;
use std::io;
use std::path::Path;

use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};

/// Makes `dir` a mount of its own that is private: what is mounted below is not copied into other mount namespaces,
/// where it would be kept alive by whoever lives there.
pub(crate) fn ensure(dir: &Path) -> io::Result<()> {
    let dir = fs::canonicalize(dir)?;
    if base::MountEntry::all(|mount| mount.point == dir)?.is_empty() {
        mount_bind(&dir, &dir)?;
    }
    Ok(mount_change(&dir, MountPropagationFlags::PRIVATE)?)
}
