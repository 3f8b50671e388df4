//! Gives a volume to a group.
//!
//! Whoever writes in a volume that other pods use may turn files into links while this runs, so that nothing is changed
//! by its path: each file is opened without following links, and what was opened is changed.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use base::TreeEntry;
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, chownat, fstat, openat};

/// What files of the group have, what they have in a volume that is only read, and what directories have beside it.
const READ_WRITE: u32 = 0o660;
const READ_ONLY: u32 = 0o440;
const DIRECTORY: u32 = 0o2110;

/// A group, and what it gets.
#[derive(Clone, Copy, Debug)]
pub struct Ownership {
    /// The group.
    pub group: i64,
    /// Whether it may only read.
    pub read_only: bool,
    /// Whether a volume whose root has it already is left as it is: `fsGroupChangePolicy: OnRootMismatch`.
    pub on_root_mismatch: bool,
}

/// Gives everything below `dir` to a group: readable, writable unless it may only read, and new files in it too.
pub fn apply(dir: &Path, ownership: Ownership) -> io::Result<()> {
    let group = u32::try_from(ownership.group).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let bits = if ownership.read_only { READ_ONLY } else { READ_WRITE };
    let root = open(CWD, dir)?;
    let stat = fstat(&root)?;
    let wanted = bits | if is_dir(stat.st_mode) { DIRECTORY } else { 0 };
    if ownership.on_root_mismatch && stat.st_gid == group && stat.st_mode & wanted == wanted {
        return Ok(());
    }
    let group = Gid::from_raw(group);
    if is_dir(stat.st_mode) {
        base::walk_tree(dir, |TreeEntry { dir, name, .. }| match open(dir, name) {
            Ok(inner) => give(&inner, group, bits),
            // Somebody else who uses the volume has removed it by now.
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(err) => Err(err),
        })?;
    }
    // Last: it stands for all the others, also when this was broken off.
    give(&root, group, bits)
}

fn is_dir(mode: u32) -> bool {
    FileType::from_raw_mode(mode) == FileType::Directory
}

fn open(dir: impl AsFd, name: impl rustix::path::Arg) -> io::Result<OwnedFd> {
    Ok(openat(dir, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?)
}

fn give(file: &OwnedFd, group: Gid, bits: u32) -> io::Result<()> {
    chownat(file, "", None, Some(group), AtFlags::EMPTY_PATH)?;
    // After the owner, because a change of that takes bits away.
    let mode = fstat(file)?.st_mode;
    if FileType::from_raw_mode(mode) == FileType::Symlink {
        return Ok(());
    }
    let more = bits | if is_dir(mode) { DIRECTORY } else { 0 };
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    fs::set_permissions(path, Permissions::from_mode((mode & 0o7777) | more))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use rustix::mount::{MountFlags, UnmountFlags};

    use super::*;

    #[track_caller]
    fn check(path: &Path, expected: (u32, u32)) {
        let metadata = fs::symlink_metadata(path).expect("there");
        assert_eq!((metadata.gid(), metadata.mode() & 0o7777), expected, "{}", path.display());
    }

    #[test]
    fn a_volume_is_given_to_a_group_and_what_links_lead_to_is_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let (volume, outside) = (dir.path().join("volume"), dir.path().join("outside"));
        fs::create_dir_all(volume.join("sub")).expect("made");
        for path in [&outside, &volume.join("sub/file")] {
            fs::write(path, "x").expect("written");
            fs::set_permissions(path, Permissions::from_mode(0o600)).expect("set");
        }
        fs::set_permissions(&volume, Permissions::from_mode(0o755)).expect("set");
        symlink(&outside, volume.join("link")).expect("linked");
        let mut ownership = Ownership { group: 4321, read_only: false, on_root_mismatch: false };
        apply(&volume, ownership).expect("given");
        check(&volume, (4321, 0o2775));
        check(&volume.join("sub/file"), (4321, 0o660));
        check(&outside, (fs::metadata(dir.path()).expect("there").gid(), 0o600));

        // What has the right root is left alone where that is wanted.
        fs::write(volume.join("new"), "x").expect("written");
        fs::set_permissions(volume.join("new"), Permissions::from_mode(0o600)).expect("set");
        ownership.on_root_mismatch = true;
        apply(&volume, ownership).expect("given");
        check(&volume.join("new"), (4321, 0o600));
        ownership.group = 4322;
        ownership.read_only = true;
        apply(&volume, ownership).expect("given");
        check(&volume.join("new"), (4322, 0o640));
    }

    #[test]
    fn a_volume_of_which_a_part_cannot_be_given_is_not_taken_for_given() {
        let dir = tempfile::tempdir().expect("a directory");
        let stuck = dir.path().join("stuck");
        fs::create_dir(&stuck).expect("made");
        rustix::mount::mount("tmpfs", &stuck, "tmpfs", MountFlags::RDONLY, None).expect("mounted");
        let ownership = Ownership { group: 4321, read_only: false, on_root_mismatch: true };
        let outcome = apply(dir.path(), ownership);
        rustix::mount::unmount(&stuck, UnmountFlags::DETACH).expect("unmounted");
        assert_eq!(outcome.expect_err("refused").kind(), io::ErrorKind::ReadOnlyFilesystem);
        fs::write(dir.path().join("file"), "x").expect("written");
        std::os::unix::fs::chown(dir.path().join("file"), None, Some(0)).expect("taken back");
        apply(dir.path(), ownership).expect("given");
        assert_eq!(fs::metadata(dir.path().join("file")).expect("there").gid(), 4321);
    }
}
