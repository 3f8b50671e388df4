//! Reads of history from disk, on connections of their own beside the writer.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::{Connection, params};
use tokio::sync::Semaphore;

use super::lock::DirLock;
use super::open::open_reader;
use super::schema::{self, ReadFailure, meta};
use super::storage_error;
use crate::error::{RangeError, StorageError, WatchError};
use crate::hub::{BATCH_BYTES, BATCH_EVENTS};
use crate::types::{KeyValue, Projection, RangeRequest, RangeResponse, Revision};
use crate::watch::{Chunk, History, Scan};

/// How many reads run at once; others wait.
const CONNECTIONS: usize = 4;
/// The most rows that one step through the history looks at, so that it does not keep the log from being reused.
const STEP_ROWS: Revision = 10_000;

/// The reading connections of a store.
#[derive(Debug)]
pub(crate) struct Reader {
    dir: PathBuf,
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
    /// The directory stays locked while something may read it.
    _lock: Arc<DirLock>,
}

impl Reader {
    pub fn new(dir: PathBuf, lock: Arc<DirLock>) -> Self {
        Self { dir, idle: Mutex::default(), permits: Arc::new(Semaphore::new(CONNECTIONS)), _lock: lock }
    }

    /// Runs `read` in one read transaction on a thread for blocking work. Cancelling does not stop a running read.
    pub async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Connection) -> Result<T, ReadFailure> + Send + 'static,
    ) -> Result<T, ReadFailureOr<StorageError>> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| StorageError::Stopped)?;
        let reader = Arc::clone(self);
        let blocking = move || {
            let _permit = permit;
            let connection = match reader.take() {
                Some(connection) => connection,
                None => open_reader(&reader.dir)?,
            };
            let result = {
                let transaction = connection.unchecked_transaction()?;
                read(&transaction)
            };
            reader.put(connection);
            result
        };
        // A blocking task fails only when it panics or the runtime shuts down.
        let result = tokio::task::spawn_blocking(blocking).await.map_err(|_| StorageError::Stopped)?;
        result.map_err(|failure| match failure {
            ReadFailure::Sql(err) => ReadFailureOr::Other(storage_error(&self.dir, err)),
            ReadFailure::Corrupt(revision) => {
                ReadFailureOr::Other(StorageError::Corrupt { dir: self.dir.clone(), revision })
            }
            ReadFailure::Compacted(compact_revision) => ReadFailureOr::Compacted(compact_revision),
        })
    }

    /// Reads a range at `revision`, which is not in the future; `current` is the store's revision for the answer.
    pub async fn range(
        self: &Arc<Self>,
        request: RangeRequest,
        revision: Revision,
        current: Revision,
    ) -> Result<RangeResponse, RangeError> {
        let found = self.read(move |connection| range_at(connection, &request, revision)).await;
        let (kvs, more, count) = found.map_err(|failure| match failure {
            ReadFailureOr::Compacted(compact_revision) => {
                RangeError::Compacted { requested: revision, compact_revision }
            }
            ReadFailureOr::Other(err) => err.into(),
        })?;
        Ok(RangeResponse { revision: current, kvs, more, count })
    }

    fn take(&self) -> Option<Connection> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn put(&self, connection: Connection) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }
}

/// A failed read, as callers outside the transaction see it.
#[derive(Debug)]
pub(crate) enum ReadFailureOr<E> {
    /// The compact revision has passed what was asked for.
    Compacted(Revision),
    Other(E),
}

impl From<StorageError> for ReadFailureOr<StorageError> {
    fn from(err: StorageError) -> Self {
        Self::Other(err)
    }
}

/// Fails if `revision` has been compacted, as this transaction sees it.
fn check_compacted(connection: &Connection, revision: Revision) -> Result<(), ReadFailure> {
    let compact_revision = schema::get_meta(connection, meta::COMPACT_REVISION)?;
    if revision < compact_revision { Err(ReadFailure::Compacted(compact_revision)) } else { Ok(()) }
}

fn range_at(
    connection: &Connection,
    request: &RangeRequest,
    revision: Revision,
) -> Result<(Vec<KeyValue>, bool, usize), ReadFailure> {
    check_compacted(connection, revision)?;
    let end = request.range.end.as_deref();
    // The index has the newest revision of each key at hand; a bound that may be null would hide the end from it.
    let bounded = if end.is_some() { "AND key < ?2" } else { "AND ?2 IS NULL" };
    let newest = format!(
        "(SELECT key, max(revision) AS newest FROM revisions WHERE key >= ?1 {bounded} AND revision <= ?3 GROUP BY key)
            AS keys JOIN revisions AS r ON r.revision = keys.newest WHERE r.version > 0"
    );
    let mut kvs = Vec::new();
    if request.projection != Projection::CountOnly {
        let sql = format!("SELECT {} FROM {newest} ORDER BY keys.key LIMIT ?4", schema::columns("r"));
        let limit = if request.limit == 0 { -1 } else { i64::try_from(request.limit).unwrap_or(-1) };
        let mut statement = connection.prepare_cached(&sql)?;
        let mut rows = statement.query(params![&request.range.start[..], end, revision, limit])?;
        while let Some(row) = rows.next()? {
            let mut kv = schema::read_row(row, 0)?;
            if request.projection == Projection::KeysOnly {
                kv.value = Bytes::new();
            }
            kvs.push(kv);
        }
        if request.limit == 0 || kvs.len() < request.limit {
            let count = kvs.len();
            return Ok((kvs, false, count));
        }
    }
    let mut statement = connection.prepare_cached(&format!("SELECT count(*) FROM {newest}"))?;
    let count: i64 = statement.query_row(params![&request.range.start[..], end, revision], |row| row.get(0))?;
    let count = usize::try_from(count).unwrap_or(0);
    let more = request.projection != Projection::CountOnly && count > kvs.len();
    Ok((kvs, more, count))
}

#[async_trait]
impl History for Arc<Reader> {
    async fn read(&self, scan: Scan) -> Result<Chunk, WatchError> {
        let from = scan.from;
        Reader::read(self, move |connection| events(connection, &scan)).await.map_err(|failure| match failure {
            ReadFailureOr::Compacted(compact_revision) => WatchError::Compacted { requested: from, compact_revision },
            ReadFailureOr::Other(err) => err.into(),
        })
    }
}

fn events(connection: &Connection, scan: &Scan) -> Result<Chunk, ReadFailure> {
    check_compacted(connection, scan.from)?;
    // The plus signs keep it on the table, which is in the order of revisions, and off the index by key.
    let sql = format!(
        "SELECT {}, {} FROM revisions AS r LEFT JOIN revisions AS p ON p.revision = r.previous
            WHERE r.revision >= ?1 AND r.revision < ?2 AND +r.key >= ?3 AND (?4 IS NULL OR +r.key < ?4)
            ORDER BY r.revision",
        schema::columns("r"),
        schema::columns("p")
    );
    let before = scan.before.min(scan.from + STEP_ROWS);
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params![scan.from, before, &scan.range.start[..], scan.range.end.as_deref()])?;
    let (mut events, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let event = schema::read_event(row)?;
        bytes += event.kv.value.len();
        let revision = event.kv.mod_revision;
        events.push(event);
        if events.len() == BATCH_EVENTS || bytes >= BATCH_BYTES {
            return Ok(Chunk { events, next: revision + 1 });
        }
    }
    Ok(Chunk { events, next: before })
}
