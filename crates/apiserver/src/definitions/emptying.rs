//! The end of a definition: its instances are deleted, then its finalizer is taken away.

use std::sync::Arc;

use api::custom::conditions::{self, Condition};
use api::custom::names::ESTABLISHED;
use api::kinds::Resource;
use api::status::Status;
use jiff::Timestamp;
use serde_json::Value;

use super::write_status;
use crate::access::Identity;
use crate::cache::{Object, Selection, Watcher};
use crate::http::options::DeleteOptions;
use crate::registry::{Caller, DeleteTarget, Registry, Scope};

/// The finalizer that keeps a definition until its instances are gone.
pub(crate) const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

/// The type of the condition that says that instances are being deleted.
pub(crate) const TERMINATING: &str = "Terminating";

/// The condition of a definition whose deletion was asked for.
pub(crate) fn pending() -> Condition {
    let message = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
    Condition::new(TERMINATING, true, "InstanceDeletionPending", message)
}

/// Deletes the instances of a definition that is being deleted, and lets it go.
pub(super) async fn empty(registry: &Arc<Registry>, resource: &Resource, name: &str) -> Result<(), Status> {
    let Some(crd) = registry.cached(resource, name) else { return Ok(()) };
    let crd = crd.value();
    if !api::meta::finalizers(&crd).any(|finalizer| finalizer == FINALIZER) {
        return Ok(());
    }
    let now = registry.env.now();
    let set = |condition: Condition| move |crd: &Value| Ok(with(crd, &condition, now));
    let message = "CustomResource deletion is in progress";
    let begun = Condition::new(TERMINATING, true, "InstanceDeletionInProgress", message);
    write_status(registry, resource, name, &set(begun)).await?;
    let ended = if conditions::is_true(&crd, ESTABLISHED) {
        if let Err(status) = delete_instances(registry, name).await {
            let message = format!("could not issue all deletes: {}", status.message);
            let failed = Condition::new(TERMINATING, true, "InstanceDeletionFailed", message);
            write_status(registry, resource, name, &set(failed)).await?;
            return Err(status);
        }
        Condition::new(TERMINATING, false, "InstanceDeletionCompleted", "removed all instances")
    } else {
        Condition::new(TERMINATING, false, "NeverEstablished", "resource was never established")
    };
    let now = registry.env.now();
    let release = |crd: &Value| {
        let mut released = with(crd, &ended, now);
        let others = api::meta::finalizers(crd).filter(|finalizer| *finalizer != FINALIZER);
        api::meta::set_finalizers(&mut released, others.map(str::to_owned).collect());
        Ok(released)
    };
    write_status(registry, resource, name, &release).await
}

fn with(crd: &Value, condition: &Condition, now: Timestamp) -> Value {
    let mut changed = crd.clone();
    condition.set(&mut changed, now);
    changed
}

/// Deletes all instances and waits until the last is gone, however long its finalizers take.
async fn delete_instances(registry: &Arc<Registry>, name: &str) -> Result<(), Status> {
    let kinds = registry.kinds();
    let Some(definition) = kinds.definition(name) else { return Ok(()) };
    let Some(row) = definition.rows().into_iter().find(|row| row.is_storage_version()) else { return Ok(()) };
    registry.fresh().await?;
    let cache = registry.resource_cache(&row)?;
    let (_, mut watcher) = Watcher::from_now(registry.cache.clone(), cache.clone(), Selection::everything());
    loop {
        let snapshot = cache.snapshot(0);
        if snapshot.objects.is_empty() {
            return Ok(());
        }
        for object in snapshot.range(None).filter(|object| !api::meta::is_deleting(&object.value())) {
            delete(registry, &row, object).await?;
        }
        if watcher.changes().await.is_err() {
            return Err(Status::internal("the deletion of the instances could not be followed"));
        }
    }
}

async fn delete(registry: &Registry, row: &Resource, object: &Object) -> Result<(), Status> {
    let identity = Identity::server();
    let caller = Caller::of(&identity);
    let scope = Scope { resource: row, namespace: object.namespace() };
    let options = DeleteOptions::default();
    match registry.delete(DeleteTarget { scope, name: object.name(), options: &options, caller }).await {
        // Somebody else was quicker.
        Err(status) if status.code == 404 => Ok(()),
        other => other.map(drop),
    }
}
