//! Caches of custom resources: they come and go with the definitions that are in the cache themselves.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use api::custom::Definition;
use serde_json::Value;
use store::RangeError;

use super::{Cache, DEFINITIONS, ResourceCache, storage_path};
use crate::storage::Storage;

/// The cache of a definition's resource that must be read from the datastore.
pub(super) struct Reload {
    path: String,
    cache: Arc<ResourceCache>,
}

impl Cache {
    /// Takes the definitions of a load, in place of all that were known.
    pub(super) fn define_all<'a>(&self, stored: impl Iterator<Item = &'a [u8]>) {
        let definitions: Vec<Arc<Definition>> = stored.filter_map(read).collect();
        {
            let mut resources = self.resources.write().unwrap_or_else(PoisonError::into_inner);
            let before: HashMap<String, Arc<ResourceCache>> = resources
                .iter()
                .filter(|(_, cache)| cache.resource().custom.is_some())
                .map(|(path, cache)| (path.clone(), cache.clone()))
                .collect();
            for (path, cache) in before {
                cache.end();
                resources.remove(&path);
            }
            for row in definitions.iter().filter_map(stored_row) {
                resources.insert(storage_path(&row), Arc::new(ResourceCache::new(row)));
            }
        }
        self.kinds.send_modify(|kinds| *kinds = Arc::new(kinds.with_all(definitions)));
    }

    /// Takes one definition that was written or, with `None`, deleted; answers which cache must be read now.
    pub(super) fn define(&self, name: &str, stored: Option<&[u8]>) -> Option<Reload> {
        let definition = stored.and_then(read);
        let kinds = self.kinds();
        let before = kinds.definition(name).cloned();
        if definition == before {
            return None;
        }
        let reload = match definition.as_ref().and_then(stored_row) {
            Some(row) => {
                let path = storage_path(&row);
                let same = before.as_ref().zip(definition.as_ref()).is_some_and(|(old, new)| old.reads_like(new));
                match self.at_path(&path) {
                    Some(cache) if same => {
                        cache.set_resource(row);
                        None
                    }
                    // What objects look like has changed: watches end, and what comes next is a new history.
                    before => {
                        let cache = Arc::new(ResourceCache::new(row));
                        let mut resources = self.resources.write().unwrap_or_else(PoisonError::into_inner);
                        resources.insert(path.clone(), cache.clone());
                        if let Some(before) = before {
                            before.end();
                        }
                        Some(Reload { path, cache })
                    }
                }
            }
            None => {
                let path = before.as_ref().and_then(stored_row).map(|row| storage_path(&row));
                let mut resources = self.resources.write().unwrap_or_else(PoisonError::into_inner);
                if let Some(cache) = path.and_then(|path| resources.remove(&path)) {
                    cache.end();
                }
                None
            }
        };
        self.kinds.send_modify(|kinds| *kinds = Arc::new(kinds.with(name, definition)));
        reload
    }

    /// Reads the objects of a cache as they were at a revision.
    pub(super) async fn reload(&self, storage: &Storage, reload: &Reload, revision: i64) -> Result<(), RangeError> {
        let prefix = format!("{}{}/", super::REGISTRY, reload.path);
        let (_, stored) = super::feed::read_all(storage, &prefix, Some(revision)).await?;
        reload.cache.load(self.loaded(stored).remove(&reload.path).unwrap_or_default(), revision);
        reload.cache.wake();
        Ok(())
    }
}

impl Reload {
    /// Where its objects are stored.
    pub(super) fn path(&self) -> &str {
        &self.path
    }
}

/// A path at which definitions are stored.
pub(super) fn is_definition(path: &str) -> bool {
    path == DEFINITIONS
}

fn read(stored: &[u8]) -> Option<Arc<Definition>> {
    let crd: Value = serde_json::from_slice(stored).ok()?;
    Some(Arc::new(Definition::read(&crd)))
}

/// The row of the version in which objects are stored.
fn stored_row(definition: &Arc<Definition>) -> Option<Arc<api::kinds::Resource>> {
    definition.rows().into_iter().find(|row| row.is_storage_version())
}
