//! The kinds that the garbage collector follows, and the graph that their informers hold.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use client::discovery::{Discovered, Offered};
use client::{Informer, Informers, Metadata, ObjectKey, objects};
use futures::future::join_all;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use super::item::Item;

/// Objects by the UIDs of their owners.
const BY_OWNER: &str = "owner";

/// A kind whose metadata is followed.
#[derive(Clone)]
pub(super) struct Kind {
    pub(super) offered: Offered,
    pub(super) informer: Informer<Metadata>,
    stopped: base::Drain,
    /// Fires when the last clone outside of the followers is dropped.
    stop: Arc<base::DrainTrigger>,
}

impl Kind {
    /// Whether changes of its objects make kinds come or go.
    pub(super) fn defines_kinds(&self) -> bool {
        let resource = &self.offered.resource;
        matches!(
            (resource.group.as_str(), resource.plural.as_str()),
            ("apiextensions.k8s.io", "customresourcedefinitions") | ("apiregistration.k8s.io", "apiservices")
        )
    }

    /// Completes when the kind is no longer served.
    pub(super) async fn stopped(&self) {
        self.stopped.drained().await;
    }
}

/// All kinds, by group and plural.
#[derive(Default)]
pub(super) struct Kinds(RwLock<HashMap<(String, String), Kind>>);

/// What became of the owner that a reference names.
#[derive(Debug)]
pub(super) enum Resolved {
    /// A kind that is served; whether its objects are namespaced.
    Kind(Offered),
    /// No such kind is known.
    Unknown,
}

impl Kinds {
    fn read(&self) -> std::sync::RwLockReadGuard<'_, HashMap<(String, String), Kind>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what was discovered: follows new kinds and returns them, stops those that are gone. A kind whose
    /// group could not be asked stays.
    pub(super) fn update(&self, discovered: Discovered, informers: &Informers) -> Vec<Kind> {
        let mut kinds = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let mut gone = std::mem::take(&mut *kinds);
        let mut new = Vec::new();
        for offered in discovered.resources.into_iter().filter(is_collected) {
            let identity = (offered.resource.group.clone(), offered.resource.plural.clone());
            let known = gone.remove(&identity);
            if let Some(known) = &known
                && known.offered.resource != offered.resource
            {
                // Served in another version now.
                known.stop.drain();
                informers.stop_metadata(&known.offered.resource);
            }
            let known = known.filter(|known| known.offered.resource == offered.resource);
            let kind = known.unwrap_or_else(|| {
                let informer = informers.metadata(&offered.resource);
                informer.add_index(BY_OWNER, |object| {
                    object.metadata.owner_references.iter().flatten().map(|owner| owner.uid.clone()).collect()
                });
                let (stop, stopped) = base::drain();
                let kind = Kind { offered, informer, stopped, stop: Arc::new(stop) };
                new.push(kind.clone());
                kind
            });
            kinds.insert(identity, kind);
        }
        for (identity, kind) in gone {
            let unasked = discovered
                .failures
                .iter()
                .any(|(group_version, _)| group_version.split('/').next() == Some(identity.0.as_str()));
            if unasked {
                kinds.insert(identity, kind);
            } else {
                kind.stop.drain();
                informers.stop_metadata(&kind.offered.resource);
            }
        }
        new
    }

    /// Waits until all informers have read their initial state.
    pub(super) async fn all_synced(&self) {
        let informers: Vec<_> = self.read().values().map(|kind| kind.informer.clone()).collect();
        join_all(informers.iter().map(Informer::synced)).await;
    }

    /// Whether the graph is whole: every informer has read its initial state.
    pub(super) fn is_whole(&self) -> bool {
        self.read().values().all(|kind| kind.informer.is_synced())
    }

    /// All objects that name `uid` as an owner.
    pub(super) fn dependents(&self, uid: &str) -> Vec<Item> {
        let kinds = self.read();
        let of_kind = |kind: &Kind| -> Vec<Item> {
            let found = kind.informer.lister().by_index(BY_OWNER, uid);
            found.iter().map(|object| Item::of(&kind.offered, object)).collect()
        };
        kinds.values().flat_map(of_kind).collect()
    }

    /// An object as the informers have it.
    pub(super) fn get(&self, item: &Item) -> Option<Arc<Metadata>> {
        let identity = (item.resource.group.clone(), item.resource.plural.clone());
        let found = self.read().get(&identity)?.informer.lister().get_key(&item.key)?;
        (objects::uid(&*found) == item.uid).then_some(found)
    }

    /// The kind that an owner reference names.
    pub(super) fn resolve(&self, owner: &OwnerReference) -> Resolved {
        let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
        let kinds = self.read();
        let mut kinds = kinds.values().map(|kind| &kind.offered);
        let found = kinds.find(|offered| offered.resource.group == group && offered.resource.kind == owner.kind);
        found.map_or(Resolved::Unknown, |offered| Resolved::Kind(offered.clone()))
    }

    /// The owner that a reference of an object in `namespace` names, if the informers have exactly that one.
    pub(super) fn find_owner(
        &self,
        owner: &OwnerReference,
        namespace: Option<&str>,
    ) -> Option<(Offered, Arc<Metadata>)> {
        let Resolved::Kind(offered) = self.resolve(owner) else { return None };
        let namespace = namespace.filter(|_| offered.namespaced).map(str::to_owned);
        let key = ObjectKey { namespace, name: owner.name.clone() };
        let item = Item { resource: offered.resource.clone(), key, uid: owner.uid.clone() };
        self.get(&item).map(|found| (offered, found))
    }
}

/// Events come in masses, own nothing and are owned by nothing.
fn is_collected(offered: &Offered) -> bool {
    offered.supports(&["delete", "list", "watch"]) && offered.resource.plural != "events"
}
