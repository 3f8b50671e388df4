//! The embedded engine: durable, in one directory, on SQLite.
//!
//! One thread writes and commits in groups ([`writer`]); current reads are served from an immutable map in memory,
//! history is read from disk ([`reader`]); what passes between them is in the hub. A write is acknowledged, and
//! shown to reads and watches, after it is durable.

mod compact;
pub(crate) mod disk;
#[cfg(test)]
mod fault;
#[cfg(test)]
mod kill;
mod lock;
mod open;
mod reader;
mod schema;
mod snapshot;
#[cfg(test)]
mod tests;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use async_trait::async_trait;
use base::Env;
use rusqlite::ErrorCode;
use tokio::sync::{mpsc, oneshot};

pub use lock::LockError;
pub use open::OpenError;
pub use snapshot::{RestoreError, RestoreOptions, SnapshotError, SnapshotInfo};

use self::compact::Compaction;
use self::disk::{Disk, SystemDisk};
use self::open::{DATABASE, Opened};
use self::reader::Reader;
use self::writer::{Command, Writer};
use crate::Store;
use crate::apply;
use crate::error::{CompactError, RangeError, StatusError, StorageError, TxnError, WatchError};
use crate::hub::{Hub, RecentLimits, Snapshot};
use crate::types::{RangeRequest, RangeResponse, Revision, StoreStatus, Txn, TxnResponse};
use crate::watch::{self, History, Watch, WatchRequest};

/// How many writes may wait for the writer; further callers wait for room.
const WAITING_WRITES: usize = 1024;

/// How to open an [`Embedded`] store.
#[derive(Clone, Debug)]
pub struct EmbeddedConfig {
    /// The data directory; created where it does not exist.
    pub dir: PathBuf,
    /// Time and randomness.
    pub env: Env,
    /// The cluster that the directory must belong to; a new directory gets it. `None` opens any cluster's, and gives
    /// a new directory a random one.
    pub cluster_id: Option<String>,
    pub(crate) recent: RecentLimits,
    pub(crate) disk: Arc<dyn Disk>,
}

impl EmbeddedConfig {
    /// Opens the store in `dir`, whichever cluster's it is.
    pub fn new(dir: impl Into<PathBuf>, env: Env) -> Self {
        let recent = RecentLimits { events: 8192, bytes: 16 * 1024 * 1024 };
        Self { dir: dir.into(), env, cluster_id: None, recent, disk: Arc::new(SystemDisk) }
    }
}

/// The durable [`Store`] in a directory. Dropping it waits until what was sent to it is written.
#[derive(Debug)]
pub struct Embedded {
    dir: PathBuf,
    env: Env,
    cluster_id: String,
    hub: Arc<Hub>,
    reader: Arc<Reader>,
    /// Both are there until the drop.
    commands: Option<mpsc::Sender<Command>>,
    writer: Option<JoinHandle<()>>,
}

impl Embedded {
    /// Opens the store and reads its live keys into memory. Blocks on the disk.
    pub fn open(config: EmbeddedConfig) -> Result<Self, OpenError> {
        let EmbeddedConfig { dir, env, cluster_id, recent, disk } = config;
        let Opened { lock, connection, cluster_id, snapshot, compacted_to } =
            open::open(&dir, cluster_id.as_deref(), &env)?;
        let lock = Arc::new(lock);
        let compaction = Compaction::resume(compacted_to, snapshot.compact_revision);
        let hub = Arc::new(Hub::new(snapshot, recent));
        let (sender, commands) = mpsc::channel(WAITING_WRITES);
        let reader = Arc::new(Reader::new(dir.clone(), Arc::clone(&lock)));
        let (writer_dir, writer_hub) = (dir.clone(), Arc::clone(&hub));
        let writer = Writer {
            dir: writer_dir,
            connection,
            disk,
            hub: writer_hub,
            commands,
            compaction,
            log_bytes: 0,
            _lock: lock,
        };
        let thread = std::thread::Builder::new().name("store-writer".to_owned()).spawn(move || writer.run());
        let writer = thread.map_err(|source| OpenError::Thread { path: dir.join(DATABASE), source })?;
        Ok(Self { dir, env, cluster_id, hub, reader, commands: Some(sender), writer: Some(writer) })
    }

    /// The identity of the cluster whose data this is: given or made up when the directory was created.
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// Writes a consistent copy of the store to the file `path`, which must not exist. Writes go on meanwhile; the
    /// file appears under its name when it is complete and durable.
    pub async fn snapshot(&self, path: &Path) -> Result<SnapshotInfo, SnapshotError> {
        snapshot::snapshot(&self.reader, path).await
    }

    /// Makes the snapshot at `path` the store in `dir`, which must not have one. Blocks on the disk.
    pub fn restore(path: &Path, dir: &Path, options: RestoreOptions) -> Result<(), RestoreError> {
        snapshot::restore(path, dir, options)
    }

    /// Sends a command to the writer, waiting for room, and waits for its answer.
    async fn ask<T, E: From<StorageError>>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, E>>) -> Command,
    ) -> Result<T, E> {
        let (sender, answer) = oneshot::channel();
        let commands = self.commands.as_ref().ok_or(StorageError::Stopped)?;
        commands.send(command(sender)).await.map_err(|_| StorageError::Stopped)?;
        answer.await.map_err(|_| StorageError::Stopped)?
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        drop(self.commands.take());
        if self.writer.take().is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("the thread that writes the store had panicked");
        }
    }
}

#[async_trait]
impl Store for Embedded {
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, RangeError> {
        let Snapshot { revision: current, compact_revision, live } = self.hub.snapshot();
        match request.revision {
            Some(requested) if requested > current => Err(RangeError::FutureRevision { requested, current }),
            Some(requested) if requested < compact_revision => {
                Err(RangeError::Compacted { requested, compact_revision })
            }
            Some(requested) if requested < current => {
                drop(live);
                self.reader.range(request, requested, current).await
            }
            _ => Ok(apply::range(&live, current, &request)),
        }
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse, TxnError> {
        txn.check()?;
        self.ask(|answer| Command::Txn(txn, answer)).await
    }

    async fn watch(&self, request: WatchRequest) -> Result<Watch, WatchError> {
        let history: Arc<dyn History> = Arc::new(Arc::clone(&self.reader));
        watch::start(&self.hub, history, self.env.clone(), request)
    }

    async fn compact(&self, revision: Revision) -> Result<(), CompactError> {
        self.ask(|answer| Command::Compact(revision, answer)).await
    }

    async fn status(&self) -> Result<StoreStatus, StatusError> {
        let (revision, compact_revision) = self.hub.revisions();
        let mut bytes = 0;
        for name in [DATABASE, "store.db-wal"] {
            let path = self.dir.join(name);
            match tokio::fs::metadata(&path).await {
                Ok(metadata) => bytes += metadata.len(),
                Err(err) if err.kind() == std::io::ErrorKind::NotFound => {}
                Err(err) => return Err(StatusError::Size { path, source: Arc::new(err) }),
            }
        }
        Ok(StoreStatus { revision, compact_revision, bytes })
    }
}

/// What an error of the database means for the caller.
fn storage_error(dir: &Path, err: rusqlite::Error) -> StorageError {
    match err.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StorageError::DiskFull { dir: dir.to_owned() },
        _ => StorageError::Io { dir: dir.to_owned(), source: Arc::new(err) },
    }
}
