//! The task that keeps the cache equal to the datastore.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use base::{Drain, Env};
use futures::StreamExt;
use store::{EventKind, KeyValue, RangeError, RangeRequest, Store, WatchError, WatchRequest};

use super::definitions::{self, Reload};
use super::object::Object;
use super::{Cache, REGISTRY};

/// Why the cache cannot follow the datastore.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FeedError {
    /// The objects could not be read.
    #[error("cannot read the datastore's objects: {0}")]
    Range(#[from] RangeError),
}

/// Why the cache stops following the datastore and loads everything again.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Watch(#[from] WatchError),
    #[error("the objects of a custom resource cannot be read: {0}")]
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
        let (revision, kvs) = read_all(store, REGISTRY, None).await?;
        let is_definition =
            |kv: &&KeyValue| self.split(&kv.key).is_some_and(|(path, _)| definitions::is_definition(path));
        self.define_all(kvs.iter().filter(is_definition).map(|kv| &*kv.value));
        let mut objects: HashMap<&str, Vec<Object>> = HashMap::new();
        for kv in &kvs {
            if let Some((path, object)) = self.object(kv) {
                objects.entry(path).or_default().push(object);
            }
        }
        let caches = self.resources.read().unwrap_or_else(PoisonError::into_inner).clone();
        for (path, cache) in &caches {
            cache.load(objects.remove(path.as_str()).unwrap_or_default(), revision);
            cache.wake();
        }
        self.applied.send_replace(revision);
        Ok(revision)
    }

    /// Applies the datastore's events; returns why it had to stop.
    async fn follow(&self, store: &dyn Store, from: i64) -> Broken {
        let mut request = WatchRequest::new(store::KeyRange::prefix(REGISTRY)).from_revision(from);
        request.prev_kv = false;
        let mut watch = match store.watch(request).await {
            Ok(watch) => watch,
            Err(err) => return err.into(),
        };
        while let Some(batch) = watch.next().await {
            let batch = match batch {
                Ok(batch) => batch,
                Err(err) => return err.into(),
            };
            let mut touched: Vec<Arc<super::ResourceCache>> = Vec::new();
            // What was read as of the batch's revision has its events already.
            let mut reloaded: Vec<Reload> = Vec::new();
            for event in &batch.events {
                let Some((path, key)) = self.split(&event.kv.key) else { continue };
                if definitions::is_definition(path) {
                    let written = (event.kind == EventKind::Put).then_some(&*event.kv.value);
                    if let Some(reload) = self.define(key, written) {
                        if let Err(err) = self.reload(store, &reload, batch.revision).await {
                            return err.into();
                        }
                        reloaded.push(reload);
                    }
                }
                let Some(cache) = self.at_path(path) else { continue };
                if reloaded.iter().any(|reload| reload.path() == path) {
                    continue;
                }
                match event.kind {
                    EventKind::Put => {
                        if let Some((_, object)) = self.object(&event.kv) {
                            cache.put(object);
                        }
                    }
                    EventKind::Delete => cache.delete(key, event.kv.mod_revision),
                }
                if !touched.iter().any(|seen| Arc::ptr_eq(seen, &cache)) {
                    touched.push(cache);
                }
            }
            self.applied.send_replace(batch.revision);
            for cache in touched {
                cache.wake();
            }
        }
        WatchError::from(store::StorageError::Stopped).into()
    }

    /// The storage path and the rest of a key.
    fn split<'a>(&self, key: &'a [u8]) -> Option<(&'a str, &'a str)> {
        let rest = std::str::from_utf8(key).ok()?.strip_prefix(REGISTRY)?;
        let group_end = rest.find('/')?;
        let path_end = group_end + 1 + rest[group_end + 1..].find('/')?;
        Some((&rest[..path_end], &rest[path_end + 1..]))
    }

    pub(super) fn object<'a>(&self, kv: &'a KeyValue) -> Option<(&'a str, Object)> {
        let (path, key) = self.split(&kv.key)?;
        let cache = self.at_path(path)?;
        match Object::load(&cache.resource(), key.into(), &kv.value, kv.mod_revision) {
            Ok(object) => Some((path, object)),
            Err(err) => {
                // Serving everything but a damaged object is better than serving nothing.
                tracing::error!(path, key, %err, "object in the datastore cannot be read");
                None
            }
        }
    }
}

/// Every object below a prefix, page by page, at a revision or now; and the revision.
pub(super) async fn read_all(
    store: &dyn Store,
    prefix: &str,
    revision: Option<i64>,
) -> Result<(i64, Vec<KeyValue>), RangeError> {
    let mut request = RangeRequest::prefix(prefix.to_owned()).limit(PAGE);
    if let Some(revision) = revision {
        request = request.at(revision);
    }
    let mut page = store.range(request).await?;
    let revision = revision.unwrap_or(page.revision);
    let mut kvs = Vec::new();
    loop {
        let more = page.more;
        kvs.append(&mut page.kvs);
        let Some(last) = kvs.last().filter(|_| more) else { break };
        let mut range = store::KeyRange::prefix(prefix.to_owned());
        range.start = [&last.key[..], b"\0"].concat().into();
        page = store.range(RangeRequest::new(range).at(revision).limit(PAGE)).await?;
    }
    Ok((revision, kvs))
}
