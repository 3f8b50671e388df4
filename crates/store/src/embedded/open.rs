//! Opening a data directory: its lock, its checks, its settings, and loading what is live.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::Env;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::lock::{DirLock, LockError};
use super::schema::{self, APPLICATION_ID, FORMAT, ReadFailure, meta};
use crate::apply::Live;
use crate::hub::Snapshot;
use crate::types::Revision;

/// The database's file name in the data directory.
pub(crate) const DATABASE: &str = "store.db";

/// How long a connection waits for another one's short exclusive steps.
const BUSY: Duration = Duration::from_secs(5);

/// Why a store was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory is in use or cannot be locked.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The directory or a file in it could not be created or given its mode.
    #[error("preparing {} failed", path.display())]
    Prepare {
        /// The directory or file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is something else than a store.
    #[error("{} is not a Skiff store", path.display())]
    NotAStore {
        /// The file.
        path: PathBuf,
    },
    /// The store was written by another version of Skiff in a format that this one does not know.
    #[error("{} has format {found}, this version of Skiff reads format {supported}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The format that can be opened.
        supported: i64,
    },
    /// The store belongs to another cluster.
    #[error("{} belongs to cluster {found}, not to cluster {expected}", path.display())]
    OtherCluster {
        /// The file.
        path: PathBuf,
        /// The cluster that it belongs to.
        found: String,
        /// The cluster that was asked for.
        expected: String,
    },
    /// A row does not have the content that was written.
    #[error("revision {revision} in {} does not match its checksum; restore a snapshot", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The damaged revision.
        revision: Revision,
    },
    /// The database could not be read.
    #[error("opening {} failed", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// The writer's thread could not be started.
    #[error("starting the thread that writes {} failed", path.display())]
    Thread {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// An open directory.
pub(crate) struct Opened {
    pub lock: DirLock,
    /// The connection that writes.
    pub connection: Connection,
    pub cluster_id: String,
    pub snapshot: Snapshot,
    /// The revision up to which superseded rows have been deleted.
    pub compacted_to: Revision,
}

/// Opens `dir`, creating an empty store where there is none.
pub(crate) fn open(dir: &Path, cluster_id: Option<&str>, env: &Env) -> Result<Opened, OpenError> {
    let lock = lock(dir)?;
    let path = dir.join(DATABASE);
    let database = |source: rusqlite::Error| match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => OpenError::NotAStore { path: path.clone() },
        _ => OpenError::Database { path: path.clone(), source },
    };
    // The log and the index that SQLite makes take their mode from the database, so it must have it first.
    create_file(&path).map_err(|source| OpenError::Prepare { path: path.clone(), source })?;
    let connection = Connection::open(&path).map_err(database)?;
    prepare(&connection).map_err(database)?;
    if is_empty(&connection).map_err(database)? {
        let id = cluster_id.map_or_else(|| env.random().uuid(), str::to_owned);
        schema::create(&connection, &id).map_err(database)?;
        sync_dir(dir).map_err(|source| OpenError::Prepare { path: dir.to_owned(), source })?;
    }
    check_format(&connection, &path)?;
    let found: String = schema::get_meta(&connection, meta::CLUSTER_ID).map_err(database)?;
    if let Some(expected) = cluster_id.filter(|expected| *expected != found) {
        return Err(OpenError::OtherCluster { path, found, expected: expected.to_owned() });
    }
    let (snapshot, compacted_to) = load(&connection).map_err(|failure| match failure {
        ReadFailure::Sql(source) => database(source),
        ReadFailure::Corrupt(revision) | ReadFailure::Compacted(revision) => {
            OpenError::Corrupt { path: path.clone(), revision }
        }
    })?;
    // From here on this connection is the only one that writes; a checkpoint must not wait for readers.
    connection.busy_timeout(Duration::ZERO).map_err(database)?;
    Ok(Opened { lock, connection, cluster_id: found, snapshot, compacted_to })
}

/// Makes the directory private to its owner and locks it.
pub(crate) fn lock(dir: &Path) -> Result<DirLock, OpenError> {
    let prepare = |source| OpenError::Prepare { path: dir.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(prepare)?;
    fs::set_permissions(dir, Permissions::from_mode(0o700)).map_err(prepare)?;
    Ok(DirLock::acquire(dir)?)
}

/// Creates a file with mode 0600, or gives an existing one that mode.
pub(crate) fn create_file(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// A connection for reading beside the writer.
pub(crate) fn open_reader(dir: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(dir.join(DATABASE), flags)?;
    connection.busy_timeout(BUSY)?;
    Ok(connection)
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    // A new file has to know how it gives space back before the log mode writes its first page.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    // Every commit is synced; the engine decides when to checkpoint.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))?;
    connection.pragma_update(None, "cache_size", -8192)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(())
}

fn is_empty(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT NOT EXISTS (SELECT 1 FROM sqlite_schema)", [], |row| row.get(0))
}

/// Refuses what was not written by this version of the format.
pub(crate) fn check_format(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let database = |source: rusqlite::Error| match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => OpenError::NotAStore { path: path.to_owned() },
        _ => OpenError::Database { path: path.to_owned(), source },
    };
    if pragma("application_id").map_err(database)? != APPLICATION_ID {
        return Err(OpenError::NotAStore { path: path.to_owned() });
    }
    let found = pragma("user_version").map_err(database)?;
    if found != FORMAT {
        return Err(OpenError::Format { path: path.to_owned(), found, supported: FORMAT });
    }
    Ok(())
}

/// Reads the live keys into memory.
fn load(connection: &Connection) -> Result<(Snapshot, Revision), ReadFailure> {
    let sql = format!(
        "SELECT {} FROM (SELECT max(revision) AS newest FROM revisions GROUP BY key) AS keys
            JOIN revisions AS r ON r.revision = keys.newest WHERE r.version > 0",
        schema::columns("r")
    );
    let mut live = Live::new();
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let kv = schema::read_row(row, 0)?;
        live.insert(kv.key.clone(), kv);
    }
    let revision = schema::revision(connection)?;
    let compact_revision = schema::get_meta(connection, meta::COMPACT_REVISION)?;
    let compacted_to = schema::get_meta(connection, meta::COMPACTED_TO)?;
    Ok((Snapshot { revision, compact_revision, live }, compacted_to))
}
