//! Which objects belong to a controller: those it owns and still selects, those it adopts, those it lets go.

use std::fmt::Debug;
use std::sync::Arc;

use api::selector::LabelSelector;
use client::{ObjectKey, objects};
use kube::api::{Patch, PatchParams};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::error::{Attempt, SyncError};

/// What an owner does about an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    /// It is ours and stays ours.
    Keep,
    /// It is nobody's and matches.
    Adopt,
    /// It is ours and no longer matches.
    Release,
    /// It is none of our business.
    Ignore,
}

fn claim<O: Resource, K: Resource>(owner: &O, selector: &LabelSelector, object: &K) -> Claim {
    let meta = object.meta();
    let matches = selector.matches(meta.labels.as_ref().unwrap_or(&std::collections::BTreeMap::new()));
    match objects::controller_of(meta) {
        Some(controller) if controller.uid != objects::uid(owner) => Claim::Ignore,
        Some(_) if matches => Claim::Keep,
        Some(_) if objects::is_deleting(owner) => Claim::Ignore,
        Some(_) => Claim::Release,
        None if objects::is_deleting(owner) || !matches || objects::is_deleting(object) => Claim::Ignore,
        None => Claim::Adopt,
    }
}

/// The objects that belong to `owner`, after adopting and releasing. `owners` and `objects` are the APIs of the
/// owner's namespace.
pub(crate) async fn claim_all<O, K>(
    owner: &O,
    selector: &LabelSelector,
    candidates: Vec<Arc<K>>,
    owners: &Api<O>,
    api: &Api<K>,
) -> Result<Vec<Arc<K>>, SyncError>
where
    O: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let mut claimed = Vec::new();
    let mut checked = false;
    for object in candidates {
        match claim(owner, selector, &*object) {
            Claim::Keep => claimed.push(object),
            Claim::Ignore => {}
            Claim::Release => release(owner, &*object, api).await?,
            Claim::Adopt => {
                if !std::mem::replace(&mut checked, true) {
                    recheck(owner, owners).await?;
                }
                if adopt(owner, &*object, api).await? {
                    claimed.push(object);
                }
            }
        }
    }
    Ok(claimed)
}

/// The cache may be behind: an owner that is being deleted, or its namesake, must not adopt.
async fn recheck<O>(owner: &O, owners: &Api<O>) -> Result<(), SyncError>
where
    O: Resource + Clone + DeserializeOwned + Debug,
{
    let key = ObjectKey::of(owner);
    let fresh = owners.get(&key.name).await.attempt("read again", &key)?;
    if fresh.meta().uid != owner.meta().uid || objects::is_deleting(&fresh) {
        return Err(SyncError::Changed { key });
    }
    Ok(())
}

async fn adopt<O, K>(owner: &O, object: &K, api: &Api<K>) -> Result<bool, SyncError>
where
    O: Resource<DynamicType = ()>,
    K: Resource + Clone + DeserializeOwned + Debug,
{
    let reference = objects::controller_reference(owner);
    let patch = json!({ "metadata": { "uid": object.meta().uid, "ownerReferences": [reference] } });
    let result = api.patch(objects::name(object), &PatchParams::default(), &Patch::Strategic(patch)).await;
    // Gone, or a namesake in its place.
    match objects::ignore_not_found(result) {
        Ok(patched) => Ok(patched.is_some()),
        Err(err) if objects::is_conflict(&err) => Ok(false),
        Err(err) => Err(err).attempt("adopt", &ObjectKey::of(object)),
    }
}

async fn release<O, K>(owner: &O, object: &K, api: &Api<K>) -> Result<(), SyncError>
where
    O: Resource,
    K: Resource + Clone + DeserializeOwned + Debug,
{
    let reference = json!({ "$patch": "delete", "uid": owner.meta().uid });
    let patch = json!({ "metadata": { "uid": object.meta().uid, "ownerReferences": [reference] } });
    let result = api.patch(objects::name(object), &PatchParams::default(), &Patch::Strategic(patch)).await;
    match objects::ignore_not_found(result) {
        // Invalid: it has no such owner any more.
        Err(err) if !objects::is_conflict(&err) && objects::reason(&err) != "Invalid" => {
            Err(err).attempt("release", &ObjectKey::of(object))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::ReplicaSet;
    use testkit::{pod, replica_set};

    use super::*;

    #[track_caller]
    fn check(owner: &ReplicaSet, pod: testkit::Maker<k8s_openapi::api::core::v1::Pod>, expected: Claim) {
        let selector = LabelSelector::parse("app=web").expect("a selector");
        assert_eq!(claim(owner, &selector, &pod.build()), expected);
    }

    #[test]
    fn ownership_follows_controller_and_labels() {
        let (owner, other) = (replica_set("web").build(), replica_set("other").build());
        let leaving = replica_set("web").deleting(1).build();
        check(&owner, pod("a").label("app", "web").controlled_by(&owner), Claim::Keep);
        check(&owner, pod("a").label("app", "new").controlled_by(&owner), Claim::Release);
        check(&owner, pod("a").label("app", "web").controlled_by(&other), Claim::Ignore);
        check(&owner, pod("a").label("app", "web"), Claim::Adopt);
        check(&owner, pod("a").label("app", "web").owned_by(&other), Claim::Adopt);
        check(&owner, pod("a").label("app", "web").deleting(1), Claim::Ignore);
        check(&owner, pod("a").label("app", "new"), Claim::Ignore);
        check(&leaving, pod("a").label("app", "web"), Claim::Ignore);
        check(&leaving, pod("a").label("app", "new").controlled_by(&leaving), Claim::Ignore);
    }
}
