//! Small durable files: written whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

/// A file or directory that could not be handled.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The content is not what this program writes.
    #[error("{} is damaged: {source}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// The content is not what was written.
    #[error("{} is damaged: its digest is another one", path.display())]
    Digest {
        /// The file.
        path: PathBuf,
    },
}

impl DiskError {
    /// For `map_err`: the error of `action` on `path`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }

    /// Whether the disk gave something, which is not what was written.
    pub(crate) fn is_damage(&self) -> bool {
        matches!(self, Self::Content { .. } | Self::Digest { .. })
    }
}

/// Makes a directory and its parents, readable by root only.
pub(crate) fn create_dir(path: &Path) -> Result<(), DiskError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(DiskError::io("create directory", path))
}

/// Lets users of a pod's own find their way to `path`, of which they know the name: through it and `depth - 1` directories
/// above.
pub(crate) fn open_way(path: &Path, depth: usize) -> Result<(), DiskError> {
    for dir in path.ancestors().take(depth) {
        let metadata = fs::metadata(dir).map_err(DiskError::io("look at", dir))?;
        let mode = fs::Permissions::from_mode(metadata.permissions().mode() | 0o011);
        fs::set_permissions(dir, mode).map_err(DiskError::io("change", dir))?;
    }
    Ok(())
}

/// Replaces `path` by `content` so that a crash leaves the old or the new file, never a mixture.
pub(crate) fn write_file(path: &Path, content: &[u8]) -> Result<(), DiskError> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    let written = write();
    if written.is_err() {
        // Half of it is of no use, and takes room where there may be none.
        let _ = fs::remove_file(&temporary);
    }
    written.map_err(DiskError::io("write", path))?;
    sync_parent(path)
}

/// Makes a rename or removal in the directory of `path` durable.
pub(crate) fn sync_parent(path: &Path) -> Result<(), DiskError> {
    let Some(parent) = path.parent() else { return Ok(()) };
    File::open(parent).and_then(|dir| dir.sync_all()).map_err(DiskError::io("sync", parent))
}

/// [`write_file`] of a value as JSON.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), DiskError> {
    let content = serde_json::to_vec(value).map_err(|source| DiskError::Content { path: path.to_owned(), source })?;
    write_file(path, &content)
}

/// Reads what [`write_json`] wrote; `None` if there is no such file.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, DiskError> {
    let content = match fs::read(path) {
        Ok(content) => content,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(err) => return Err(DiskError::io("read", path)(err)),
    };
    serde_json::from_slice(&content).map(Some).map_err(|source| DiskError::Content { path: path.to_owned(), source })
}

/// [`write_json`] with a digest after the value, so that [`read_record`] sees whatever happens to it on the disk.
pub(crate) fn write_record<T: Serialize>(path: &Path, value: &T) -> Result<(), DiskError> {
    let mut content =
        serde_json::to_vec(value).map_err(|source| DiskError::Content { path: path.to_owned(), source })?;
    let digest = digest(&content);
    content.extend_from_slice(format!("\n{digest}\n").as_bytes());
    write_file(path, &content)
}

/// Reads what [`write_record`] wrote, or [`write_json`]; `None` if there is no such file.
pub(crate) fn read_record<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, DiskError> {
    let content = match fs::read(path) {
        Ok(content) => content,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(err) => return Err(DiskError::io("read", path)(err)),
    };
    // A value on a line of its own has no line's end in it.
    let end = content.iter().position(|byte| *byte == b'\n');
    let (value, rest) = content.split_at(end.unwrap_or(content.len()));
    if !rest.is_empty() && rest.trim_ascii() != digest(value).as_bytes() {
        return Err(DiskError::Digest { path: path.to_owned() });
    }
    serde_json::from_slice(value).map(Some).map_err(|source| DiskError::Content { path: path.to_owned(), source })
}

fn digest(content: &[u8]) -> String {
    hex::encode(Sha256::digest(content))
}

/// Removes a file; none there is fine.
pub(crate) fn remove_file(path: &Path) -> Result<(), DiskError> {
    absent_is_fine(fs::remove_file(path)).map_err(DiskError::io("remove", path))
}

/// Removes a directory with everything in it; none there is fine.
pub(crate) fn remove_dir(path: &Path) -> Result<(), DiskError> {
    base::remove_tree(path).map_err(DiskError::io("remove directory", path))
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The names of the directories directly in `path`.
pub(crate) fn list_dirs(path: &Path) -> Result<Vec<String>, DiskError> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(err) => return Err(DiskError::io("list", path)(err)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(DiskError::io("list", path))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            names.extend(entry.file_name().into_string());
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_replaced_whole_and_absence_is_no_error() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("x.json");
        assert_eq!(read_json::<Vec<u8>>(&path).expect("absent"), None);
        write_json(&path, &vec![1, 2]).expect("written");
        write_json(&path, &vec![3]).expect("replaced");
        assert_eq!(read_json::<Vec<u8>>(&path).expect("read"), Some(vec![3]));
        remove_file(&path).expect("removed");
        remove_file(&path).expect("gone already");
        fs::write(&path, b"{").expect("written");
        assert!(matches!(read_json::<Vec<u8>>(&path), Err(DiskError::Content { .. })));
    }

    #[test]
    fn records_are_what_was_written_or_damaged() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("x.json");
        write_json(&path, &"as earlier versions have it").expect("written");
        assert!(read_record::<String>(&path).expect("read").is_some());
        write_record(&path, &"one\ntwo").expect("written");
        assert_eq!(read_record::<String>(&path).expect("read").as_deref(), Some("one\ntwo"));
        let whole = fs::read(&path).expect("read");
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            fs::write(&path, &flipped).expect("damaged");
            // The line's end after the digest says nothing.
            let read = read_record::<String>(&path);
            assert!(at + 1 == whole.len() || read.as_ref().is_err_and(DiskError::is_damage), "{at}: {read:?}");
        }
        fs::write(&path, &whole[..5]).expect("cut");
        assert!(read_record::<String>(&path).is_err_and(|err| err.is_damage()));
        assert!(read_record::<String>(&dir.path().join("none")).expect("absent").is_none());
    }

    #[test]
    fn what_cannot_be_written_leaves_nothing() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        // A directory cannot be replaced by a file.
        let path = dir.path().join("x.json");
        fs::create_dir_all(path.join("child")).expect("made");
        assert!(write_json(&path, &1).is_err());
        assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 1);
    }
}
