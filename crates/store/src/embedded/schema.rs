//! The format of the database: its tables, its settings, and rows with their checksums.
//!
//! `revisions` holds every write in the order of revisions; its index leads from a key to its revisions. A row names
//! the revision that it superseded, so that compaction finds what to delete by reading each row once. A deletion has
//! version 0.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, ToSql, params, types::FromSql};

use crate::apply::deleted;
use crate::types::{Event, EventKind, KeyValue, Revision};

/// Marks a SQLite file as a store of ours ("SKIF").
pub(crate) const APPLICATION_ID: i64 = 0x534b_4946;
/// The version of the format that this program reads and writes.
pub(crate) const FORMAT: i64 = 1;

const CREATE: &str = "
    CREATE TABLE meta (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
    CREATE TABLE revisions (
        revision INTEGER PRIMARY KEY,
        key BLOB NOT NULL,
        value BLOB NOT NULL,
        create_revision INTEGER NOT NULL,
        version INTEGER NOT NULL,
        previous INTEGER NOT NULL,
        checksum INTEGER NOT NULL
    );
    CREATE INDEX revisions_by_key ON revisions (key, revision);
";

/// Names in `meta`.
pub(crate) mod meta {
    /// The identity of the cluster whose data this is.
    pub const CLUSTER_ID: &str = "cluster_id";
    /// The oldest revision that can be read.
    pub const COMPACT_REVISION: &str = "compact_revision";
    /// The revision up to which (exclusive) superseded rows have been deleted.
    pub const COMPACTED_TO: &str = "compacted_to";
    /// The current revision is at least this, whatever the rows say.
    pub const REVISION_FLOOR: &str = "revision_floor";
}

/// A failed read inside a database transaction.
#[derive(Debug)]
pub(crate) enum ReadFailure {
    Sql(rusqlite::Error),
    /// The row of this revision does not match its checksum.
    Corrupt(Revision),
    /// What was asked for has been compacted; this is the compact revision.
    Compacted(Revision),
}

impl From<rusqlite::Error> for ReadFailure {
    fn from(err: rusqlite::Error) -> Self {
        Self::Sql(err)
    }
}

/// Makes an empty database a store.
pub(crate) fn create(connection: &Connection, cluster_id: &str) -> rusqlite::Result<()> {
    // Whether a file gives space back is fixed when it is first written; the vacuum makes it so in any case.
    connection.execute_batch("PRAGMA auto_vacuum = INCREMENTAL; VACUUM;")?;
    let transaction = connection.unchecked_transaction()?;
    transaction.execute_batch(CREATE)?;
    set_meta(&transaction, meta::CLUSTER_ID, &cluster_id)?;
    set_meta(&transaction, meta::COMPACT_REVISION, &0)?;
    set_meta(&transaction, meta::COMPACTED_TO, &0)?;
    set_meta(&transaction, meta::REVISION_FLOOR, &1)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", FORMAT)?;
    transaction.commit()
}

pub(crate) fn set_meta(connection: &Connection, name: &str, value: &dyn ToSql) -> rusqlite::Result<()> {
    let sql = "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    connection.prepare_cached(sql)?.execute(params![name, value]).map(drop)
}

pub(crate) fn get_meta<T: FromSql>(connection: &Connection, name: &str) -> rusqlite::Result<T> {
    connection.prepare_cached("SELECT value FROM meta WHERE name = ?1")?.query_row([name], |row| row.get(0))
}

/// The current revision.
pub(crate) fn revision(connection: &Connection) -> rusqlite::Result<Revision> {
    let newest = "SELECT revision FROM revisions ORDER BY revision DESC LIMIT 1";
    let newest: Option<Revision> = connection.prepare_cached(newest)?.query_row([], |row| row.get(0)).optional()?;
    Ok(newest.unwrap_or(0).max(get_meta(connection, meta::REVISION_FLOOR)?))
}

/// The columns that [`read_row`] reads, of the table with this alias.
pub(crate) fn columns(alias: &str) -> String {
    ["revision", "key", "value", "create_revision", "version", "previous", "checksum"]
        .map(|column| format!("{alias}.{column}"))
        .join(", ")
}

/// How many columns a row has.
pub(crate) const COLUMNS: usize = 7;

/// Writes the row of an event.
pub(crate) fn insert(connection: &Connection, event: &Event) -> rusqlite::Result<()> {
    let kv = &event.kv;
    let previous = event.prev_kv.as_ref().map_or(0, |previous| previous.mod_revision);
    let sql = "INSERT INTO revisions (revision, key, value, create_revision, version, previous, checksum)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    connection
        .prepare_cached(sql)?
        .execute(params![
            kv.mod_revision,
            &kv.key[..],
            &kv.value[..],
            kv.create_revision,
            kv.version,
            previous,
            checksum(kv, previous)
        ])
        .map(drop)
}

/// Reads the state that a row holds, from its columns `first..first + COLUMNS`. A deletion has version 0.
pub(crate) fn read_row(row: &rusqlite::Row<'_>, first: usize) -> Result<KeyValue, ReadFailure> {
    let bytes = |column: usize| -> rusqlite::Result<Bytes> {
        Ok(Bytes::copy_from_slice(row.get_ref(first + column)?.as_blob().map_err(rusqlite::Error::from)?))
    };
    let kv = KeyValue {
        mod_revision: row.get(first)?,
        key: bytes(1)?,
        value: bytes(2)?,
        create_revision: row.get(first + 3)?,
        version: row.get(first + 4)?,
    };
    let (previous, stored): (Revision, u32) = (row.get(first + 5)?, row.get(first + 6)?);
    if checksum(&kv, previous) != stored {
        return Err(ReadFailure::Corrupt(kv.mod_revision));
    }
    Ok(kv)
}

/// Reads an event: the columns of its row, then those of the row it superseded, null where there is none.
pub(crate) fn read_event(row: &rusqlite::Row<'_>) -> Result<Event, ReadFailure> {
    let kv = read_row(row, 0)?;
    let prev_kv = match row.get::<_, Option<Revision>>(COLUMNS)? {
        Some(_) => Some(read_row(row, COLUMNS)?),
        None => None,
    };
    if kv.version == 0 {
        return Ok(Event { kind: EventKind::Delete, kv: deleted(kv.key, kv.mod_revision), prev_kv });
    }
    Ok(Event { kind: EventKind::Put, kv, prev_kv })
}

fn checksum(kv: &KeyValue, previous: Revision) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for number in [kv.mod_revision, kv.create_revision, kv.version, previous] {
        hasher.update(&number.to_le_bytes());
    }
    hasher.update(&(kv.key.len() as u64).to_le_bytes());
    hasher.update(&kv.key);
    hasher.update(&kv.value);
    hasher.finalize()
}
