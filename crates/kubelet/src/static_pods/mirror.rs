//! Mirror pods: how static pods are seen in the API.

use std::time::Duration;

use base::{Drain, TaskFailure};
use client::{ObjectKey, run_workers};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Api;
use kube::api::PostParams;

use super::{CONFIG_HASH, CONFIG_MIRROR, annotation};
use crate::context::{Context, Shared};
use crate::pods::{CleanupError, delete_from_api, spec};

/// How many mirrors are written at a time.
const WORKERS: usize = 2;

/// A mirror pod that could not be brought in line.
#[derive(Debug, thiserror::Error)]
enum MirrorError {
    /// The node that owns it is not registered yet.
    #[error("the node is not registered yet")]
    NoNode,
    /// The API refused.
    #[error(transparent)]
    Api(#[from] Box<kube::Error>),
    /// One that is of no use cannot be deleted.
    #[error(transparent)]
    Delete(#[from] CleanupError),
}

/// Keeps a mirror pod for every static pod that runs, until the drain signal.
pub async fn run(context: Shared, drain: Drain) -> Result<(), TaskFailure> {
    // A mirror that is there already must be known before another one is made.
    if drain.until(context.pods.api().synced()).await.is_none() {
        return Ok(());
    }
    let queue = context.static_pods.0.mirrors.clone();
    run_workers("mirror pods", queue, WORKERS, drain, move |key| {
        let context = context.clone();
        async move { reconcile(&context, &key).await }
    })
    .await
}

/// Whether a pod in the API stands for a static pod.
pub fn is_mirror(pod: &Pod) -> bool {
    annotation(pod, CONFIG_MIRROR).is_some()
}

/// Whether a pod in the API shows this version of a static pod.
pub fn is_mirror_of(mirror: &Pod, pod: &Pod) -> bool {
    annotation(mirror, CONFIG_MIRROR).is_some_and(|shown| Some(shown) == annotation(pod, CONFIG_HASH))
}

async fn reconcile(context: &Context, key: &ObjectKey) -> Result<Option<Duration>, MirrorError> {
    let mirror = context.pods.api().lister().get_key(key).filter(|pod| is_mirror(pod));
    let pod = context.static_pods.get(key);
    match (pod, mirror) {
        (Some(pod), None) => create(context, &pod).await?,
        // The next one is made when this one is seen to be gone.
        (Some(pod), Some(mirror)) if !is_mirror_of(&mirror, &pod) || spec::is_deleted(&mirror) => {
            delete_from_api(context, &mirror).await?;
        }
        (None, Some(mirror)) => delete_from_api(context, &mirror).await?,
        (Some(_), Some(_)) | (None, None) => {}
    }
    Ok(None)
}

async fn create(context: &Context, pod: &Pod) -> Result<(), MirrorError> {
    let node = context.node.lister().get(None, &context.config.node_name).ok_or(MirrorError::NoNode)?;
    let api: Api<Pod> = Api::namespaced(context.client.clone(), spec::namespace(pod));
    match api.create(&PostParams::default(), &mirror_of(pod, &node)).await {
        Ok(_) => Ok(()),
        Err(err) => Err(Box::new(err).into()),
    }
}

/// The pod that shows a static pod. It goes with its node.
fn mirror_of(pod: &Pod, node: &Node) -> Pod {
    let mut mirror = pod.clone();
    mirror.status = None;
    mirror.metadata.uid = None;
    let hash = annotation(pod, CONFIG_HASH).unwrap_or_default().to_owned();
    mirror.metadata.annotations.get_or_insert_default().insert(CONFIG_MIRROR.to_owned(), hash);
    mirror.metadata.owner_references = Some(vec![OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: node.metadata.name.clone().unwrap_or_default(),
        uid: node.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        ..OwnerReference::default()
    }]);
    mirror
}
