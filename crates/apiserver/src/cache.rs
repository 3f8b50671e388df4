//! The watch cache: every object of the datastore, encoded once, in immutable snapshots, with a window of events.
//!
//! One watch on the datastore feeds it. Per resource it keeps an ordered map whose root is cloned for a reader (so a
//! list never blocks a write, nor is it torn by one) and a ring of the latest events from which watches are served.
//! Reads are consistent: [`Cache::wait_for`] returns when the cache has seen a revision. While it is being filled, at the
//! start and after the watch has broken, reads are told to come back or go to the datastore: [`Cache::ready`].

mod definitions;
mod derived;
mod events;
mod feed;
mod fields;
mod object;
mod readiness;
mod resource;
mod selectable;
mod texts;
mod watcher;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use api::kinds::Resource;
use tokio::sync::watch;

use crate::kinds::{Kinds, Remote};
use crate::runtime_config::RuntimeConfig;
use readiness::Readiness;

pub(crate) use derived::{Derivation, Derived};
pub(crate) use events::{EventKind, event_line};
pub(crate) use object::{Object, encode, encode_with, split};
pub(crate) use resource::{ResourceCache, Snapshot};
pub(crate) use selectable::field_selector;
pub(crate) use watcher::{Change, Over, Selection, TooOld, Watcher};

/// The path of a resource's objects in the datastore behind `/registry/`, without slashes around it.
pub(crate) fn storage_path(resource: &Resource) -> String {
    let group = if resource.storage_group.is_empty() { "core" } else { &resource.storage_group };
    format!("{group}/{}", resource.plural)
}

/// Where every key begins.
pub(crate) const REGISTRY: &str = "/registry/";

/// The path of CustomResourceDefinitions.
const DEFINITIONS: &str = "apiextensions.k8s.io/customresourcedefinitions";

/// The cache of all resources.
pub(crate) struct Cache {
    resources: RwLock<HashMap<String, Arc<ResourceCache>>>,
    /// What is served, as the definitions in the cache say.
    kinds: watch::Sender<Arc<Kinds>>,
    /// The revision up to which everything is in the cache; 0 before the first load.
    applied: watch::Sender<i64>,
    readiness: Readiness,
}

impl Cache {
    /// An empty cache for every stored resource; [`Cache::run`] fills it.
    pub(crate) fn new(config: RuntimeConfig) -> Self {
        let stored = api::kinds::all().iter().filter(|resource| resource.is_stored() && resource.is_storage_version());
        let resources =
            stored.map(|resource| (storage_path(resource), Arc::new(ResourceCache::new(resource.clone())))).collect();
        Self {
            resources: RwLock::new(resources),
            kinds: watch::Sender::new(Arc::new(Kinds::new(Arc::new(config), []))),
            applied: watch::Sender::new(0),
            readiness: Readiness::new(),
        }
    }

    /// The cache of one resource, whichever of its versions is given.
    pub(crate) fn resource(&self, resource: &Resource) -> Option<Arc<ResourceCache>> {
        self.at_path(&storage_path(resource))
    }

    fn at_path(&self, path: &str) -> Option<Arc<ResourceCache>> {
        self.resources.read().unwrap_or_else(PoisonError::into_inner).get(path).cloned()
    }

    /// How many objects of each stored resource there are: its group, its plural name, the count.
    pub(crate) fn counts(&self) -> Vec<(String, String, usize)> {
        let resources = self.resources.read().unwrap_or_else(PoisonError::into_inner);
        let count = |cache: &Arc<ResourceCache>| {
            let resource = cache.resource();
            (resource.storage_group.to_string(), resource.plural.to_string(), cache.snapshot(0).objects.len())
        };
        resources.values().map(count).collect()
    }

    /// The resources that are served now.
    pub(crate) fn kinds(&self) -> Arc<Kinds> {
        self.kinds.borrow().clone()
    }

    /// Takes other versions of extension API servers.
    pub(crate) fn set_remotes(&self, remotes: Vec<Remote>) {
        self.kinds.send_if_modified(|kinds| {
            let differs = kinds.remotes() != remotes;
            if differs {
                *kinds = Arc::new(kinds.with_remotes(remotes));
            }
            differs
        });
    }

    /// Tells when other resources are served.
    pub(crate) fn kinds_changed(&self) -> watch::Receiver<Arc<Kinds>> {
        self.kinds.subscribe()
    }

    /// The revision that the cache has seen. 0 until it was loaded.
    pub(crate) fn applied(&self) -> i64 {
        *self.applied.borrow()
    }

    /// Waits until the cache follows the datastore; for how long it has not where that takes longer than `patience`.
    /// Cancel safe.
    pub(crate) async fn ready(&self, patience: Duration) -> Result<(), Duration> {
        self.readiness.wait(patience).await
    }

    /// Whether the cache follows the datastore.
    pub(crate) fn is_ready(&self) -> bool {
        self.readiness.downtime().is_none()
    }

    /// Waits until the cache has seen `revision`. Cancel safe.
    pub(crate) async fn wait_for(&self, revision: i64) {
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = self.applied.subscribe().wait_for(|applied| *applied >= revision).await;
    }
}
