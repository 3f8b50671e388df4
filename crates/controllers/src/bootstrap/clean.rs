//! Deletes the secrets of bootstrap tokens whose time is over.

use std::sync::Arc;

use base::Drain;
use client::{Controller, ControllerError, objects};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;

use super::{NAMESPACE, secrets, time_left};
use crate::context::Context;
use crate::error::{Attempt, SyncError};

/// Runs the controller until the drain signal.
pub(crate) async fn run(context: Context, drain: Drain) -> Result<(), ControllerError> {
    let secrets = secrets(&context.informers);
    let lister = Arc::new(secrets.lister());
    Controller::new("token-cleaner-controller", context.env.clone())
        .watch_own(&secrets)
        .run(drain, move |key| {
            let (context, lister) = (context.clone(), Arc::clone(&lister));
            async move {
                let secret = lister.get_key(&key).filter(|_| key.namespace() == NAMESPACE);
                let Some((secret, left)) = secret.and_then(|secret| {
                    let left = time_left(&secret, context.env.now())?;
                    Some((secret, left))
                }) else {
                    return Ok(None);
                };
                if !left.is_zero() {
                    return Ok::<_, SyncError>(Some(left));
                }
                let api: Api<Secret> = context.namespaced(NAMESPACE);
                let deleted = api.delete(&key.name, &objects::delete_uid(objects::uid(&*secret))).await;
                objects::ignore_not_found(deleted).attempt("delete expired bootstrap token", &key)?;
                Ok(None)
            }
        })
        .await
}
