//! Engine: the revisioned key-value seam and the embedded engine.
//!
//! [`Store`] has etcd's semantics: one global revision that every write advances by one, compare-and-swap on a key's
//! modification revision, ranges at a revision, watches from a revision, and compaction with an error for what is
//! gone. Behind it stand [`Memory`], for tests and simulation, and [`Embedded`], which is durable. Both pass the same
//! suite (`suite`), which compares them with a simple model.

mod apply;
mod embedded;
mod error;
mod hub;
mod memory;
#[cfg(test)]
mod suite;
mod types;
mod watch;

use async_trait::async_trait;

pub use embedded::{
    Embedded, EmbeddedConfig, LockError, OpenError, RestoreError, RestoreOptions, SnapshotError, SnapshotInfo,
};
pub use error::{CompactError, RangeError, StatusError, StorageError, TxnError, WatchError};
pub use memory::Memory;
pub use types::{
    Event, EventKind, KeyRange, KeyValue, MAX_REQUEST_BYTES, Operation, Projection, RangeRequest, RangeResponse,
    Revision, StoreStatus, Txn, TxnResponse,
};
pub use watch::{Progress, Watch, WatchBatch, WatchRequest};

/// A revisioned key-value store.
///
/// An empty store has revision 1; the first write has revision 2. All methods may be called from any number of tasks
/// at once, and every method is linearizable: what a finished call has shown or done, every later call sees.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Reads the keys of a range in byte order, at the current revision or at an earlier one.
    ///
    /// Reads at revisions from the compact revision (inclusive) to the current one succeed, others fail with
    /// [`RangeError::Compacted`] or [`RangeError::FutureRevision`]. The answer is one consistent snapshot; pages of a
    /// list are read at the `revision` of the first answer. Cancel safe.
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, RangeError>;

    /// Compares and writes one key, atomically.
    ///
    /// The answer comes after the write is durable, and only then do reads and watches see it. Each write gets the
    /// next revision, in the order in which the writes take effect. Deleting a key that does not exist succeeds and
    /// writes nothing. After [`TxnError::Storage`] it is not known whether the write took effect: it is not seen by
    /// this store now, but may be after a crash; a caller that retries has to compare. Not idempotent unless it
    /// compares. Dropping the future does not take the write back.
    async fn txn(&self, txn: Txn) -> Result<TxnResponse, TxnError>;

    /// Follows the writes to a range, from a revision on (inclusive) or from now on.
    ///
    /// Events come in the order of their revisions, each exactly once, without a gap between history and what is
    /// new. The store keeps no buffer for a slow watcher: it reads what it missed from disk. When that has been
    /// compacted away meanwhile, the watch ends with [`WatchError::Compacted`]. A start below the compact revision
    /// fails at once; a start in the future waits for it. The watch ends when it is dropped.
    async fn watch(&self, request: WatchRequest) -> Result<Watch, WatchError>;

    /// Forgets all history before `revision`: what a read at `revision` does not show, and no event from `revision`
    /// on needs.
    ///
    /// When it returns, the compact revision is durable and earlier reads and watches fail; the space is given back
    /// in the background, in steps between writes. A revision at or below the compact revision fails with
    /// [`CompactError::Compacted`], one in the future with [`CompactError::FutureRevision`].
    async fn compact(&self, revision: Revision) -> Result<(), CompactError>;

    /// The revisions and the size of the store. The current revision is at least that of every finished write.
    async fn status(&self) -> Result<StoreStatus, StatusError>;
}
