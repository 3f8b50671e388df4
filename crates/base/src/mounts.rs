//! What is mounted (proc(5), `mountinfo`).

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// A mount, as the kernel tells a process of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountEntry {
    /// Where it is.
    pub point: PathBuf,
    /// The device of the file system, `major:minor`; mounts of one file system have the same.
    pub device: String,
    /// Whether mounts below it appear in copies of it, and theirs here.
    pub is_shared: bool,
    /// Whether mounts that another one gets appear below it.
    pub is_slave: bool,
    /// What kind of file system it is: `tmpfs`, `cgroup2`.
    pub file_system: String,
    /// The options of the file system, with commas between them.
    pub options: String,
}

impl MountEntry {
    /// Where the kernel tells of them.
    pub const TABLE: &str = "/proc/self/mountinfo";

    /// The mounts that this process sees and that are wanted, in the order in which they were made. The others are kept
    /// no longer than they are looked at: a node has thousands, and who asks may be small.
    pub fn all(is_wanted: impl FnMut(&Self) -> bool) -> io::Result<Vec<Self>> {
        let table = fs::read(Self::TABLE)?;
        Ok(Self::in_table(&table).filter(is_wanted).collect())
    }

    /// The mounts of a table. As bytes, because a name need not be text and none may be missed.
    pub fn in_table(table: &[u8]) -> impl Iterator<Item = Self> {
        table.split(|byte| *byte == b'\n').filter_map(Self::of_line)
    }

    fn of_line(line: &[u8]) -> Option<Self> {
        let text = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
        let mut fields = line.split(|byte| *byte == b' ');
        let (device, point) = (text(fields.nth(2)?), unescape(fields.nth(1)?));
        // After the options of the mount come fields of propagation, up to a dash.
        let (mut is_shared, mut is_slave) = (false, false);
        for field in fields.by_ref().skip(1).take_while(|field| *field != b"-") {
            is_shared |= field.starts_with(b"shared:");
            is_slave |= field.starts_with(b"master:");
        }
        let file_system = text(fields.next()?);
        let options = fields.nth(1).map(text).unwrap_or_default();
        Some(Self { point, device, is_shared, is_slave, file_system, options })
    }
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

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;

    use super::*;

    #[test]
    fn names_are_read_from_the_table_as_they_are() {
        let table = b"1 2 0:3 / /a\\040b rw - ext4 x rw\n4 1 0:5 / /c\\134040 rw - ext4 x rw\n\n\
                      6 1 0:7 / /d\\012\\999 rw - ext4 x rw\n8 1 0:7 / /\xff rw - ext4 x rw\n";
        let points: Vec<PathBuf> = MountEntry::in_table(table).map(|mount| mount.point).collect();
        let last = Path::new(OsStr::from_bytes(b"/\xff"));
        assert_eq!(
            points,
            ["/a b", "/c\\040", "/d\n\\999"].map(Path::new).into_iter().chain([last]).collect::<Vec<_>>()
        );
    }

    #[test]
    fn a_mount_is_told_with_its_file_system_and_who_shares_it() {
        let check = |line: &str, device, propagation, file_system, options| {
            let mounts: Vec<MountEntry> = MountEntry::in_table(line.as_bytes()).collect();
            let [mount] = &mounts[..] else { panic!("{mounts:?}") };
            let found = (&*mount.device, (mount.is_shared, mount.is_slave), &*mount.file_system, &*mount.options);
            assert_eq!(found, (device, propagation, file_system, options), "{line}");
        };
        let both = "36 35 98:0 /r /mnt rw,noatime shared:1 master:2 - ext3 /dev/x rw,errors=continue";
        check(both, "98:0", (true, true), "ext3", "rw,errors=continue");
        check("36 35 98:0 /r /mnt rw,noatime - ext3 /dev/x rw", "98:0", (false, false), "ext3", "rw");
        check("36 35 0:7 / /a rw master:2 - tmpfs shared:1 rw", "0:7", (false, true), "tmpfs", "rw");
    }

    #[test]
    fn this_process_sees_a_root() {
        let root = MountEntry::all(|mount| mount.point == Path::new("/")).expect("there is a /proc");
        assert!(!root.is_empty());
    }
}
