//! Deletes everything in a namespace, and tells what is left.

use std::collections::BTreeMap;
use std::fmt;

use client::discovery::{Offered, discover};
use client::{Metadata, ObjectKey, objects};
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use kube::core::DynamicObject;

use crate::context::Context;
use crate::error::{Attempt, SyncError};

/// What stands in the way of a namespace's end.
#[derive(Debug, Default)]
pub(super) struct Left {
    /// Group versions that could not be asked for their resources, with the reason.
    pub(super) undiscovered: Vec<String>,
    /// Resources that could not be deleted, with the reason.
    pub(super) failures: Vec<String>,
    /// How many objects there still are of each resource, `pods.` or `deployments.apps`.
    pub(super) objects: BTreeMap<String, usize>,
    /// How many objects wait for each finalizer.
    pub(super) finalizers: BTreeMap<String, usize>,
}

impl Left {
    /// Whether the namespace is empty, as far as can be known.
    pub(super) fn is_nothing(&self) -> bool {
        self.undiscovered.is_empty() && self.failures.is_empty() && self.objects.is_empty()
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count: usize = self.objects.values().sum();
        write!(f, "{count} objects left, {} resources failed", self.failures.len() + self.undiscovered.len())
    }
}

/// Deletes pods, and once there are none everything else: what pods use stays until they have ended.
pub(super) async fn delete_all(context: &Context, key: &ObjectKey) -> Result<Left, SyncError> {
    let discovered = discover(&context.client).await.attempt("discover resources for namespace", key)?;
    let mut left = Left::default();
    for (group_version, err) in &discovered.failures {
        left.undiscovered.push(format!("{group_version}: {err}"));
    }
    let is_pods = |offered: &&Offered| offered.resource.group.is_empty() && offered.resource.plural == "pods";
    let deletable = |offered: &&Offered| offered.namespaced && offered.supports(&["list", "delete"]);
    let all = || discovered.resources.iter().filter(deletable);
    for offered in all().filter(is_pods) {
        delete_resource(context, key, offered, &mut left).await;
    }
    if left.objects.is_empty() && left.failures.is_empty() {
        for offered in all().filter(|offered| !is_pods(offered)) {
            delete_resource(context, key, offered, &mut left).await;
        }
    }
    Ok(left)
}

async fn delete_resource(context: &Context, key: &ObjectKey, offered: &Offered, left: &mut Left) {
    let label = format!("{}.{}", offered.resource.plural, offered.resource.group);
    match try_delete(context, key, offered).await {
        Ok(remaining) if remaining.is_empty() => {}
        Ok(remaining) => {
            for finalizer in remaining.iter().flat_map(|object| object.metadata.finalizers.iter().flatten()) {
                *left.finalizers.entry(finalizer.clone()).or_default() += 1;
            }
            left.objects.insert(label, remaining.len());
        }
        Err(err) => left.failures.push(format!("{label}: {err}")),
    }
}

/// Deletes all objects of a resource and returns those that are still there.
async fn try_delete(context: &Context, key: &ObjectKey, offered: &Offered) -> Result<Vec<Metadata>, kube::Error> {
    let metadata: Api<Metadata> = context.dynamic(&offered.resource, Some(&key.name));
    let found = match metadata.list(&ListParams::default()).await {
        Ok(list) => list.items,
        // Listed by discovery but not to be had: nothing of it can be in the namespace.
        Err(err) if matches!(objects::reason(&err), "MethodNotAllowed" | "NotFound") => return Ok(Vec::new()),
        Err(err) => return Err(err),
    };
    if found.is_empty() {
        return Ok(found);
    }
    let api: Api<DynamicObject> = context.dynamic(&offered.resource, Some(&key.name));
    let parameters = DeleteParams::background();
    if offered.supports(&["deletecollection"]) {
        api.delete_collection(&parameters, &ListParams::default()).await?;
    } else {
        for object in found.iter().filter(|object| !objects::is_deleting(*object)) {
            objects::ignore_not_found(api.delete(objects::name(object), &parameters).await)?;
        }
    }
    Ok(metadata.list(&ListParams::default()).await?.items)
}
