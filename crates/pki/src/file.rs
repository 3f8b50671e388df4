//! Files that hold secrets: mode 0600, replaced whole.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// What could not be done with a file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// The file's text, or `None` if there is no such file.
pub(crate) fn read_if_there(path: &Path) -> Result<Option<String>, FileError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(err) if err.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(FileError::Read { path: path.to_owned(), source }),
    }
}

/// Removes a file if it is there.
pub(crate) fn remove_if_there(path: &Path) -> Result<(), FileError> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != ErrorKind::NotFound => Err(FileError::Write { path: path.to_owned(), source }),
        _ => Ok(()),
    }
}

/// Writes a file that only its owner may read; an earlier one is replaced at once or not at all.
///
/// Missing parent directories are made.
pub fn write_private(path: &Path, content: &str) -> Result<(), FileError> {
    let failed = |source| FileError::Write { path: path.to_owned(), source };
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory).map_err(failed)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let temporary = directory.join(name);
    // A left-over of a killed process could have wider permissions than the mode below gives.
    match std::fs::remove_file(&temporary) {
        Err(source) if source.kind() != ErrorKind::NotFound => return Err(failed(source)),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary).map_err(failed)?;
    file.write_all(content.as_bytes()).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    std::fs::rename(&temporary, path).map_err(failed)?;
    let parent = std::fs::File::open(directory).map_err(failed)?;
    parent.sync_all().map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn private_files_are_for_their_owner_and_replace_what_was_there() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("deep/secret");
        for content in ["one", "two"] {
            write_private(&path, content).expect("writable");
            assert_eq!(read_if_there(&path).expect("readable").as_deref(), Some(content));
        }
        let mode = std::fs::metadata(&path).expect("it exists").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(read_if_there(&dir.path().join("none")).expect("absence is no error").is_none());
    }
}
