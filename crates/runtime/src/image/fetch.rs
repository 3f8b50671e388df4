//! Fetching one blob: in pieces, over as many connections as it takes.

use std::time::Duration;

use base::Env;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::content::{ContentError, Incoming};
use super::growth::Follower;
use super::progress::Progress;
use super::registry::{Registry, RegistryError};
use super::{ContentStore, Digest};

/// How often a connection may break without having brought anything.
const ATTEMPTS: u32 = 5;

/// For how many of these one counts that was silent until patience ended: whoever waits is to hear of the second.
const SILENCE: u32 = 3;

/// How long to wait before the next connection; each further one that brings nothing waits twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// Pieces that wait for the disk.
const PIECES: usize = 16;

/// Why a blob did not come.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// No host gives it.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// It cannot be stored, or is another one.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// Connections end before it is whole.
    #[error("the registry ended the answer after {got} of {size} bytes")]
    Short {
        /// What came.
        got: u64,
        /// What should have come.
        size: u64,
    },
    /// The process ends.
    #[error("the work was broken off")]
    Aborted,
}

/// A blob to fetch.
pub(crate) struct Wanted<'a> {
    /// Its name.
    pub digest: &'a Digest,
    /// Its size, where the manifest says it.
    pub size: Option<u64>,
    /// The most that it may have.
    pub limit: u64,
    /// Told how to read it while it comes, each time that it begins to.
    pub begun: &'a (dyn Fn(Follower) + Sync),
}

/// Fetches a blob into `content`. The caller sees to it that nobody else fetches the same one.
pub(crate) async fn fetch(
    registry: &Registry,
    content: &ContentStore,
    wanted: Wanted<'_>,
    progress: &Progress,
    env: &Env,
) -> Result<(), FetchError> {
    let digest = wanted.digest;
    loop {
        let begun = begin(content, digest).await?;
        let resumed = begun.size() > 0;
        (wanted.begun)(begun.follow());
        let received = receive(registry, begun, &wanted, progress, env).await;
        if matches!(received, Err(FetchError::Content(ContentError::Disk(_)))) {
            // What the disk had no room for must not keep it full. What cannot be removed is told by what follows.
            let _ = content.abandon(digest);
        }
        let incoming = received?;
        let (store, expected) = (content.clone(), digest.clone());
        let accepted = blocking(move || store.accept(incoming, &expected)).await?;
        match accepted {
            // What was here before may be what is wrong: a power failure leaves such parts.
            Err(ContentError::Mismatch { .. }) if resumed => {
                tracing::warn!(%digest, "what was kept of a blob is damaged; fetching all of it");
            }
            Err(err) => return Err(err.into()),
            Ok(()) => return Ok(()),
        }
    }
}

async fn begin(content: &ContentStore, digest: &Digest) -> Result<Incoming, FetchError> {
    let (store, digest) = (content.clone(), digest.clone());
    Ok(blocking(move || store.incoming(&digest)).await??)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, FetchError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| FetchError::Aborted)
}

/// Goes on with a blob until nothing of it is missing.
async fn receive(
    registry: &Registry,
    begun: Incoming,
    wanted: &Wanted<'_>,
    progress: &Progress,
    env: &Env,
) -> Result<Incoming, FetchError> {
    let mut writer = Writer::start(begun);
    let (mut failures, mut wait, mut reached) = (0, FIRST_WAIT, writer.received);
    loop {
        let err = match pass(registry, &mut writer, wanted, progress).await {
            Ok(()) => return writer.finish().await,
            Err(err) => err,
        };
        let passing = match &err {
            FetchError::Registry(err) => err.is_passing(),
            FetchError::Short { .. } => true,
            FetchError::Content(_) | FetchError::Aborted => false,
        };
        if writer.received > reached {
            (failures, wait, reached) = (0, FIRST_WAIT, writer.received);
        }
        let is_silence = matches!(&err, FetchError::Registry(err) if err.is_silence());
        failures += if is_silence { SILENCE } else { 1 };
        if !passing || failures >= ATTEMPTS {
            // A failing disk explains more than a writer that is gone.
            let stopped = writer.finish().await;
            return stopped.and(Err(err));
        }
        tracing::info!(digest = %wanted.digest, at = writer.received, %err, "going on with a blob after an error");
        env.sleep(env.random().jitter(wait, 0.5)).await;
        wait *= 2;
    }
}

/// One connection.
async fn pass(
    registry: &Registry,
    writer: &mut Writer,
    wanted: &Wanted<'_>,
    progress: &Progress,
) -> Result<(), FetchError> {
    if wanted.size.is_some_and(|size| size == writer.received) {
        return Ok(());
    }
    let mut blob = registry.blob(wanted.digest, writer.received).await?;
    let size = wanted.size.or(blob.length.map(|length| blob.offset + length));
    // A registry that cannot begin in the middle sends what is here already.
    let mut known = writer.received.saturating_sub(blob.offset);
    while let Some(piece) = blob.chunk().await? {
        let skipped = known.min(piece.len() as u64);
        known -= skipped;
        let piece = piece.slice(usize::try_from(skipped).unwrap_or(usize::MAX)..);
        if piece.is_empty() {
            continue;
        }
        let limit = wanted.size.unwrap_or(wanted.limit);
        if writer.received + piece.len() as u64 > limit {
            return Err(ContentError::TooLarge(limit).into());
        }
        let length = piece.len() as u64;
        writer.write(piece).await?;
        progress.blob(wanted.digest, writer.received, length, size);
    }
    match size {
        Some(size) if writer.received < size => Err(FetchError::Short { got: writer.received, size }),
        _ => Ok(()),
    }
}

/// A thread that hashes and writes, so that the network does not wait for the disk.
struct Writer {
    pieces: mpsc::Sender<Bytes>,
    /// How much was given to the thread, what was there before included.
    received: u64,
    thread: JoinHandle<Result<Incoming, ContentError>>,
}

impl Writer {
    fn start(mut incoming: Incoming) -> Self {
        let (sender, mut receiver) = mpsc::channel::<Bytes>(PIECES);
        let received = incoming.size();
        let thread = tokio::task::spawn_blocking(move || {
            while let Some(piece) = receiver.blocking_recv() {
                incoming.write(&piece)?;
            }
            Ok(incoming)
        });
        Self { pieces: sender, received, thread }
    }

    async fn write(&mut self, piece: Bytes) -> Result<(), FetchError> {
        self.received += piece.len() as u64;
        self.pieces.send(piece).await.map_err(|_| FetchError::Aborted)
    }

    /// Waits until all is written.
    async fn finish(self) -> Result<Incoming, FetchError> {
        drop(self.pieces);
        Ok(self.thread.await.map_err(|_| FetchError::Aborted)??)
    }
}
