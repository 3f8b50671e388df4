//! What is to be done about one object.

use std::sync::Arc;

use client::{Metadata, ObjectKey, objects};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Api;
use kube::api::{DeleteParams, PropagationPolicy};
use kube::core::DynamicObject;

use super::item::Item;
use super::kinds::Resolved;
use super::{Collector, FOREGROUND, ORPHAN};
use crate::error::{Attempt, SyncError};

/// What an owner reference leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// The owner is there.
    Solid,
    /// The owner is there, but is being deleted in the foreground.
    Waiting,
    /// There is no such owner.
    Absent,
}

/// What to do about an object that is not being deleted.
#[derive(Debug, PartialEq)]
enum Decision {
    /// Nothing.
    Keep,
    /// Take the references to these owners away; others hold it.
    Unlink(Vec<String>),
    /// Delete it.
    Delete(PropagationPolicy),
}

fn has_finalizer(object: &Metadata, finalizer: &str) -> bool {
    object.metadata.finalizers.iter().flatten().any(|known| known == finalizer)
}

/// Decides from what its owners are. `has_dependents` matters where an owner waits for it: then its own dependents
/// have to go before it.
fn decide(object: &Metadata, owners: &[(OwnerReference, Owner)], has_dependents: bool) -> Decision {
    let any = |wanted: Owner| owners.iter().any(|(_, owner)| *owner == wanted);
    if owners.is_empty() {
        return Decision::Keep;
    }
    if any(Owner::Solid) {
        let gone = owners.iter().filter(|(_, owner)| *owner != Owner::Solid);
        let gone: Vec<String> = gone.map(|(reference, _)| reference.uid.clone()).collect();
        return if gone.is_empty() { Decision::Keep } else { Decision::Unlink(gone) };
    }
    if any(Owner::Waiting) && has_dependents {
        return Decision::Delete(PropagationPolicy::Foreground);
    }
    // What was asked for in an earlier deletion is kept to.
    Decision::Delete(if has_finalizer(object, ORPHAN) {
        PropagationPolicy::Orphan
    } else if has_finalizer(object, FOREGROUND) {
        PropagationPolicy::Foreground
    } else {
        PropagationPolicy::Background
    })
}

impl Collector {
    pub(super) fn api(&self, item: &Item) -> Api<DynamicObject> {
        self.context.dynamic(&item.resource, item.key.namespace.as_deref())
    }

    fn metadata_api(&self, item: &Item) -> Api<Metadata> {
        self.context.dynamic(&item.resource, item.key.namespace.as_deref())
    }

    pub(super) async fn sync_item(&self, item: &Item) -> Result<(), SyncError> {
        let Some(object) = self.kinds.get(item) else { return Ok(()) };
        if objects::is_deleting(&*object) {
            if has_finalizer(&object, FOREGROUND) {
                self.wait_for_dependents(item, &object).await?;
            }
            if has_finalizer(&object, ORPHAN) {
                self.orphan_dependents(item, &object).await?;
            }
            return Ok(());
        }
        let references = object.metadata.owner_references.clone().unwrap_or_default();
        if references.is_empty() {
            return Ok(());
        }
        let mut owners = Vec::new();
        for reference in references {
            let owner = self.look_up(&reference, &item.key).await?;
            owners.push((reference, owner));
        }
        // The informer may be behind; the decision is made on what is there now.
        let waits = owners.iter().any(|(_, owner)| *owner == Owner::Waiting);
        let dependents = if waits { self.kinds.dependents(&item.uid) } else { Vec::new() };
        match decide(&object, &owners, !dependents.is_empty()) {
            Decision::Keep => Ok(()),
            Decision::Unlink(uids) => self.unlink(item, &object, &uids).await,
            Decision::Delete(policy) => {
                let deleting = |dependent: &Item| {
                    self.kinds
                        .get(dependent)
                        .is_some_and(|found| objects::is_deleting(&*found) && has_finalizer(&found, FOREGROUND))
                };
                if policy == PropagationPolicy::Foreground && dependents.iter().any(deleting) {
                    // Two that wait for each other would wait for ever.
                    self.unblock(item, &object).await?;
                }
                self.delete(item, &object, policy).await
            }
        }
    }

    /// Finds out about an owner: from the informers, else from the server.
    async fn look_up(&self, reference: &OwnerReference, dependent: &ObjectKey) -> Result<Owner, SyncError> {
        if let Some((_, found)) = self.kinds.find_owner(reference, dependent.namespace.as_deref()) {
            let waiting = objects::is_deleting(&*found) && has_finalizer(&found, FOREGROUND);
            return Ok(if waiting { Owner::Waiting } else { Owner::Solid });
        }
        let Resolved::Kind(offered) = self.kinds.resolve(reference) else {
            // Its kind may be served again later; nothing is deleted on a guess.
            let what = format!("owner kind {} {} is not known", reference.api_version, reference.kind);
            return Err(SyncError::Unfinished { key: dependent.clone(), what });
        };
        let namespace = dependent.namespace.clone();
        if offered.namespaced && namespace.is_none() {
            // A cluster-scoped object cannot have an owner in a namespace; the reference means nothing.
            return Ok(Owner::Solid);
        }
        let key = ObjectKey { namespace: namespace.filter(|_| offered.namespaced), name: reference.name.clone() };
        let item = Item { resource: offered.resource, key: key.clone(), uid: reference.uid.clone() };
        let found = self.metadata_api(&item).get_metadata_opt(&key.name).await;
        Ok(match found.attempt("look for owner", &key)? {
            Some(found) if found.metadata.uid.as_ref() == Some(&reference.uid) => {
                let waiting = found.metadata.deletion_timestamp.is_some()
                    && found.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FOREGROUND);
                if waiting { Owner::Waiting } else { Owner::Solid }
            }
            _ => Owner::Absent,
        })
    }

    async fn delete(&self, item: &Item, object: &Metadata, policy: PropagationPolicy) -> Result<(), SyncError> {
        tracing::debug!(kind = item.resource.kind, key = %item.key, uid = item.uid, ?policy, "deleting dependent");
        let mut parameters: DeleteParams = objects::delete_uid(&item.uid);
        parameters.propagation_policy = Some(policy);
        if let Some(preconditions) = &mut parameters.preconditions {
            // Its owners may have changed since it was looked at.
            preconditions.resource_version = object.metadata.resource_version.clone();
        }
        let deleted = self.api(item).delete(&item.key.name, &parameters).await;
        objects::ignore_not_found(deleted).attempt("delete dependent", &item.key)?;
        Ok(())
    }

    /// Deletes the dependents that block the end of an object, and lets it end when there is none left.
    async fn wait_for_dependents(&self, item: &Item, object: &Arc<Metadata>) -> Result<(), SyncError> {
        self.require_whole_graph(item)?;
        let blocks = |dependent: &Item| {
            self.kinds.get(dependent).is_some_and(|found| {
                let owners = found.metadata.owner_references.iter().flatten();
                owners.into_iter().any(|owner| owner.uid == item.uid && owner.block_owner_deletion == Some(true))
            })
        };
        let blocking: Vec<Item> = self.kinds.dependents(&item.uid).into_iter().filter(blocks).collect();
        if blocking.is_empty() {
            return self.remove_finalizer(item, object, FOREGROUND).await;
        }
        for dependent in blocking {
            let deleting = self.kinds.get(&dependent).is_some_and(|found| objects::is_deleting(&*found));
            if !deleting {
                Box::pin(self.sync_item(&dependent)).await?;
            }
        }
        // The deletion of each of them brings this object back to the queue.
        Ok(())
    }

    async fn orphan_dependents(&self, item: &Item, object: &Arc<Metadata>) -> Result<(), SyncError> {
        self.require_whole_graph(item)?;
        for dependent in self.kinds.dependents(&item.uid) {
            if let Some(found) = self.kinds.get(&dependent) {
                self.unlink(&dependent, &found, std::slice::from_ref(&item.uid)).await?;
            }
        }
        self.remove_finalizer(item, object, ORPHAN).await
    }

    /// What is done for all dependents must not be done on half the graph.
    fn require_whole_graph(&self, item: &Item) -> Result<(), SyncError> {
        if self.kinds.is_whole() {
            return Ok(());
        }
        let what = "not all kinds have been read".to_owned();
        Err(SyncError::Unfinished { key: item.key.clone(), what })
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::core::PartialObjectMetaExt;
    use testkit::object;

    use super::*;

    /// Decides about an object with the finalizers, whose owners are as given (UIDs 0, 1, ...).
    #[track_caller]
    fn check(owners: &[Owner], finalizers: &[&str], has_dependents: bool, expected: Decision) {
        let mut made = object::<ConfigMap>("a/b");
        for finalizer in finalizers {
            made = made.finalizer(finalizer);
        }
        let object: Metadata = made.build().metadata.into_response_partial();
        let owners: Vec<_> = owners
            .iter()
            .enumerate()
            .map(|(uid, owner)| (OwnerReference { uid: uid.to_string(), ..OwnerReference::default() }, *owner))
            .collect();
        assert_eq!(decide(&object, &owners, has_dependents), expected);
    }

    #[test]
    fn an_object_lives_as_long_as_one_owner() {
        use Owner::{Absent, Solid, Waiting};
        check(&[], &[], false, Decision::Keep);
        check(&[Solid], &[], false, Decision::Keep);
        check(&[Absent, Solid, Waiting], &[], false, Decision::Unlink(vec!["0".to_owned(), "2".to_owned()]));
        check(&[Absent], &[], true, Decision::Delete(PropagationPolicy::Background));
        check(&[Absent], &[ORPHAN], true, Decision::Delete(PropagationPolicy::Orphan));
        check(&[Waiting], &[], false, Decision::Delete(PropagationPolicy::Background));
        check(&[Waiting, Absent], &[], true, Decision::Delete(PropagationPolicy::Foreground));
        check(&[Waiting], &[FOREGROUND], false, Decision::Delete(PropagationPolicy::Foreground));
    }
}
