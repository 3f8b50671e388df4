//! Snapshots of a running store to a file, and restoring one into an empty directory.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use super::open::{self, DATABASE, OpenError};
use super::reader::{ReadFailureOr, Reader};
use super::schema::{self, ReadFailure, meta};
use crate::error::StorageError;
use crate::types::Revision;

/// Why a snapshot was not written.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The file exists already.
    #[error("{} exists already", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file could not be written.
    #[error("writing {} failed", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The database could not be copied.
    #[error("copying the store to {} failed", path.display())]
    Copy {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// The store could not be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// What a snapshot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// The store's revision in it.
    pub revision: Revision,
    /// The size of the file.
    pub bytes: u64,
}

/// Why a snapshot was not restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The directory has a store already.
    #[error("{} exists already, a snapshot is restored into a directory without a store", path.display())]
    Exists {
        /// The database in the directory.
        path: PathBuf,
    },
    /// The directory or the snapshot could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The snapshot is damaged.
    #[error("the snapshot {} is damaged: {finding}", path.display())]
    Damaged {
        /// The snapshot.
        path: PathBuf,
        /// What is wrong.
        finding: String,
    },
    /// The snapshot could not be copied.
    #[error("copying the snapshot {} failed", path.display())]
    Copy {
        /// The snapshot.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The copy could not be changed.
    #[error("preparing the restored store {} failed", path.display())]
    Prepare {
        /// The copy.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
}

/// How to restore a snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RestoreOptions {
    /// Advances the revision by so much and compacts to there, so that clients that have seen later revisions than
    /// the snapshot's notice and read everything again, instead of taking new events for old ones. Choose more than
    /// were written since the snapshot.
    pub advance_revision: Revision,
}

/// Copies the store to `path`, a file of its own with mode 0600, while it is being written to.
pub(crate) async fn snapshot(reader: &Arc<Reader>, path: &Path) -> Result<SnapshotInfo, SnapshotError> {
    let target = path.to_owned();
    let copied = reader.read(move |connection| Ok::<_, ReadFailure>(write_snapshot(connection, &target))).await;
    copied.map_err(|failure| match failure {
        ReadFailureOr::Other(err) => SnapshotError::Storage(err),
        ReadFailureOr::Compacted(_) => SnapshotError::Storage(StorageError::Stopped),
    })?
}

fn write_snapshot(source: &Connection, path: &Path) -> Result<SnapshotInfo, SnapshotError> {
    let write = |source| SnapshotError::Write { path: path.to_owned(), source };
    if path.try_exists().map_err(write)? {
        return Err(SnapshotError::Exists { path: path.to_owned() });
    }
    let partial = partial(path);
    open::create_file(&partial).map_err(write)?;
    let copied = copy(source, &partial).map_err(|source| SnapshotError::Copy { path: path.to_owned(), source });
    let finished = copied.and_then(|revision| {
        publish(&partial, path).map_err(write)?;
        Ok(SnapshotInfo { revision, bytes: fs::metadata(path).map_err(write)?.len() })
    });
    if finished.is_err() {
        // The error is what matters; the partial file is overwritten by the next attempt.
        let _ = fs::remove_file(&partial);
    }
    finished
}

/// Copies all pages in one go: other processes' and connections' writes go on beside it.
fn copy(source: &Connection, path: &Path) -> rusqlite::Result<Revision> {
    let mut target = Connection::open(path)?;
    let backup = Backup::new(source, &mut target)?;
    let step = backup.step(-1)?;
    drop(backup);
    if step != StepResult::Done {
        return Err(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY), None));
    }
    // A snapshot is one file, without a log beside it.
    target.pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(()))?;
    let revision = schema::revision(&target)?;
    target.close().map_err(|(_, err)| err)?;
    Ok(revision)
}

/// Restores the snapshot at `path` into `dir`.
pub(crate) fn restore(path: &Path, dir: &Path, options: RestoreOptions) -> Result<(), RestoreError> {
    let _lock = open::lock(dir)?;
    let database = dir.join(DATABASE);
    let copy = |source| RestoreError::Copy { path: path.to_owned(), source };
    if database.try_exists().map_err(copy)? {
        return Err(RestoreError::Exists { path: database });
    }
    let partial = partial(&database);
    // Reading the source first gives its errors their name.
    drop(File::open(path).map_err(copy)?);
    open::create_file(&partial).map_err(copy)?;
    fs::copy(path, &partial).map_err(copy)?;
    open::create_file(&partial).map_err(copy)?;
    let prepare = |source| RestoreError::Prepare { path: partial.clone(), source };
    let connection = Connection::open(&partial).map_err(prepare)?;
    open::check_format(&connection, path)?;
    let finding: String = connection.pragma_query_value(None, "integrity_check", |row| row.get(0)).map_err(prepare)?;
    if finding != "ok" {
        return Err(RestoreError::Damaged { path: path.to_owned(), finding });
    }
    if options.advance_revision > 0 {
        advance(&connection, options.advance_revision).map_err(prepare)?;
    }
    connection.close().map_err(|(_, source)| prepare(source))?;
    publish(&partial, &database).map_err(copy)
}

fn advance(connection: &Connection, by: Revision) -> rusqlite::Result<()> {
    let revision = schema::revision(connection)?.saturating_add(by);
    let transaction = connection.unchecked_transaction()?;
    schema::set_meta(&transaction, meta::REVISION_FLOOR, &revision)?;
    schema::set_meta(&transaction, meta::COMPACT_REVISION, &revision)?;
    transaction.commit()
}

/// Makes a finished file durable under its name.
fn publish(partial: &Path, path: &Path) -> io::Result<()> {
    File::open(partial)?.sync_all()?;
    fs::rename(partial, path)?;
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => open::sync_dir(parent),
        None => open::sync_dir(Path::new(".")),
    }
}

/// Where a file is written before it has its name.
fn partial(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".partial");
    name.into()
}
