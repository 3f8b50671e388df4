//! The errors of the store's operations: one per operation, and what they share.

use std::path::PathBuf;
use std::sync::Arc;

use crate::types::Revision;

/// The storage below an operation failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StorageError {
    /// The disk is full. Writes succeed again when there is space.
    #[error("no space is left for the store in {}", dir.display())]
    DiskFull {
        /// The data directory.
        dir: PathBuf,
    },
    /// Reading or writing failed.
    #[error("reading or writing the store in {} failed", dir.display())]
    Io {
        /// The data directory.
        dir: PathBuf,
        /// What the database said.
        #[source]
        source: Arc<rusqlite::Error>,
    },
    /// A row does not have the content that was written.
    #[error("revision {revision} of the store in {} does not match its checksum", dir.display())]
    Corrupt {
        /// The data directory.
        dir: PathBuf,
        /// The damaged revision.
        revision: Revision,
    },
    /// The store was closed, or stopped because after a failure it could not tell what is on disk.
    #[error("the store is stopped")]
    Stopped,
}

/// Why a range was not read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RangeError {
    /// The revision has been compacted away.
    #[error("revision {requested} has been compacted, the oldest that can be read is {compact_revision}")]
    Compacted {
        /// The revision asked for.
        requested: Revision,
        /// The oldest that can be read.
        compact_revision: Revision,
    },
    /// The store has not reached the revision yet.
    #[error("revision {requested} is in the future, the current one is {current}")]
    FutureRevision {
        /// The revision asked for.
        requested: Revision,
        /// The current revision.
        current: Revision,
    },
    /// The storage failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Why a transaction was not acknowledged.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TxnError {
    /// The key is empty.
    #[error("the key is empty")]
    EmptyKey,
    /// Key and value are larger than a store accepts.
    #[error("the write of {key} has {size} bytes, more than {limit}")]
    TooLarge {
        /// The key.
        key: String,
        /// The size of key and value.
        size: usize,
        /// The most that is accepted.
        limit: usize,
    },
    /// The storage failed. Whether the write took effect is not known; see [`crate::Store::txn`].
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Why a watch was not started, or ended.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WatchError {
    /// Events that the watch should have delivered have been compacted away. Read the range again and watch from
    /// there.
    #[error("revision {requested} has been compacted, the oldest that can be watched from is {compact_revision}")]
    Compacted {
        /// The first revision that the watch still needed.
        requested: Revision,
        /// The oldest that can be watched from.
        compact_revision: Revision,
    },
    /// The storage failed or the store was closed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Why a compaction was not done.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CompactError {
    /// The store has been compacted to this or a later revision already.
    #[error("revision {requested} has been compacted already, the compact revision is {compact_revision}")]
    Compacted {
        /// The revision asked for.
        requested: Revision,
        /// The compact revision.
        compact_revision: Revision,
    },
    /// The store has not reached the revision yet.
    #[error("revision {requested} is in the future, the current one is {current}")]
    FutureRevision {
        /// The revision asked for.
        requested: Revision,
        /// The current revision.
        current: Revision,
    },
    /// The storage failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Why the status could not be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StatusError {
    /// The size of a file could not be read.
    #[error("reading the size of {} failed", path.display())]
    Size {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// The storage failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}
