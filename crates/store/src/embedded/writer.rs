//! The one thread that writes. It takes all transactions that wait, applies them one after the other to the live keys,
//! and commits them together: one sync for all. Only then it shows them to readers and answers.

use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::compact::{Compaction, in_transaction};
use super::disk::{Checkpoint, Disk};
use super::lock::DirLock;
use super::schema;
use super::storage_error;
use crate::apply::{Live, apply};
use crate::error::{CompactError, StorageError, TxnError};
use crate::hub::{Hub, Snapshot};
use crate::types::{Event, Revision, Txn, TxnResponse};

/// The most transactions in one group.
const GROUP_TXNS: usize = 512;
/// The bytes after which a group is full.
const GROUP_BYTES: usize = 4 * 1024 * 1024;
/// What the write-ahead log may grow by before a checkpoint.
const CHECKPOINT_BYTES: usize = 8 * 1024 * 1024;
/// What a commit adds to the log beside values: the inner pages of table and index.
const COMMIT_OVERHEAD: usize = 32 * 1024;
/// What a row adds to the log beside its value.
const ROW_OVERHEAD: usize = 4 * 1024;

/// What the thread is asked to do.
#[derive(Debug)]
pub(crate) enum Command {
    Txn(Txn, oneshot::Sender<Result<TxnResponse, TxnError>>),
    Compact(Revision, oneshot::Sender<Result<(), CompactError>>),
}

/// A transaction that was applied to the pending state, and who waits for its answer.
type Applied = (TxnResponse, oneshot::Sender<Result<TxnResponse, TxnError>>);

/// The state of the thread.
pub(crate) struct Writer {
    pub dir: PathBuf,
    pub connection: Connection,
    pub disk: Arc<dyn Disk>,
    pub hub: Arc<Hub>,
    pub commands: mpsc::Receiver<Command>,
    pub compaction: Compaction,
    /// An estimate of what the log has grown by since the last checkpoint.
    pub log_bytes: usize,
    pub _lock: Arc<DirLock>,
}

/// Ends the watches when the thread ends, also by a panic.
struct CloseOnDrop(Arc<Hub>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Writer {
    /// Serves until all senders are gone and everything they sent is answered, or until it cannot tell any more what
    /// is on disk. Commands that are left then, and later ones, find the channel closed.
    pub fn run(mut self) {
        let _close = CloseOnDrop(Arc::clone(&self.hub));
        while let Some(command) = self.next_command() {
            let served = match command {
                Command::Txn(txn, answer) => self.serve_group(txn, answer),
                Command::Compact(revision, answer) => self.begin_compaction(revision, answer),
            };
            if served.is_err() {
                return;
            }
        }
        if let Err(err) = self.disk.checkpoint(&self.connection, Checkpoint::Truncate) {
            // The log is read at the next start.
            tracing::debug!(err = &err as &dyn std::error::Error, "the last checkpoint of the store failed");
        }
    }

    /// Waits for a command, and compacts while there is none. One step is done between any two commands, so that
    /// compaction comes to its end under load too.
    fn next_command(&mut self) -> Option<Command> {
        while self.compaction.has_work() {
            self.compaction.step(&self.connection, &*self.disk);
            match self.commands.try_recv() {
                Ok(command) => return Some(command),
                Err(mpsc::error::TryRecvError::Empty) => {}
                Err(mpsc::error::TryRecvError::Disconnected) => return None,
            }
        }
        self.commands.blocking_recv()
    }

    /// Applies the first transaction and all that wait behind it, commits, publishes, answers.
    fn serve_group(&mut self, first: Txn, answer: oneshot::Sender<Result<TxnResponse, TxnError>>) -> Result<(), Stop> {
        let Snapshot { mut live, mut revision, .. } = self.hub.snapshot();
        let durable = revision;
        let (mut applied, mut events, mut bytes) = (Vec::new(), Vec::new(), 0);
        let mut compact = None;
        let mut next = Some((first, answer));
        while let Some((txn, answer)) = next.take() {
            bytes += txn.size();
            let (response, event) = apply(&mut live, &mut revision, txn);
            events.extend(event);
            applied.push((response, answer));
            if applied.len() < GROUP_TXNS && bytes < GROUP_BYTES {
                match self.commands.try_recv() {
                    Ok(Command::Txn(txn, answer)) => next = Some((txn, answer)),
                    Ok(Command::Compact(revision, answer)) => compact = Some((revision, answer)),
                    // A closed channel is seen by the next wait for a command.
                    Err(_) => {}
                }
            }
        }
        self.commit_group(applied, events, live, durable, bytes)?;
        match compact {
            Some((revision, answer)) => self.begin_compaction(revision, answer),
            None => Ok(()),
        }
    }

    fn commit_group(
        &mut self,
        applied: Vec<Applied>,
        events: Vec<Event>,
        live: Live,
        durable: Revision,
        bytes: usize,
    ) -> Result<(), Stop> {
        if events.is_empty() {
            // Nothing pending was seen by anyone: all compares were made with the durable state.
            answer_all(applied);
            return Ok(());
        }
        let rows = events.len();
        let committed = in_transaction(&self.connection, &*self.disk, |connection| {
            events.iter().try_for_each(|event| schema::insert(connection, event))
        });
        match committed {
            Ok(()) => {
                self.hub.publish(live, events);
                answer_all(applied);
                self.compaction.unblock();
                self.checkpoint_when_due(bytes + rows * ROW_OVERHEAD + COMMIT_OVERHEAD);
                Ok(())
            }
            Err(err) => {
                let err = storage_error(&self.dir, err);
                tracing::error!(err = &err as &dyn std::error::Error, "a group of writes was not committed");
                let end = self.check_after_failure(durable, &err);
                for (_, answer) in applied {
                    // Who does not wait any more does not need the answer.
                    let _ = answer.send(Err(err.clone().into()));
                }
                end
            }
        }
    }

    fn begin_compaction(
        &mut self,
        revision: Revision,
        answer: oneshot::Sender<Result<(), CompactError>>,
    ) -> Result<(), Stop> {
        let (current, compact_revision) = self.hub.revisions();
        let (result, end) = if revision > current {
            (Err(CompactError::FutureRevision { requested: revision, current }), Ok(()))
        } else if revision <= compact_revision {
            (Err(CompactError::Compacted { requested: revision, compact_revision }), Ok(()))
        } else {
            match self.compaction.begin(&self.connection, &*self.disk, revision) {
                Ok(()) => {
                    self.hub.compacted(revision);
                    (Ok(()), Ok(()))
                }
                Err(err) => {
                    let err = storage_error(&self.dir, err);
                    let end = self.check_after_failure(current, &err);
                    (Err(err.into()), end)
                }
            }
        };
        // Who does not wait any more does not need the answer.
        let _ = answer.send(result);
        end
    }

    /// After a failed commit the database must be as before it; if that cannot be seen, nothing more is written.
    fn check_after_failure(&mut self, durable: Revision, err: &StorageError) -> Result<(), Stop> {
        if matches!(err, StorageError::DiskFull { .. }) {
            // Where readers allow it this makes the log reusable, which may be all the space there is.
            let _ = self.disk.checkpoint(&self.connection, Checkpoint::Passive);
        }
        let found = if self.connection.is_autocommit() { schema::revision(&self.connection).ok() } else { None };
        if found == Some(durable) {
            return Ok(());
        }
        tracing::error!(revision = durable, "the store is stopped: its state on disk is not known after a failure");
        Err(Stop)
    }

    fn checkpoint_when_due(&mut self, written: usize) {
        self.log_bytes += written;
        if self.log_bytes < CHECKPOINT_BYTES {
            return;
        }
        self.log_bytes = 0;
        if let Err(err) = self.disk.checkpoint(&self.connection, Checkpoint::Passive) {
            // What was committed stays in the log.
            tracing::warn!(err = &err as &dyn std::error::Error, "a checkpoint of the store failed");
        }
    }
}

/// The thread cannot go on.
#[derive(Debug)]
struct Stop;

fn answer_all(applied: Vec<Applied>) {
    for (response, answer) in applied {
        // Who does not wait any more does not need the answer.
        let _ = answer.send(Ok(response));
    }
}
