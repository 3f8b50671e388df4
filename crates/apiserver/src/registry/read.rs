//! Get: one object. And how reads get at what is as new as they ask for: from the cache, or from the datastore where the
//! cache is being filled or too far behind.

use std::sync::Arc;
use std::time::Duration;

use api::status::Status;
use store::RangeRequest;

use super::{Registry, Scope, store_key};
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

/// Whether the cache is as new as a read asks for.
pub(super) enum Reached {
    Yes,
    /// It is not, in time; this says so to those for whom the datastore cannot stand in.
    Behind(Status),
}

/// How long a read waits for a revision that the cache has not seen.
const BLOCK_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a read waits for a cache that is being filled, which most often takes a moment. Whoever would have to wait
/// longer is told to come back, so that reads do not pile up.
const FILL_PATIENCE: Duration = Duration::from_secs(1);

/// The longest time after which to come back.
const LONGEST_RETRY: f64 = 30.0;

/// How fast that time grows with the time for which the cache has been filled, in seconds.
const RETRY_GROWTH: f64 = 0.06;

/// 429 while the cache is being filled.
fn initializing(downtime: Duration) -> Status {
    let seconds = (RETRY_GROWTH * downtime.as_secs_f64()).exp().clamp(1.0, LONGEST_RETRY);
    Status::too_many_requests("storage is (re)initializing", seconds as u32)
}

/// 504 for a revision that is not there yet.
pub(super) fn too_large(wanted: i64, current: i64) -> Status {
    let as_u64 = |revision: i64| u64::try_from(revision).unwrap_or(0);
    Status::too_large_resource_version(as_u64(wanted), as_u64(current))
}

impl Registry {
    /// Whether everything was read once: before that, nobody knows custom resources and extension servers.
    pub(crate) fn is_loaded(&self) -> bool {
        self.cache.applied() > 0
    }

    /// Waits a moment for that.
    pub(crate) async fn loaded(&self) {
        if !self.is_loaded() {
            // Whoever needs it finds out.
            let _ = self.cache.ready(FILL_PATIENCE).await;
        }
    }

    /// Fails while the cache is being filled, where that takes longer than a moment.
    pub(super) async fn ready(&self) -> Result<(), Status> {
        self.cache.ready(FILL_PATIENCE).await.map_err(initializing)
    }

    /// Waits until the cache is as new as asked for, though not for long.
    pub(super) async fn reached(&self, version: ReadVersion) -> Result<Reached, Status> {
        let wanted = match version {
            ReadVersion::Latest => self.storage.revision().await.map_err(Status::internal)?,
            ReadVersion::Any => return Ok(Reached::Yes),
            ReadVersion::AtLeast(revision) => revision,
        };
        if self.cache.applied() >= wanted {
            return Ok(Reached::Yes);
        }
        let waited = tokio::time::timeout(BLOCK_TIMEOUT, self.cache.wait_for(wanted)).await;
        Ok(waited.map_or_else(|_| Reached::Behind(too_large(wanted, self.cache.applied())), |()| Reached::Yes))
    }

    /// One object.
    pub(crate) async fn get(&self, scope: Scope<'_>, name: &str, version: ReadVersion) -> Result<Arc<Object>, Status> {
        let key = scope.key(name);
        let found = match self.cache.is_ready() {
            true => match self.reached(version).await? {
                Reached::Yes => self.cached_object(scope, &key)?,
                Reached::Behind(_) if version == ReadVersion::Latest => {
                    self.stored_object(scope, &key, version).await?
                }
                Reached::Behind(status) => return Err(status),
            },
            false => self.stored_object(scope, &key, version).await?,
        };
        let found = found.ok_or_else(|| scope.not_found(name))?;
        let shown = self.in_version(scope.resource, vec![found.clone()]).await?;
        Ok(shown.into_iter().next().unwrap_or(found))
    }

    fn cached_object(&self, scope: Scope<'_>, key: &str) -> Result<Option<Arc<Object>>, Status> {
        let cache = self.resource_cache(scope.resource)?;
        match cache.unreadable_at(key) {
            Some(unreadable) => Err(Status::internal(unreadable)),
            None => Ok(cache.get(key)),
        }
    }

    /// An object as the datastore has it now.
    async fn stored_object(
        &self,
        scope: Scope<'_>,
        key: &str,
        version: ReadVersion,
    ) -> Result<Option<Arc<Object>>, Status> {
        let storage = self.resource_cache(scope.resource)?.resource();
        let request = RangeRequest::key(store_key(scope.resource, key));
        let page = self.storage.range(request).await.map_err(Status::internal)?;
        if let ReadVersion::AtLeast(wanted) = version
            && page.revision < wanted
        {
            return Err(too_large(wanted, page.revision));
        }
        let Some((_, stored)) = page.objects.into_iter().next() else { return Ok(None) };
        let kv = stored.map_err(Status::internal)?.kv;
        let object = Object::load(&storage, key.into(), &kv.value, kv.mod_revision).map_err(Status::internal)?;
        Ok(Some(Arc::new(object)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(downtime: u64, retry: u32) {
        let status = initializing(Duration::from_secs(downtime));
        let details = status.details.as_ref().expect("details");
        assert_eq!((status.code, details.retry_after_seconds), (429, retry), "{downtime} s");
    }

    #[test]
    fn readers_come_back_later_the_longer_a_cache_is_being_filled() {
        check(0, 1);
        check(10, 1);
        check(12, 2);
        check(30, 6);
        check(50, 20);
        check(60, 30);
        check(86_400, 30);
    }
}
