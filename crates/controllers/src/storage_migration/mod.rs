//! Storage version migrations: all objects of a resource are written anew, so that each is stored in the version and
//! under the key in which it would be stored now.
//!
//! One migration runs at a time. A process that ends in the middle leaves one that says that it runs; the next process
//! does it again from the beginning, which changes nothing of what was done.

mod migrate;

use std::time::Duration;

use base::Drain;
use client::discovery::{self, Offered};
use client::{Controller, ControllerError, ObjectKey, objects};
use k8s_openapi::api::storagemigration::v1beta1::StorageVersionMigration;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::core::DynamicObject;
use serde_json::json;

use crate::context::Context;
use crate::error::{Attempt, SyncError};

pub use migrate::{MigrateError, migrate};

const GROUP: &str = "storagemigration.k8s.io";

/// The wait before the server is asked again what it serves.
const RETRY: Duration = Duration::from_secs(1);

/// A condition of a migration.
#[derive(Clone, Copy)]
enum Phase {
    Running,
    Succeeded,
    Failed,
}

impl Phase {
    /// The type of its condition.
    fn as_str(self) -> &'static str {
        match self {
            Self::Running => "Running",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
        }
    }

    fn reason(self) -> &'static str {
        match self {
            Self::Running => "StorageVersionMigrationInProgress",
            Self::Succeeded => "StorageVersionMigrationSucceeded",
            Self::Failed => "StorageVersionMigrationFailed",
        }
    }
}

/// Runs the controller until the drain signal. Where the API is not served, which it is not by default, nothing is done.
pub(crate) async fn run(context: Context, drain: Drain) -> Result<(), ControllerError> {
    if drain.until(is_served(&context)).await != Some(true) {
        drain.drained().await;
        return Ok(());
    }
    let migrations = context.informers.of::<StorageVersionMigration>();
    Controller::new(migrate::MANAGER, context.env.clone())
        .watch(&migrations, |event, queue| {
            if !event.is_deleted() && !is_over(event.object()) {
                queue.add(ObjectKey::of(&**event.object()));
            }
        })
        .run(drain, move |key| {
            let context = context.clone();
            async move { sync(&context, &key).await }
        })
        .await
}

/// Whether the server has migrations.
async fn is_served(context: &Context) -> bool {
    loop {
        match context.client.list_api_groups().await {
            Ok(groups) => return groups.groups.iter().any(|group| group.name == GROUP),
            Err(err) => tracing::warn!(err = %objects::message(&err), "cannot ask what the API server serves"),
        }
        context.env.sleep(RETRY).await;
    }
}

fn is(migration: &StorageVersionMigration, phase: Phase) -> bool {
    let conditions = migration.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == phase.as_str() && condition.status == "True")
}

fn is_over(migration: &StorageVersionMigration) -> bool {
    is(migration, Phase::Succeeded) || is(migration, Phase::Failed)
}

async fn sync(context: &Context, key: &ObjectKey) -> Result<Option<Duration>, SyncError> {
    let migrations: Api<StorageVersionMigration> = context.cluster();
    // As it is now: the informer may not have seen how this ended.
    let migration = migrations.get_opt(&key.name).await.attempt("get", key)?;
    let Some(mut migration) = migration.filter(|migration| !is_over(migration)) else { return Ok(None) };
    let spec = migration.spec.clone().unwrap_or_default();
    let (group, plural) = (&spec.resource.group, &spec.resource.resource);
    let offered = find(context, group, plural).await.attempt("look up the resource of", key)?;
    let Some(offered) = offered else {
        let version = version_of_list(&migrations).await.attempt("list migrations for", key)?;
        begin(&mut migration, version);
        let message = "resource does not exist in discovery".to_owned();
        return end(context, key, migration, Phase::Failed, message).await;
    };
    let all: Api<DynamicObject> = context.dynamic(&offered.resource, None);
    let version = version_of_list(&all).await.attempt("list the objects of", key)?;
    begin(&mut migration, version);
    note(&mut migration, Phase::Running, String::new(), context);
    let migration = write(context, key, &migration).await?;
    let definition = definition(context, &offered).await.attempt("get the definition for", key)?;
    match migrate(&context.client, &offered, &context.env, |_| {}).await {
        Ok(count) => {
            tracing::info!(migration = key.name, resource = plural, count, "objects are stored as they would be now");
            if let Some(definition) = definition {
                forget_versions(context, definition).await.attempt("update the definition for", key)?;
            }
            end(context, key, migration, Phase::Succeeded, String::new()).await
        }
        Err(err) => {
            tracing::error!(migration = key.name, resource = plural, %err, "migration failed");
            end(context, key, migration, Phase::Failed, format!("migration encountered unhandled error: {err}")).await
        }
    }
}

/// The resource as the server offers it, if it can be listed and patched.
async fn find(context: &Context, group: &str, plural: &str) -> Result<Option<Offered>, kube::Error> {
    let discovered = discovery::discover(&context.client).await?;
    let is_it = |offered: &Offered| offered.resource.group == group && offered.resource.plural == plural;
    if let Some(found) = discovered.resources.into_iter().find(is_it) {
        return Ok(Some(found).filter(|offered| offered.supports(&["list", "patch"])));
    }
    // Perhaps it is one of what could not be described.
    let of_group =
        |(version, _): &(String, kube::Error)| version.split_once('/').map_or("", |(group, _)| group) == group;
    discovered.failures.into_iter().find(of_group).map_or(Ok(None), |(_, err)| Err(err))
}

/// The version of the datastore, as a list of some objects tells it.
async fn version_of_list<K>(api: &Api<K>) -> Result<String, kube::Error>
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let list = api.list_metadata(&ListParams::default().limit(1)).await?;
    Ok(list.metadata.resource_version.unwrap_or_default())
}

/// Notes the version from which a migration starts, once.
fn begin(migration: &mut StorageVersionMigration, version: String) {
    let status = migration.status.get_or_insert_default();
    status.resource_version.get_or_insert(version);
}

/// Sets a condition; one that is over no longer runs.
fn note(migration: &mut StorageVersionMigration, phase: Phase, message: String, context: &Context) {
    let now = Time(context.env.now());
    let conditions = migration.status.get_or_insert_default().conditions.get_or_insert_default();
    for condition in conditions.iter_mut().filter(|condition| condition.status == "True") {
        if condition.type_ != phase.as_str() {
            (condition.status, condition.last_transition_time) = ("False".to_owned(), now.clone());
        }
    }
    if conditions.iter().any(|condition| condition.type_ == phase.as_str() && condition.status == "True") {
        return;
    }
    conditions.retain(|condition| condition.type_ != phase.as_str());
    conditions.push(Condition {
        type_: phase.as_str().to_owned(),
        status: "True".to_owned(),
        reason: phase.reason().to_owned(),
        message,
        last_transition_time: now,
        observed_generation: None,
    });
}

async fn write(
    context: &Context,
    key: &ObjectKey,
    migration: &StorageVersionMigration,
) -> Result<StorageVersionMigration, SyncError> {
    let api: Api<StorageVersionMigration> = context.cluster();
    let written = api.replace_status(&key.name, &PostParams::default(), migration).await;
    written.attempt("write the status of", key)
}

async fn end(
    context: &Context,
    key: &ObjectKey,
    mut migration: StorageVersionMigration,
    phase: Phase,
    message: String,
) -> Result<Option<Duration>, SyncError> {
    note(&mut migration, phase, message, context);
    write(context, key, &migration).await?;
    Ok(None)
}

/// The definition of a custom resource.
async fn definition(context: &Context, offered: &Offered) -> Result<Option<CustomResourceDefinition>, kube::Error> {
    let definitions: Api<CustomResourceDefinition> = context.cluster();
    definitions.get_opt(&format!("{}.{}", offered.resource.plural, offered.resource.group)).await
}

/// Lets a definition say that its objects are stored in one version, unless it was changed while they were written.
async fn forget_versions(context: &Context, before: CustomResourceDefinition) -> Result<(), kube::Error> {
    let definitions: Api<CustomResourceDefinition> = context.cluster();
    let name = objects::name(&before);
    let Some(now) = definitions.get_opt(name).await? else { return Ok(()) };
    if now.metadata.generation != before.metadata.generation || now.metadata.uid != before.metadata.uid {
        return Ok(());
    }
    let Some(storage) = now.spec.versions.iter().find(|version| version.storage) else { return Ok(()) };
    let patch = json!({
        "metadata": {"uid": now.metadata.uid, "resourceVersion": now.metadata.resource_version},
        "status": {"storedVersions": [storage.name]},
    });
    let params = PatchParams { field_manager: Some(migrate::MANAGER.to_owned()), ..PatchParams::default() };
    definitions.patch_status(name, &params, &Patch::Merge(patch)).await?;
    Ok(())
}
