//! Telling who waits for an image how far it is.

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::Digest;

/// Bytes of a blob after which it is told again how far it is.
const STEP: u64 = 1 << 20;

/// What happens with an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum ImageEvent {
    /// The manifest is known.
    Resolved {
        /// Its digest.
        digest: String,
    },
    /// A blob is on its way, in one direction or the other.
    Blob {
        /// Its digest.
        digest: String,
        /// How much of it has gone.
        offset: u64,
        /// How much it is, if that is known.
        total: Option<u64>,
    },
    /// A blob is there already.
    Exists {
        /// Its digest.
        digest: String,
    },
    /// A layer is unpacked.
    Unpacked {
        /// The digest of its blob.
        digest: String,
    },
    /// All is done.
    Done {
        /// The image.
        image: crate::service::ImageInfo,
    },
    /// It failed.
    Failed {
        /// Why.
        message: String,
    },
}

/// Where events go, if anybody listens.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress(Option<mpsc::UnboundedSender<ImageEvent>>);

impl Progress {
    /// To somebody who listens.
    pub(crate) fn to(sender: mpsc::UnboundedSender<ImageEvent>) -> Self {
        Self(Some(sender))
    }

    /// Tells an event.
    pub(crate) fn tell(&self, event: impl FnOnce() -> ImageEvent) {
        if let Some(sender) = &self.0 {
            // Who does not listen any more misses nothing.
            let _ = sender.send(event());
        }
    }

    /// Tells that a piece of a blob has gone, where it is worth it.
    pub(crate) fn blob(&self, digest: &Digest, offset: u64, piece: u64, total: Option<u64>) {
        if total == Some(offset) || offset / STEP != (offset - piece.min(offset)) / STEP {
            self.tell(|| ImageEvent::Blob { digest: digest.to_string(), offset, total });
        }
    }
}
