//! The task that keeps the cache equal to the datastore.

use std::sync::Arc;
use std::time::Duration;

use base::{Drain, Env};
use futures::StreamExt;
use store::{EventKind, KeyValue, RangeError, RangeRequest, Store, WatchError, WatchRequest};

use super::object::Object;
use super::{Cache, REGISTRY};

/// Why the cache cannot follow the datastore.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FeedError {
    /// The objects could not be read.
    #[error("cannot read the datastore's objects: {0}")]
    Range(#[from] RangeError),
}

/// How many objects are read from the datastore at a time.
const PAGE: usize = 1000;

/// The wait before a broken watch on the datastore is started again.
const RETRY: Duration = Duration::from_millis(200);

impl Cache {
    /// Loads everything, then follows the datastore until `drain`.
    pub(crate) async fn run(self: Arc<Self>, store: Arc<dyn Store>, env: Env, drain: Drain) -> Result<(), FeedError> {
        loop {
            let revision = match drain.until(self.load(&*store)).await {
                None => return Ok(()),
                Some(loaded) => loaded?,
            };
            match drain.until(self.follow(&*store, revision + 1)).await {
                None => return Ok(()),
                Some(err) => tracing::warn!(%err, "watch on the datastore broke, loading again"),
            }
            env.sleep(RETRY).await;
        }
    }

    async fn load(&self, store: &dyn Store) -> Result<i64, RangeError> {
        let first = store.range(RangeRequest::prefix(REGISTRY).limit(PAGE)).await?;
        let revision = first.revision;
        let mut page = first;
        let mut kvs = Vec::new();
        loop {
            let more = page.more;
            kvs.append(&mut page.kvs);
            let Some(last) = kvs.last().filter(|_| more) else { break };
            let mut range = store::KeyRange::prefix(REGISTRY);
            range.start = [&last.key[..], b"\0"].concat().into();
            page = store.range(RangeRequest::new(range).at(revision).limit(PAGE)).await?;
        }
        let mut objects: std::collections::HashMap<&str, Vec<Object>> = std::collections::HashMap::new();
        for kv in &kvs {
            if let Some((path, object)) = self.object(kv) {
                objects.entry(path).or_default().push(object);
            }
        }
        for (path, cache) in &self.resources {
            cache.load(objects.remove(path.as_str()).unwrap_or_default(), revision);
            cache.wake();
        }
        self.applied.send_replace(revision);
        Ok(revision)
    }

    /// Applies the datastore's events; returns why it had to stop.
    async fn follow(&self, store: &dyn Store, from: i64) -> WatchError {
        let mut request = WatchRequest::new(store::KeyRange::prefix(REGISTRY)).from_revision(from);
        request.prev_kv = false;
        let mut watch = match store.watch(request).await {
            Ok(watch) => watch,
            Err(err) => return err,
        };
        while let Some(batch) = watch.next().await {
            let batch = match batch {
                Ok(batch) => batch,
                Err(err) => return err,
            };
            let mut touched: Vec<&Arc<super::ResourceCache>> = Vec::new();
            for event in &batch.events {
                let Some((path, key)) = self.split(&event.kv.key) else { continue };
                let Some(cache) = self.resources.get(path) else { continue };
                match event.kind {
                    EventKind::Put => {
                        if let Some((_, object)) = self.object(&event.kv) {
                            cache.put(object);
                        }
                    }
                    EventKind::Delete => cache.delete(key, event.kv.mod_revision),
                }
                if !touched.iter().any(|seen| Arc::ptr_eq(seen, cache)) {
                    touched.push(cache);
                }
            }
            self.applied.send_replace(batch.revision);
            for cache in touched {
                cache.wake();
            }
        }
        store::StorageError::Stopped.into()
    }

    /// The storage path and the rest of a key.
    fn split<'a>(&self, key: &'a [u8]) -> Option<(&'a str, &'a str)> {
        let rest = std::str::from_utf8(key).ok()?.strip_prefix(REGISTRY)?;
        let group_end = rest.find('/')?;
        let path_end = group_end + 1 + rest[group_end + 1..].find('/')?;
        Some((&rest[..path_end], &rest[path_end + 1..]))
    }

    fn object<'a>(&self, kv: &'a KeyValue) -> Option<(&'a str, Object)> {
        let (path, key) = self.split(&kv.key)?;
        let cache = self.resources.get(path)?;
        match Object::load(&cache.resource, key.into(), &kv.value, kv.mod_revision) {
            Ok(object) => Some((path, object)),
            Err(err) => {
                // Serving everything but a damaged object is better than serving nothing.
                tracing::error!(path, key, %err, "object in the datastore cannot be read");
                None
            }
        }
    }
}
