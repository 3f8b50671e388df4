//! Namespaces: when one is deleted, everything in it goes first.

mod conditions;
mod content;

use std::sync::Arc;
use std::time::Duration;

use base::Drain;
use client::{Backoff, Controller, ControllerError, Lister, ObjectKey, objects};
use http::Request;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::PostParams;

use crate::context::Context;
use crate::error::{Attempt, SyncError};

const WORKERS: usize = 5;
/// The finalizer that this controller takes away when a namespace is empty.
const FINALIZER: &str = "kubernetes";
/// Content that waits for somebody else's finalizer is looked at again with growing pauses.
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(60) };

/// Runs the controller until the drain signal.
pub(crate) async fn run(context: Context, drain: Drain) -> Result<(), ControllerError> {
    let (namespaces, pods) = (context.informers.of::<Namespace>(), context.informers.of::<Pod>());
    let lister = Arc::new(namespaces.lister());
    let (for_pods, left) = (namespaces.lister(), pods.lister());
    Controller::with_backoff("namespace-controller", context.env.clone(), BACKOFF)
        .workers(WORKERS)
        .watch(&namespaces, |event, queue| {
            if objects::is_deleting(&**event.object()) && !event.is_deleted() {
                queue.add(ObjectKey::of(&**event.object()));
            }
        })
        // Pods take longest to go; the last one's end is the time to look again.
        .watch(&pods, move |event, queue| {
            let namespace = objects::namespace(&**event.object());
            let ending = || for_pods.get(None, namespace).is_some_and(|found| objects::is_deleting(&*found));
            if event.is_deleted() && ending() && left.in_namespace(namespace).is_empty() {
                queue.add(ObjectKey::cluster(namespace));
            }
        })
        .run(drain, move |key| {
            let (context, lister) = (context.clone(), Arc::clone(&lister));
            async move { sync(&context, &lister, &key).await }
        })
        .await
}

async fn sync(
    context: &Context,
    namespaces: &Lister<Namespace>,
    key: &ObjectKey,
) -> Result<Option<Duration>, SyncError> {
    let Some(known) = namespaces.get_key(key).filter(|known| objects::is_deleting(&**known)) else { return Ok(None) };
    let api: Api<Namespace> = context.cluster();
    let Some(namespace) = api.get_opt(&key.name).await.attempt("read namespace", key)? else { return Ok(None) };
    if namespace.metadata.uid != known.metadata.uid || !has_finalizer(&namespace) {
        return Ok(None);
    }
    let left = content::delete_all(context, key).await?;
    let mut namespace = namespace;
    let now = context.env.now();
    if conditions::update(namespace.status.get_or_insert_default(), &left, now) {
        let written = api.replace_status(&key.name, &PostParams::default(), &namespace).await;
        let Some(written) = objects::ignore_not_found(written).attempt("update status of namespace", key)? else {
            return Ok(None);
        };
        namespace = written;
    }
    if left.is_nothing() {
        finalize(context, namespace, key).await?;
        return Ok(None);
    }
    Err(SyncError::Unfinished { key: key.clone(), what: left.to_string() })
}

fn has_finalizer(namespace: &Namespace) -> bool {
    let finalizers = namespace.spec.as_ref().and_then(|spec| spec.finalizers.as_ref());
    finalizers.is_some_and(|finalizers| finalizers.iter().any(|finalizer| finalizer == FINALIZER))
}

/// Takes our finalizer away; the server then deletes the namespace, or waits for others' finalizers.
async fn finalize(context: &Context, mut namespace: Namespace, key: &ObjectKey) -> Result<(), SyncError> {
    if let Some(finalizers) = namespace.spec.as_mut().and_then(|spec| spec.finalizers.as_mut()) {
        finalizers.retain(|finalizer| finalizer != FINALIZER);
    }
    let body = serde_json::to_vec(&namespace).map_err(kube::Error::SerdeError).attempt("encode namespace", key)?;
    let request = Request::put(format!("/api/v1/namespaces/{}/finalize", key.name))
        .header("content-type", "application/json")
        .body(body)
        .map_err(kube::Error::HttpError)
        .attempt("ask to finalize namespace", key)?;
    let answer = context.client.request::<Namespace>(request).await;
    objects::ignore_not_found(answer).attempt("finalize namespace", key)?;
    Ok(())
}
