//! The mounts that this process sees.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::mount::{UnmountFlags, unmount};

/// A mount, as `/proc/self/mountinfo` tells of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MountEntry {
    /// Where it is.
    pub point: PathBuf,
    /// Whether mounts below it appear in copies of it, and theirs here.
    pub is_shared: bool,
    /// Whether mounts that another one gets appear below it.
    pub is_slave: bool,
}

/// All mounts, in the order in which they were made.
pub(crate) fn list() -> io::Result<Vec<MountEntry>> {
    Ok(fs::read_to_string("/proc/self/mountinfo")?.lines().filter_map(parse).collect())
}

/// The mount that `path`, an absolute path without symbolic links, is on.
pub(crate) fn of(path: &Path) -> io::Result<Option<MountEntry>> {
    let holding = list()?.into_iter().filter(|mount| path.starts_with(&mount.point));
    // Of those at one place, the last hides the others.
    Ok(holding.max_by_key(|mount| mount.point.components().count()))
}

/// Unmounts everything that is mounted at or below `path`; nothing there is fine.
pub(crate) fn unmount_all(path: &Path) -> io::Result<()> {
    let points = list()?.into_iter().map(|mount| mount.point).filter(|point| point.starts_with(path));
    // What was mounted last, or deeper, goes first.
    for point in points.collect::<Vec<_>>().into_iter().rev() {
        match unmount(&point, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
            Err(err) => return Err(err.into()),
        }
    }
    Ok(())
}

fn parse(line: &str) -> Option<MountEntry> {
    let mut fields = line.split(' ');
    let point = unescape(fields.nth(4)?);
    // After the options of the mount come fields of propagation, up to a dash.
    let propagation: Vec<&str> = fields.skip(1).take_while(|field| *field != "-").collect();
    let has = |name: &str| propagation.iter().any(|field| field.starts_with(name));
    Some(MountEntry { point, is_shared: has("shared:"), is_slave: has("master:") })
}

/// A path as `mountinfo` writes it: spaces and the like are octal.
fn unescape(text: &str) -> PathBuf {
    let mut path = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(position) = rest.find('\\') {
        path.push_str(&rest[..position]);
        let code = rest.get(position + 1..position + 4).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => {
                path.push(char::from(code));
                rest = &rest[position + 4..];
            }
            None => {
                path.push('\\');
                rest = &rest[position + 1..];
            }
        }
    }
    path.push_str(rest);
    PathBuf::from(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_with_spaces_are_read() {
        assert_eq!(unescape(r"/a\040b/c\134d"), PathBuf::from(r"/a b/c\d"));
        assert_eq!(unescape("/plain"), PathBuf::from("/plain"));
    }

    #[test]
    fn propagation_is_read() {
        let entry =
            |point: &str, is_shared, is_slave| Some(MountEntry { point: PathBuf::from(point), is_shared, is_slave });
        assert_eq!(
            parse("36 35 98:0 /r /mnt rw,noatime shared:1 master:2 - ext3 /dev/x rw"),
            entry("/mnt", true, true)
        );
        assert_eq!(parse("36 35 98:0 /r /mnt rw,noatime - ext3 /dev/x rw"), entry("/mnt", false, false));
        assert_eq!(parse("36 35 98:0 / /a rw master:2 - tmpfs shared:1 rw"), entry("/a", false, true));
    }
}
