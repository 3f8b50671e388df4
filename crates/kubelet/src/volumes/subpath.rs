//! A path inside a volume as a mount of its own, so that a link in the volume cannot lead out of it.
//!
//! The path is opened below the volume's directory by the kernel's own rules, and what was opened is bound to a place
//! beside the volume; the container gets that place.

use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, fstat, mkdirat, openat2};
use rustix::io::Errno;
use rustix::mount::mount_bind;

/// A path that cannot be mounted. The messages are shown to users.
#[derive(Debug, thiserror::Error)]
pub enum SubPathError {
    /// It is absolute, or names a parent directory.
    #[error("subPath \"{0}\" must be a relative path inside the volume")]
    NotInside(String),
    /// The kernel refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The work was given up because the process stops.
    #[error("interrupted")]
    Interrupted,
}

/// Binds `path` inside `volume` to `place`, making directories that are missing.
pub fn prepare(volume: &Path, path: &str, place: &Path) -> Result<PathBuf, SubPathError> {
    let relative = Path::new(path);
    if path.is_empty() || !relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(SubPathError::NotInside(path.to_owned()));
    }
    let error = |action, at: &Path| {
        let at = at.to_owned();
        move |source: io::Error| SubPathError::Io { action, path: at, source }
    };
    let target = open(volume, relative).map_err(error("open", &volume.join(path)))?;
    let is_dir = fs::metadata(format!("/proc/self/fd/{}", target.as_raw_fd()))
        .map_err(error("look at", &volume.join(path)))?
        .is_dir();
    // What an earlier attempt bound here may be out of date.
    super::table::detach(place).map_err(error("unmount", place))?;
    if place.is_dir() != is_dir {
        base::remove_tree(place).map_err(error("remove", place))?;
    }
    let parent = place.parent().unwrap_or(place);
    fs::create_dir_all(parent).map_err(error("create", parent))?;
    let made = if is_dir { fs::create_dir_all(place) } else { fs::write(place, b"") };
    made.map_err(error("create", place))?;
    let source = format!("/proc/self/fd/{}", target.as_raw_fd());
    mount_bind(source.as_str(), place).map_err(io::Error::from).map_err(error("bind", place))?;
    Ok(place.to_owned())
}

/// The most that is read of a file.
const MAX_FILE: u64 = 1 << 20;

/// The text of a file in a volume, if there is one; a link in the volume cannot lead out of it.
pub fn read_inside(volume: &Path, path: &str) -> io::Result<Option<String>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let root = rustix::fs::open(volume, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let file = match openat2(&root, path, flags, Mode::empty(), ResolveFlags::BENEATH) {
        Ok(file) => fs::File::from(file),
        Err(Errno::NOENT) => return Ok(None),
        Err(err) => return Err(err.into()),
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut text = String::new();
    if file.take(MAX_FILE + 1).read_to_string(&mut text)? as u64 > MAX_FILE {
        return Err(io::Error::other("the file is too large"));
    }
    Ok(Some(text))
}

/// Opens a path below `volume`, making what is missing as directories with the permissions of the volume itself.
fn open(volume: &Path, relative: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let root = rustix::fs::open(volume, flags | OFlags::DIRECTORY, Mode::empty())?;
    match openat2(&root, relative, flags, Mode::empty(), ResolveFlags::BENEATH) {
        Ok(found) => return Ok(found),
        Err(Errno::NOENT) => {}
        Err(err) => return Err(err.into()),
    }
    let permissions = fs::Permissions::from_mode(fstat(&root)?.st_mode & 0o2777);
    let mut dir = root;
    for part in relative.components().filter(|part| matches!(part, Component::Normal(_))) {
        let made = match mkdirat(&dir, part.as_os_str(), Mode::from_raw_mode(0o750)) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(err) => return Err(err.into()),
        };
        let flags = flags | OFlags::DIRECTORY;
        dir = openat2(&dir, part.as_os_str(), flags, Mode::empty(), ResolveFlags::BENEATH)?;
        if made {
            // Whatever the process's mask says.
            fs::set_permissions(format!("/proc/self/fd/{}", dir.as_raw_fd()), permissions.clone())?;
        }
    }
    Ok(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_inside_its_volume() {
        let dir = tempfile::tempdir().expect("a directory");
        let volume = dir.path().join("volume");
        fs::create_dir_all(&volume).expect("made");
        std::os::unix::fs::symlink("/etc", volume.join("out")).expect("linked");
        assert!(matches!(prepare(&volume, "../x", &dir.path().join("p")), Err(SubPathError::NotInside(_))));
        assert!(matches!(prepare(&volume, "", &dir.path().join("p")), Err(SubPathError::NotInside(_))));
        assert!(matches!(prepare(&volume, "out/passwd", &dir.path().join("p")), Err(SubPathError::Io { .. })));
        fs::set_permissions(&volume, fs::Permissions::from_mode(0o2777)).expect("opened");
        assert!(open(&volume, Path::new("a/b")).is_ok());
        fs::write(volume.join("file"), "text").expect("written");
        assert_eq!(read_inside(&volume, "file").expect("read").as_deref(), Some("text"));
        assert_eq!(read_inside(&volume, "none").expect("read"), None);
        read_inside(&volume, "out/passwd").expect_err("it is not in the volume");
        read_inside(&volume, "a").expect_err("a directory");
        for made in ["a", "a/b"] {
            let mode = fs::metadata(volume.join(made)).expect("a directory").permissions().mode();
            assert_eq!(mode & 0o7777, 0o2777, "{made}");
        }
    }

    #[test]
    fn what_a_path_leads_to_may_become_another_sort_of_thing() {
        let dir = tempfile::tempdir().expect("a directory");
        let (volume, place) = (dir.path().join("volume"), dir.path().join("places/0"));
        fs::create_dir(&volume).expect("made");
        let prepare = || {
            let prepared = prepare(&volume, "key", &place);
            let is_dir = fs::metadata(&place).map(|metadata| metadata.is_dir());
            super::super::table::detach(&place).expect("unmounted");
            prepared.map(|_| is_dir.expect("there")).map_err(|err| err.to_string())
        };
        assert_eq!(prepare(), Ok(true), "what is missing is made as a directory");
        fs::remove_dir(volume.join("key")).expect("removed");
        fs::write(volume.join("key"), "text").expect("written");
        assert_eq!(prepare(), Ok(false));
        fs::remove_file(volume.join("key")).expect("removed");
        assert_eq!(prepare(), Ok(true));
    }
}
