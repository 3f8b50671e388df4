//! Writing every object of a resource anew.

use std::time::Duration;

use base::Env;
use client::discovery::Offered;
use client::{ObjectKey, objects};
use futures::{StreamExt, TryStreamExt};
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use kube::core::{DynamicObject, PartialObjectMeta};
use serde_json::json;

/// As whom the objects are written.
pub(super) const MANAGER: &str = "storage-version-migrator-controller";

/// How many objects are listed at a time, and how many are written at the same time.
const PAGE: u32 = 500;
const WRITERS: usize = 4;

/// How often a write is tried that the server could not take, and how long is waited before it is tried the second time.
const ATTEMPTS: u32 = 6;
const PAUSE: Duration = Duration::from_millis(200);

/// How often the objects are listed from the beginning because the pages that were left have become too old.
const LISTS: usize = 10;

/// Why the objects of a resource could not all be written anew. Those that were stay so; beginning again does no harm.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The objects could not be listed.
    #[error("cannot list {resource}: {}", objects::message(source))]
    List {
        /// The resource.
        resource: String,
        /// Why.
        source: Box<kube::Error>,
    },
    /// One of them could not be written.
    #[error("cannot write {resource} {key}: {}", objects::message(source))]
    Write {
        /// The resource.
        resource: String,
        /// The object.
        key: ObjectKey,
        /// Why.
        source: Box<kube::Error>,
    },
}

/// Has the server write every object of a resource anew where it would be stored in another way now; returns how many
/// there were. `done` is told how many have been looked at.
pub async fn migrate(
    client: &kube::Client,
    offered: &Offered,
    env: &Env,
    mut done: impl FnMut(usize),
) -> Result<usize, MigrateError> {
    let resource = &offered.resource;
    let all: Api<DynamicObject> = Api::all_with(client.clone(), resource);
    let (mut count, mut lists) = (0, 1);
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = match all.list_metadata(&params).await {
            Ok(page) => page,
            Err(kube::Error::Api(status)) if status.code == 410 && lists < LISTS => {
                (params, count) = (ListParams::default().limit(PAGE), 0);
                lists += 1;
                continue;
            }
            Err(source) => {
                let (resource, source) = (resource.plural.clone(), Box::new(source));
                return Err(MigrateError::List { resource, source });
            }
        };
        let length = page.items.len();
        let writes = page.items.into_iter().map(|object| write(client, offered, object, env));
        futures::stream::iter(writes).buffer_unordered(WRITERS).try_for_each(async |()| Ok(())).await?;
        count += length;
        done(count);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = ListParams::default().limit(PAGE).continue_token(&token),
            None => return Ok(count),
        }
    }
}

/// Changes nothing of an object: the server writes it all the same if it is not stored as it would be now.
///
/// Who has changed, deleted or replaced it meanwhile has done what was to be done.
async fn write(
    client: &kube::Client,
    offered: &Offered,
    object: PartialObjectMeta<DynamicObject>,
    env: &Env,
) -> Result<(), MigrateError> {
    let key = ObjectKey::of(&object);
    let api: Api<DynamicObject> = match &key.namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &offered.resource),
        None => Api::all_with(client.clone(), &offered.resource),
    };
    let of = &object.metadata;
    let patch = Patch::Merge(json!({"metadata": {"uid": of.uid, "resourceVersion": of.resource_version}}));
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let mut attempt = 1;
    loop {
        let source = match api.patch_metadata(&key.name, &params, &patch).await {
            Ok(_) => return Ok(()),
            Err(err) if objects::is_conflict(&err) || objects::is_not_found(&err) => return Ok(()),
            Err(err) => err,
        };
        if attempt == ATTEMPTS || !may_pass(&source) {
            let (resource, source) = (offered.resource.plural.clone(), Box::new(source));
            return Err(MigrateError::Write { resource, key, source });
        }
        env.sleep(env.random().jitter(PAUSE * 2_u32.pow(attempt - 1), 0.5)).await;
        attempt += 1;
    }
}

/// Whether the same request may be granted later.
fn may_pass(err: &kube::Error) -> bool {
    match err {
        kube::Error::Api(status) => matches!(status.code, 429 | 500 | 502 | 503 | 504),
        _ => true,
    }
}
