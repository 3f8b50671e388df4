//! Service accounts: every namespace has one called `default`.

use std::sync::Arc;
use std::time::Duration;

use base::Drain;
use client::{Controller, ControllerError, Lister, ObjectKey, objects};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::Api;
use kube::api::{ObjectMeta, PostParams};

use crate::context::Context;
use crate::error::{Attempt, SyncError};

const NAME: &str = "default";

/// Runs the controller until the drain signal.
pub(crate) async fn run(context: Context, drain: Drain) -> Result<(), ControllerError> {
    let (namespaces, accounts) = (context.informers.of::<Namespace>(), context.informers.of::<ServiceAccount>());
    let listers = Arc::new((namespaces.lister(), accounts.lister()));
    Controller::new("serviceaccount-controller", context.env.clone())
        .watch(&namespaces, |event, queue| {
            if !event.is_deleted() {
                queue.add(ObjectKey::of(&**event.object()));
            }
        })
        .watch(&accounts, |event, queue| {
            let account = event.object();
            if event.is_deleted() && objects::name(&**account) == NAME {
                queue.add(ObjectKey::cluster(objects::namespace(&**account)));
            }
        })
        .run(drain, move |key| {
            let (context, listers) = (context.clone(), Arc::clone(&listers));
            async move { sync(&context, &listers.0, &listers.1, &key).await }
        })
        .await
}

async fn sync(
    context: &Context,
    namespaces: &Lister<Namespace>,
    accounts: &Lister<ServiceAccount>,
    key: &ObjectKey,
) -> Result<Option<Duration>, SyncError> {
    let active = namespaces.get_key(key).is_some_and(|namespace| is_active(&namespace));
    if !active || accounts.get(Some(&key.name), NAME).is_some() {
        return Ok(None);
    }
    let api: Api<ServiceAccount> = context.namespaced(&key.name);
    let account = ServiceAccount {
        metadata: ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() },
        ..ServiceAccount::default()
    };
    match api.create(&PostParams::default(), &account).await {
        Err(err) if !is_benign(&err) => Err(err).attempt("create default service account in", key),
        _ => Ok(None),
    }
}

/// Whether objects may be made in a namespace.
pub(crate) fn is_active(namespace: &Namespace) -> bool {
    let phase = namespace.status.as_ref().and_then(|status| status.phase.as_deref());
    !objects::is_deleting(namespace) && phase != Some("Terminating")
}

/// Whether a creation failed for a reason that makes it needless: it is there, or its namespace goes away.
pub(crate) fn is_benign(err: &kube::Error) -> bool {
    objects::is_already_exists(err) || objects::is_namespace_terminating(err) || objects::is_not_found(err)
}
