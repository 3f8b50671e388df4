//! What is mounted on the machine.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
use rustix::mount::{UnmountFlags, unmount};

/// The mount points at and below a directory, the deepest first.
pub fn mounts_below(dir: &Path) -> io::Result<Vec<PathBuf>> {
    // Read as bytes: a name need not be text, and none may be missed.
    let table = fs::read("/proc/self/mountinfo")?;
    let mut points = points(&table);
    points.retain(|point| point.starts_with(dir));
    points.sort_by_key(|point| std::cmp::Reverse(point.components().count()));
    Ok(points)
}

/// The mount points of a table.
fn points(table: &[u8]) -> Vec<PathBuf> {
    let lines = table.split(|byte| *byte == b'\n');
    lines.filter_map(|line| line.split(|byte| *byte == b' ').nth(4)).map(unescape).collect()
}

/// Blanks and the like stand in the table as a backslash and three octal digits.
fn unescape(field: &[u8]) -> PathBuf {
    let mut name = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| *first == b'\\').and_then(|digits| {
            digits.iter().try_fold(0_u16, |sum, digit| {
                Some(sum * 8 + u16::from(digit.checked_sub(b'0').filter(|digit| *digit < 8)?))
            })
        });
        match octal.and_then(|byte| u8::try_from(byte).ok()) {
            Some(byte) => {
                name.push(byte);
                rest = &after[3..];
            }
            None => {
                name.push(*first);
                rest = after;
            }
        }
    }
    PathBuf::from(OsString::from_vec(name))
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
    let table = fs::read("/proc/self/mountinfo")?;
    let mounts: Vec<(&[u8], PathBuf)> = table
        .split(|byte| *byte == b'\n')
        .filter_map(|line| {
            let mut fields = line.split(|byte| *byte == b' ').skip(2);
            Some((fields.next()?, unescape(fields.nth(1)?)))
        })
        .collect();
    // What is mounted last at a path hides the others.
    let Some((device, _)) = mounts.iter().rfind(|(_, point)| point == path) else { return Ok(false) };
    Ok(mounts.iter().any(|(other, point)| other == device && point != path))
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
    use super::*;

    #[test]
    fn names_are_read_from_the_table_as_they_are() {
        let table = b"1 2 0:3 / /a\\040b rw - ext4 x rw\n4 1 0:5 / /c\\134040 rw\n\n6 1 0:7 / /d\\012\\999 rw\n";
        let expected = ["/a b", "/c\\040", "/d\n\\999"].map(PathBuf::from);
        assert_eq!(points(table), expected);
    }

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
