//! Small durable files: written whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

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
}

impl DiskError {
    /// For `map_err`: the error of `action` on `path`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
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
    write().map_err(DiskError::io("write", path))?;
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

/// Removes a file; none there is fine.
pub(crate) fn remove_file(path: &Path) -> Result<(), DiskError> {
    absent_is_fine(fs::remove_file(path)).map_err(DiskError::io("remove", path))
}

/// Removes a directory with everything in it; none there is fine.
pub(crate) fn remove_dir(path: &Path) -> Result<(), DiskError> {
    absent_is_fine(fs::remove_dir_all(path)).map_err(DiskError::io("remove directory", path))
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
}
