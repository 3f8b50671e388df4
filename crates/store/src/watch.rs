//! Watches: the handle that a caller reads, and the cursor behind it for engines in this process.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use base::Env;
use futures::Stream;
use futures::stream::{self, BoxStream, StreamExt};
use tokio::sync::Notify;

use crate::error::WatchError;
use crate::hub::{Hub, Registration, Take};
use crate::types::{Event, KeyRange, Revision};

/// What to watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchRequest {
    /// The keys.
    pub range: KeyRange,
    /// The first revision whose events to deliver; `None` delivers what is written after the watch began.
    pub start_revision: Option<Revision>,
    /// Whether events carry the state before.
    pub prev_kv: bool,
    /// Sends a progress notification when nothing was sent for this long.
    pub progress_interval: Option<Duration>,
}

impl WatchRequest {
    /// Watches `range` from now on, with previous states and no periodic progress.
    pub fn new(range: KeyRange) -> Self {
        Self { range, start_revision: None, prev_kv: true, progress_interval: None }
    }

    /// The same, from `revision` on (inclusive).
    pub fn from_revision(self, revision: Revision) -> Self {
        Self { start_revision: Some(revision), ..self }
    }
}

/// Some events, or a progress notification where `events` is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchBatch {
    /// The events in the order of their revisions.
    pub events: Vec<Event>,
    /// Every event of the watch up to this revision (inclusive) has been delivered with this batch or before it.
    pub revision: Revision,
}

/// A running watch: a stream that ends after its first error. Dropping it ends the watch.
pub struct Watch {
    batches: BoxStream<'static, Result<WatchBatch, WatchError>>,
    progress: Progress,
}

impl Watch {
    /// A watch that reads `batches`; the engine sends a progress notification whenever `progress` is notified.
    pub(crate) fn new(batches: BoxStream<'static, Result<WatchBatch, WatchError>>, progress: Arc<Notify>) -> Self {
        Self { batches, progress: Progress(progress) }
    }

    /// A handle to ask for progress notifications while the watch itself is being read elsewhere.
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }
}

impl Stream for Watch {
    type Item = Result<WatchBatch, WatchError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.batches.poll_next_unpin(context)
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Watch").finish_non_exhaustive()
    }
}

/// Asks a watch for a progress notification.
#[derive(Clone, Debug)]
pub struct Progress(Arc<Notify>);

impl Progress {
    /// Asks for a batch whose revision is at least the store's revision at this call.
    ///
    /// Requests that are made before the watch answers are answered together. Asking an ended watch does nothing.
    pub fn request(&self) {
        self.0.notify_one();
    }
}

/// A part of the history to look for events in.
#[derive(Clone, Debug)]
pub(crate) struct Scan {
    pub range: KeyRange,
    /// The first revision.
    pub from: Revision,
    /// The end, exclusive.
    pub before: Revision,
}

/// What a step through the history found.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub events: Vec<Event>,
    /// The first revision that was not looked at; at most the end of the scan.
    pub next: Revision,
}

/// Where an engine keeps the events that are not recent any more.
#[async_trait]
pub(crate) trait History: Send + Sync + 'static {
    /// Reads a bounded number of events from the start of `scan` on, in order. It makes progress: `next > from`
    /// whenever `before > from`. Fails with [`WatchError::Compacted`] when events from `scan.from` on are gone.
    async fn read(&self, scan: Scan) -> Result<Chunk, WatchError>;
}

/// Starts a watch on `hub`, with `history` for what its recent events do not reach back to.
pub(crate) fn start(
    hub: &Arc<Hub>,
    history: Arc<dyn History>,
    env: Env,
    request: WatchRequest,
) -> Result<Watch, WatchError> {
    let registration = Hub::register(hub, &request)?;
    let progress = Arc::new(Notify::new());
    let cursor = Cursor { registration, history, env, request, progress: Arc::clone(&progress), asked: false };
    let batches = stream::unfold(Some(cursor), |cursor| async move {
        let mut cursor = cursor?;
        match cursor.next().await {
            Ok(batch) => Some((Ok(batch), Some(cursor))),
            Err(err) => Some((Err(err), None)),
        }
    });
    Ok(Watch::new(batches.boxed(), progress))
}

/// The state of one watch: all it holds between two batches is its place in the hub.
struct Cursor {
    registration: Registration,
    history: Arc<dyn History>,
    env: Env,
    request: WatchRequest,
    progress: Arc<Notify>,
    /// Progress was asked for and not sent yet.
    asked: bool,
}

impl Cursor {
    async fn next(&mut self) -> Result<WatchBatch, WatchError> {
        loop {
            match self.registration.take()? {
                Take::Events(batch) => return Ok(self.trimmed(batch)),
                Take::Again => {}
                Take::History { from, before } => {
                    let scan = Scan { range: self.request.range.clone(), from, before };
                    let chunk = self.history.read(scan).await?;
                    self.registration.advance(chunk.next);
                    if !chunk.events.is_empty() {
                        return Ok(self.trimmed(WatchBatch { events: chunk.events, revision: chunk.next - 1 }));
                    }
                }
                Take::Idle { revision } => {
                    if std::mem::take(&mut self.asked) {
                        return Ok(WatchBatch { events: Vec::new(), revision });
                    }
                    self.wait().await;
                }
            }
        }
    }

    /// Waits for events or a reason to send progress.
    async fn wait(&mut self) {
        let interval = async {
            match self.request.progress_interval {
                Some(interval) => self.env.sleep(interval).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.registration.woken() => {}
            () = self.progress.notified() => self.asked = true,
            () = interval => self.asked = true,
        }
    }

    fn trimmed(&self, mut batch: WatchBatch) -> WatchBatch {
        if !self.request.prev_kv {
            batch.events.iter_mut().for_each(|event| event.prev_kv = None);
        }
        batch
    }
}
