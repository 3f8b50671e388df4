//! The task that keeps the cache equal to the datastore.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use base::{Drain, Env};
use bytes::Bytes;
use store::{RangeError, RangeRequest, WatchError};

use super::definitions::{self, Reload};
use super::object::Object;
use super::resource::Loaded;
use super::{Cache, REGISTRY, ResourceCache};
use crate::storage::{Changes, Storage, Stored, Unreadable};

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
    #[error("other keys may read what could not be read")]
    Keys,
}

/// An object of the datastore with its key.
type Keyed = (Bytes, Result<Stored, Unreadable>);

/// How many objects are read from the datastore at a time.
const PAGE: usize = 1000;

/// The wait before a broken watch on the datastore is started again.
const RETRY: Duration = Duration::from_millis(200);

impl Cache {
    /// Loads everything, then follows the datastore until `drain`.
    pub(crate) async fn run(self: Arc<Self>, storage: Arc<Storage>, env: Env, drain: Drain) -> Result<(), FeedError> {
        loop {
            let revision = match drain.until(self.load(&storage)).await {
                None => return Ok(()),
                Some(loaded) => loaded?,
            };
            self.readiness.gained();
            let broken = drain.until(self.follow(&storage, revision + 1)).await;
            self.readiness.lost();
            match broken {
                None => return Ok(()),
                Some(err) => tracing::warn!(%err, "watch on the datastore broke, loading again"),
            }
            env.sleep(RETRY).await;
        }
    }

    async fn load(&self, storage: &Storage) -> Result<i64, RangeError> {
        let (revision, stored) = read_all(storage, REGISTRY, None).await?;
        let definition = |(key, stored): &'_ Keyed| {
            let (path, _) = self.split(key)?;
            definitions::is_definition(path).then_some(stored.as_ref().ok()?.kv.value.clone())
        };
        let definitions: Vec<Bytes> = stored.iter().filter_map(definition).collect();
        self.define_all(definitions.iter().map(|value| &**value));
        let mut loaded = self.loaded(stored);
        let caches = self.resources.read().unwrap_or_else(PoisonError::into_inner).clone();
        for (path, cache) in &caches {
            cache.load(loaded.remove(path).unwrap_or_default(), revision);
            cache.wake();
        }
        self.applied.send_replace(revision);
        Ok(revision)
    }

    /// The objects of each storage path.
    pub(super) fn loaded(&self, stored: Vec<Keyed>) -> HashMap<String, Loaded> {
        let mut all: HashMap<String, Loaded> = HashMap::new();
        for (key, stored) in stored {
            let Some((path, key)) = self.split(&key) else { continue };
            let Some(cache) = self.at_path(path) else { continue };
            if !all.contains_key(path) {
                all.insert(path.to_owned(), Loaded::default());
            }
            let loaded = all.get_mut(path).expect("it was inserted");
            match stored {
                Ok(stored) => loaded.objects.extend(read_object(&cache, key, &stored)),
                Err(unreadable) => {
                    tracing::error!(err = %unreadable, "object in the datastore cannot be read");
                    loaded.unreadable.push((key.into(), unreadable));
                }
            }
        }
        all
    }

    /// Applies the datastore's events; returns why it had to stop.
    async fn follow(&self, storage: &Storage, from: i64) -> Broken {
        let mut keys = storage.keys_changed();
        let mut watch = match storage.watch(from).await {
            Ok(watch) => watch,
            Err(err) => return err.into(),
        };
        loop {
            let changes = tokio::select! {
                changes = watch.next() => changes,
                Ok(()) = keys.changed() => {
                    if self.has_unreadable() {
                        return Broken::Keys;
                    }
                    continue;
                }
            };
            let applied = match changes {
                Some(Ok(changes)) => self.apply(storage, changes).await,
                Some(Err(err)) => return err.into(),
                None => return WatchError::from(store::StorageError::Stopped).into(),
            };
            if let Err(err) = applied {
                return err.into();
            }
        }
    }

    fn has_unreadable(&self) -> bool {
        let caches = self.resources.read().unwrap_or_else(PoisonError::into_inner);
        caches.values().any(|cache| cache.unreadable(None).is_some())
    }

    /// Applies a batch of events.
    async fn apply(&self, storage: &Storage, batch: Changes) -> Result<(), RangeError> {
        let mut touched: Vec<Arc<ResourceCache>> = Vec::new();
        // What was read as of the batch's revision has its events already.
        let mut reloaded: Vec<Reload> = Vec::new();
        for change in batch.changes {
            let Some((path, key)) = self.split(&change.key) else { continue };
            if definitions::is_definition(path) {
                let written = change.object.as_ref().and_then(|stored| Some(&*stored.as_ref().ok()?.kv.value));
                // A definition that cannot be read is not one that was deleted.
                if (written.is_some() || change.object.is_none())
                    && let Some(reload) = self.define(key, written)
                {
                    self.reload(storage, &reload, batch.revision).await?;
                    reloaded.push(reload);
                }
            }
            let Some(cache) = self.at_path(path) else { continue };
            if reloaded.iter().any(|reload| reload.path() == path) {
                continue;
            }
            match change.object {
                Some(Ok(stored)) => {
                    if let Some(object) = read_object(&cache, key, &stored) {
                        cache.put(object);
                    }
                }
                Some(Err(unreadable)) => {
                    tracing::error!(err = %unreadable, "object in the datastore cannot be read");
                    cache.put_unreadable(key, unreadable);
                }
                None => cache.delete(key, change.revision),
            }
            if !touched.iter().any(|seen| Arc::ptr_eq(seen, &cache)) {
                touched.push(cache);
            }
        }
        self.applied.send_replace(batch.revision);
        for cache in touched {
            cache.wake();
        }
        Ok(())
    }

    /// The storage path and the rest of a key.
    fn split<'a>(&self, key: &'a [u8]) -> Option<(&'a str, &'a str)> {
        let rest = std::str::from_utf8(key).ok()?.strip_prefix(REGISTRY)?;
        let group_end = rest.find('/')?;
        let path_end = group_end + 1 + rest[group_end + 1..].find('/')?;
        Some((&rest[..path_end], &rest[path_end + 1..]))
    }
}

/// The cached form of an object.
fn read_object(cache: &ResourceCache, key: &str, stored: &Stored) -> Option<Object> {
    let kv = &stored.kv;
    match Object::load(&cache.resource(), key.into(), &kv.value, kv.mod_revision) {
        Ok(object) => Some(object),
        Err(err) => {
            // Serving everything but a damaged object is better than serving nothing.
            let key = String::from_utf8_lossy(&kv.key);
            tracing::error!(%key, %err, "object in the datastore cannot be read");
            None
        }
    }
}

/// Every object below a prefix, page by page, at a revision or now; and the revision.
pub(super) async fn read_all(
    storage: &Storage,
    prefix: &str,
    revision: Option<i64>,
) -> Result<(i64, Vec<Keyed>), RangeError> {
    let mut request = RangeRequest::prefix(prefix.to_owned()).limit(PAGE);
    if let Some(revision) = revision {
        request = request.at(revision);
    }
    let mut page = storage.range(request).await?;
    let revision = revision.unwrap_or(page.revision);
    let mut objects = Vec::new();
    loop {
        let more = page.more;
        objects.append(&mut page.objects);
        let Some((last, _)) = objects.last().filter(|_| more) else { break };
        let mut range = store::KeyRange::prefix(prefix.to_owned());
        range.start = [&last[..], b"\0"].concat().into();
        page = storage.range(RangeRequest::new(range).at(revision).limit(PAGE)).await?;
    }
    Ok((revision, objects))
}
