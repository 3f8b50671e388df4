//! Writes a set of files so that readers see either the old set or the new one.
//!
//! The files live in a directory named by time; `..data` is a link to it, and each visible name is a link through
//! `..data`. A new set is written beside the old one, then `..data` is replaced in one step.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown, symlink};
use std::path::{Component, Path, PathBuf};

use jiff::Timestamp;

use super::payload::Payload;

const DATA: &str = "..data";
const NEW_DATA: &str = "..data_tmp";

/// A set of files that cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A path that leads out of the volume or into its bookkeeping.
    #[error("invalid path {0:?} in volume")]
    Path(String),
    /// The file system refused.
    #[error("cannot write {}: {source}", path.display())]
    Io {
        /// What was written.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> WriteError + '_ {
    move |source| WriteError::Io { path: path.to_owned(), source }
}

/// Writes a set of files; true where something changed.
///
/// `own` gives the volume to its owners, before anybody sees the new set. What an earlier call left half done is completed.
pub fn write(
    dir: &Path,
    payload: &Payload,
    now: Timestamp,
    own: impl FnOnce() -> io::Result<()>,
) -> Result<bool, WriteError> {
    for path in payload.keys() {
        let inside = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
        if path.is_empty() || !inside || path.starts_with("..") {
            return Err(WriteError::Path(path.clone()));
        }
    }
    let current = fs::read_link(dir.join(DATA)).ok().map(|current| dir.join(current));
    let kept = current.filter(|current| is_same(current, payload));
    let changed = kept.is_none();
    let set = match kept {
        Some(current) => current,
        None => replace(dir, payload, now, own)?,
    };
    let names: BTreeSet<&str> = payload.keys().filter_map(|path| path.split('/').next()).collect();
    for name in &names {
        let visible = dir.join(name);
        if fs::symlink_metadata(&visible).is_err() {
            symlink(Path::new(DATA).join(name), &visible).map_err(io_error(&visible))?;
        }
    }
    remove_stale(dir, &names, &set)?;
    Ok(changed)
}

/// Whether a set was written to a directory before.
pub fn is_written(dir: &Path) -> bool {
    fs::symlink_metadata(dir.join(DATA)).is_ok()
}

/// Writes a new set beside the old one and turns the link to it.
fn replace(
    dir: &Path,
    payload: &Payload,
    now: Timestamp,
    own: impl FnOnce() -> io::Result<()>,
) -> Result<PathBuf, WriteError> {
    let new = make_dir(dir, now)?;
    let shown = fill(&new, payload).and_then(|()| own().map_err(io_error(dir))).and_then(|()| show(dir, &new));
    match shown {
        Ok(()) => Ok(new),
        Err(err) => {
            // Each attempt on a full disk would make it fuller by half of a set.
            let _ = base::remove_tree(&new);
            Err(err)
        }
    }
}

fn show(dir: &Path, new: &Path) -> Result<(), WriteError> {
    let (link, temporary) = (dir.join(DATA), dir.join(NEW_DATA));
    let _ = fs::remove_file(&temporary);
    symlink(new.file_name().unwrap_or_default(), &temporary).map_err(io_error(&temporary))?;
    fs::rename(&temporary, &link).map_err(io_error(&link))
}

fn fill(new: &Path, payload: &Payload) -> Result<(), WriteError> {
    for (path, file) in payload {
        let target = new.join(path);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(io_error(parent))?;
        }
        fs::write(&target, &file.data).map_err(io_error(&target))?;
        fs::set_permissions(&target, Permissions::from_mode(file.mode)).map_err(io_error(&target))?;
        if let Some(owner) = file.owner {
            chown(&target, Some(owner), None).map_err(io_error(&target))?;
        }
    }
    Ok(())
}

/// A directory named by the time, with a number that tells it from others of the same second.
fn make_dir(dir: &Path, now: Timestamp) -> Result<PathBuf, WriteError> {
    let time = now.strftime("%Y_%m_%d_%H_%M_%S");
    for number in now.subsec_nanosecond().. {
        let new = dir.join(format!("..{time}.{number:09}"));
        match DirBuilder::new().mode(0o755).create(&new) {
            Ok(()) => {
                fs::set_permissions(&new, Permissions::from_mode(0o755)).map_err(io_error(&new))?;
                return Ok(new);
            }
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(WriteError::Io { path: new, source }),
        }
    }
    Err(WriteError::Path(dir.display().to_string()))
}

/// Removes names and sets that are no longer there. Directories are no names: something is mounted on them, or of them.
fn remove_stale(dir: &Path, names: &BTreeSet<&str>, current: &Path) -> Result<(), WriteError> {
    for entry in fs::read_dir(dir).map_err(io_error(dir))?.flatten() {
        let (name, path) = (entry.file_name(), entry.path());
        let name = name.to_string_lossy();
        let is_set = name.starts_with("..") && name != DATA;
        if is_set && path != current {
            base::remove_tree(&path).map_err(io_error(&path))?;
        } else if !name.starts_with("..") && !names.contains(&*name) && path.is_symlink() {
            fs::remove_file(&path).map_err(io_error(&path))?;
        }
    }
    Ok(())
}

fn is_same(dir: &Path, payload: &Payload) -> bool {
    let mut paths = Vec::new();
    collect(dir, &mut paths);
    paths.len() == payload.len()
        && payload.iter().all(|(path, file)| {
            let target = dir.join(path);
            // A group's permissions are added afterwards, so only the owner's are compared.
            let mode = fs::metadata(&target).map(|metadata| metadata.permissions().mode() & 0o700);
            mode.is_ok_and(|mode| mode == file.mode & 0o700) && fs::read(&target).is_ok_and(|data| data == file.data)
        })
}

fn collect(dir: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, paths);
        } else {
            paths.push(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::payload::File;
    use super::*;

    fn payload(files: &[(&str, &str)]) -> Payload {
        let file = |data: &str| File { data: data.as_bytes().to_vec(), mode: 0o640, owner: None };
        files.iter().map(|(path, data)| ((*path).to_owned(), file(data))).collect()
    }

    fn put(dir: &Path, files: &[(&str, &str)]) -> Result<bool, WriteError> {
        write(dir, &payload(files), Timestamp::UNIX_EPOCH, || Ok(()))
    }

    #[test]
    fn a_set_is_replaced_as_a_whole() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path();
        assert!(put(path, &[("a", "1"), ("sub/b", "2")]).expect("written"));
        assert!(!put(path, &[("a", "1"), ("sub/b", "2")]).expect("written"));
        assert_eq!(fs::read_to_string(path.join("sub/b")).expect("read"), "2");
        let mode = fs::metadata(path.join("a")).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode, 0o640);
        let before = fs::read_link(path.join(DATA)).expect("a link");
        assert_eq!(before, Path::new("..1970_01_01_00_00_00.000000000"));
        assert!(put(path, &[("a", "3")]).expect("written"));
        assert_ne!(fs::read_link(path.join(DATA)).expect("a link"), before);
        assert_eq!(fs::read_to_string(path.join("a")).expect("read"), "3");
        assert!(fs::symlink_metadata(path.join("sub")).is_err());
        assert_eq!(fs::read_dir(path).expect("read").count(), 3);
    }

    #[test]
    fn a_set_has_its_owners_before_it_is_seen() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path();
        put(path, &[("a", "1")]).expect("written");
        let owned = write(path, &payload(&[("a", "2")]), Timestamp::UNIX_EPOCH, || {
            let new = path.join("..1970_01_01_00_00_00.000000001/a");
            assert_eq!(fs::read_to_string(new).expect("read"), "2");
            assert_eq!(fs::read_to_string(path.join("a")).expect("read"), "1");
            Err(io::ErrorKind::PermissionDenied.into())
        });
        assert!(matches!(owned, Err(WriteError::Io { .. })), "{owned:?}");
        assert_eq!(fs::read_to_string(path.join("a")).expect("read"), "1");
        assert_eq!(fs::read_dir(path).expect("read").count(), 3, "a set that nobody sees stays");
    }

    #[test]
    fn what_was_left_half_done_is_completed() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path();
        put(path, &[("a", "1")]).expect("written");
        // Ended after the link was turned, and in the middle of another set.
        fs::remove_file(path.join("a")).expect("removed");
        fs::create_dir(path.join("..2020_01_01_00_00_00.1")).expect("made");
        symlink("nowhere", path.join(NEW_DATA)).expect("linked");
        assert!(!put(path, &[("a", "1")]).expect("written"));
        assert_eq!(fs::read_to_string(path.join("a")).expect("read"), "1");
        assert_eq!(fs::read_dir(path).expect("read").count(), 3);
    }

    #[test]
    fn directories_that_are_no_part_of_a_set_stay() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path();
        put(path, &[("a", "1"), ("b", "1")]).expect("written");
        // A mount's path in the volume, or a mount in it.
        fs::create_dir(path.join("missing")).expect("made");
        put(path, &[("a", "2")]).expect("written");
        assert_eq!(fs::read_to_string(path.join("a")).expect("read"), "2");
        assert!(path.join("missing").is_dir() && fs::symlink_metadata(path.join("b")).is_err());
    }

    #[test]
    fn a_key_may_become_a_directory_and_a_directory_a_key() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path();
        let read = |name: &str| fs::read_to_string(path.join(name)).expect("read");
        put(path, &[("a", "1")]).expect("written");
        put(path, &[("a/b", "2")]).expect("written");
        assert_eq!(read("a/b"), "2");
        put(path, &[("a", "3")]).expect("written");
        assert_eq!(read("a"), "3");
        let clash = put(path, &[("a", "4"), ("a/b", "5")]).expect_err("both cannot be");
        assert!(clash.to_string().starts_with("cannot write "), "{clash}");
        assert_eq!((read("a"), fs::read_dir(path).expect("read").count()), ("3".to_owned(), 3));
    }

    #[test]
    fn a_path_out_of_the_volume_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        for path in ["../x", "/etc/x", "a/../../x", "..data/x", ""] {
            assert!(matches!(put(dir.path(), &[(path, "")]), Err(WriteError::Path(_))), "{path}");
        }
    }
}
