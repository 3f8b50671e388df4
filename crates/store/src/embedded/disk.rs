//! The points at which the engine makes something durable: the seam where tests inject failures and crashes.

use std::fmt::Debug;

use rusqlite::Connection;

/// How far a checkpoint goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checkpoint {
    /// Moves what it can from the write-ahead log to the database, and waits for no reader.
    Passive,
    /// The same, and empties the log's file where no reader needs it.
    Truncate,
}

/// What the writer's connection does to the disk.
///
/// All calls come from the writer, one at a time, and between them nothing that was made durable changes: data
/// reaches the write-ahead log in `commit`, and the database file in `checkpoint`, only.
pub(crate) trait Disk: Debug + Send + Sync + 'static {
    /// Commits the open transaction. After success all of it survives a crash. After an error none of it is visible;
    /// after an error and a crash all of it or none of it is there.
    fn commit(&self, connection: &Connection) -> rusqlite::Result<()>;

    /// Moves the write-ahead log's content to the database. Changes nothing that can be seen, whether it succeeds or
    /// not, and may be repeated.
    fn checkpoint(&self, connection: &Connection, mode: Checkpoint) -> rusqlite::Result<()>;
}

/// The disk as SQLite uses it.
#[derive(Debug)]
pub(crate) struct SystemDisk;

impl Disk for SystemDisk {
    fn commit(&self, connection: &Connection) -> rusqlite::Result<()> {
        connection.prepare_cached("COMMIT")?.execute([]).map(drop)
    }

    fn checkpoint(&self, connection: &Connection, mode: Checkpoint) -> rusqlite::Result<()> {
        // The answer says whether readers kept it from finishing; the next checkpoint goes on then.
        let mode = match mode {
            Checkpoint::Passive => "PRAGMA wal_checkpoint(PASSIVE)",
            Checkpoint::Truncate => "PRAGMA wal_checkpoint(TRUNCATE)",
        };
        connection.query_row(mode, [], |_| Ok(()))
    }
}
