//! Get: one object.

use std::sync::Arc;

use api::status::Status;

use super::{Registry, Scope};
use crate::cache::Object;

/// How new an answer must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadVersion {
    /// Everything that was acknowledged before the request.
    Latest,
    /// Whatever the cache has.
    Any,
    /// At least this revision.
    AtLeast(i64),
}

impl ReadVersion {
    /// Reads the parameter `resourceVersion`.
    pub(crate) fn from_parameter(revision: Option<i64>) -> Self {
        match revision {
            None => Self::Latest,
            Some(0) => Self::Any,
            Some(revision) => Self::AtLeast(revision),
        }
    }
}

/// How long a read waits for a revision that has not been reached.
const FUTURE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(3);

impl Registry {
    /// Waits until the cache is as new as asked for.
    pub(crate) async fn wait_for_version(&self, version: ReadVersion) -> Result<(), Status> {
        match version {
            ReadVersion::Latest => self.fresh().await.map(drop),
            ReadVersion::Any => self.wait_for(1).await,
            ReadVersion::AtLeast(revision) => {
                let waited = tokio::time::timeout(FUTURE_TIMEOUT, self.cache.wait_for(revision)).await;
                waited.map_err(|_| {
                    let as_u64 = |revision: i64| u64::try_from(revision).unwrap_or(0);
                    Status::too_large_resource_version(as_u64(revision), as_u64(self.cache.applied()))
                })
            }
        }
    }

    /// One object.
    pub(crate) async fn get(&self, scope: Scope<'_>, name: &str, version: ReadVersion) -> Result<Arc<Object>, Status> {
        self.wait_for_version(version).await?;
        let (cache, key) = (self.resource_cache(scope.resource)?, scope.key(name));
        let found = match cache.unreadable_at(&key) {
            Some(unreadable) => return Err(Status::internal(unreadable)),
            None => cache.get(&key).ok_or_else(|| scope.not_found(name))?,
        };
        let shown = self.in_version(scope.resource, vec![found.clone()]).await?;
        Ok(shown.into_iter().next().unwrap_or(found))
    }
}
