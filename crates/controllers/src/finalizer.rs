//! Finalizers by which a controller keeps an object that is being deleted, until it may go.

use std::fmt::Debug;
use std::time::Duration;

use client::{ObjectKey, objects};
use kube::api::PostParams;
use kube::{Api, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Attempt, SyncError};

/// Whether the object has the finalizer.
pub(crate) fn has<K: Resource>(object: &K, finalizer: &str) -> bool {
    object.meta().finalizers.iter().flatten().any(|found| found == finalizer)
}

/// Takes the finalizer away, or gives it.
pub(crate) async fn toggle<K>(
    api: &Api<K>,
    object: &K,
    finalizer: &str,
    key: &ObjectKey,
) -> Result<Option<Duration>, SyncError>
where
    K: Resource + Clone + DeserializeOwned + Serialize + Debug,
{
    let mut changed = object.clone();
    let finalizers = changed.meta_mut().finalizers.get_or_insert_default();
    if has(object, finalizer) {
        finalizers.retain(|found| found != finalizer);
    } else {
        finalizers.push(finalizer.to_owned());
    }
    let replaced = api.replace(&key.name, &PostParams::default(), &changed).await;
    objects::ignore_not_found(replaced).attempt("change the protection of", key)?;
    Ok(None)
}
