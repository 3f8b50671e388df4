//! What is mounted on the machine.

use std::io;
use std::path::{Path, PathBuf};

use base::MountEntry;
use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
use rustix::mount::{UnmountFlags, unmount};

/// The mount points at and below a directory, the deepest first.
pub fn mounts_below(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mounts = MountEntry::all(|mount| mount.point.starts_with(dir))?;
    let mut points: Vec<PathBuf> = mounts.into_iter().map(|mount| mount.point).collect();
    points.sort_by_key(|point| std::cmp::Reverse(point.components().count()));
    Ok(points)
}

/// Whether something is mounted at a path. What is not there is none.
pub fn is_mount_point(path: &Path) -> io::Result<bool> {
    match statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS) {
        Ok(stat) => Ok(stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)),
        Err(rustix::io::Errno::NOENT) => Ok(false),
        // A file system that has lost its server answers nothing, and is mounted all the same.
        Err(rustix::io::Errno::STALE | rustix::io::Errno::NOTCONN | rustix::io::Errno::IO) => Ok(true),
        Err(err) => Err(err.into()),
    }
}

/// Whether the file system that is mounted at a path is mounted somewhere else too.
pub fn is_mounted_elsewhere(path: &Path) -> io::Result<bool> {
    let mounts = MountEntry::all(|_| true)?;
    // What is mounted last at a path hides the others.
    let Some(mounted) = mounts.iter().rfind(|mount| mount.point == path) else { return Ok(false) };
    Ok(mounts.iter().any(|other| other.device == mounted.device && other.point != path))
}

/// Unmounts what is mounted at a path, if anything, however often.
pub fn detach(path: &Path) -> io::Result<()> {
    loop {
        match unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => return Ok(()),
            Err(err) => return Err(err.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_mounted_is_never_removed() {
        let dir = tempfile::tempdir().expect("a directory");
        let (data, volumes) = (dir.path().join("data"), dir.path().join("volumes"));
        let place = volumes.join("deep down/place");
        for made in [&data, &place] {
            fs::create_dir_all(made).expect("made");
        }
        fs::write(data.join("file"), "precious").expect("written");
        rustix::mount::mount_bind(&data, &place).expect("mounted");
        assert!(is_mount_point(&place).expect("seen"));
        assert_eq!(mounts_below(dir.path()).expect("read"), std::slice::from_ref(&place));
        assert!(is_mounted_elsewhere(&place).expect("read"), "the whole file system is");
        assert!(!is_mounted_elsewhere(&data).expect("read"), "nothing is mounted there");
        let refused = base::remove_tree(&volumes);
        let found = fs::read_to_string(data.join("file"));
        detach(&place).expect("unmounted");
        assert_eq!(refused.expect_err("refused").kind(), io::ErrorKind::ResourceBusy);
        assert_eq!(found.expect("still there"), "precious");
        assert!(!is_mount_point(&place).expect("seen"));
        base::remove_tree(&volumes).expect("removed");
        assert!(data.join("file").exists() && !volumes.exists());
    }
}
