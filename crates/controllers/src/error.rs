//! What goes wrong in a sync: a request that the server did not grant.

use client::ObjectKey;

/// A sync that failed and will be retried.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SyncError {
    /// A request failed.
    #[error("cannot {action} {key}: {}", client::objects::message(source))]
    Request {
        /// What was attempted, `create pod`.
        action: &'static str,
        /// On which object.
        key: ObjectKey,
        /// Why.
        source: Box<kube::Error>,
    },
    /// A selector in an object cannot be used.
    #[error("invalid selector in {key}: {source}")]
    Selector {
        /// The object.
        key: ObjectKey,
        /// Why.
        source: api::selector::SelectorError,
    },
    /// What was to be written depends on something that changed meanwhile.
    #[error("{key} has changed meanwhile")]
    Changed {
        /// The object.
        key: ObjectKey,
    },
    /// Work that goes on in several steps is not through.
    #[error("{key} is not finished: {what}")]
    Unfinished {
        /// The object.
        key: ObjectKey,
        /// What is left.
        what: String,
    },
}

impl SyncError {
    /// Why, without what was attempted: for messages that users see beside the object.
    pub(crate) fn cause(&self) -> String {
        match self {
            Self::Request { source, .. } => client::objects::message(source),
            other => other.to_string(),
        }
    }
}

/// Says what was attempted when a request fails.
pub(crate) trait Attempt<T> {
    /// Adds the action and the object to an error.
    fn attempt(self, action: &'static str, key: &ObjectKey) -> Result<T, SyncError>;
}

impl<T> Attempt<T> for Result<T, kube::Error> {
    fn attempt(self, action: &'static str, key: &ObjectKey) -> Result<T, SyncError> {
        self.map_err(|source| SyncError::Request { action, key: key.clone(), source: Box::new(source) })
    }
}
