//! Keeps claims that pods use and volumes that claims are bound to, until that has ended.
//!
//! Admission gives both a finalizer. The controllers take it away from an object that is being deleted once nothing
//! uses it, and give it to objects from before there was one.

use std::sync::Arc;
use std::time::Duration;

use base::Drain;
use client::{Controller, ControllerError, Lister, ObjectKey, objects};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use kube::api::ListParams;
use kube::{Api, Resource};

use crate::context::Context;
use crate::error::{Attempt, SyncError};
use crate::finalizer;

const CLAIM_FINALIZER: &str = "kubernetes.io/pvc-protection";
const VOLUME_FINALIZER: &str = "kubernetes.io/pv-protection";

/// Protects claims until the drain signal.
pub(crate) async fn run_claims(context: Context, drain: Drain) -> Result<(), ControllerError> {
    let claims = context.informers.of::<PersistentVolumeClaim>();
    let pods = context.informers.of::<Pod>();
    let lister = Arc::new(claims.lister());
    Controller::new("persistentvolumeclaim-protection-controller", context.env.clone())
        .watch(&claims, |event, queue| {
            if !event.is_deleted() && needs_change(&**event.object(), CLAIM_FINALIZER) {
                queue.add(ObjectKey::of(&**event.object()));
            }
        })
        .watch(&pods, |event, queue| {
            let pod = event.object();
            for claim in claims_of(pod).filter(|claim| event.is_deleted() || !uses(pod, claim)) {
                queue.add(ObjectKey::namespaced(objects::namespace(&**pod), &claim.name));
            }
        })
        .run(drain, move |key| {
            let (context, lister) = (context.clone(), Arc::clone(&lister));
            async move { sync_claim(&context, &lister, &key).await }
        })
        .await
}

/// Protects volumes until the drain signal.
pub(crate) async fn run_volumes(context: Context, drain: Drain) -> Result<(), ControllerError> {
    let volumes = context.informers.of::<PersistentVolume>();
    let lister = Arc::new(volumes.lister());
    Controller::new("persistentvolume-protection-controller", context.env.clone())
        .watch(&volumes, |event, queue| {
            if !event.is_deleted() && needs_change(&**event.object(), VOLUME_FINALIZER) {
                queue.add(ObjectKey::of(&**event.object()));
            }
        })
        .run(drain, move |key| {
            let (context, lister) = (context.clone(), Arc::clone(&lister));
            async move { sync_volume(&context, &lister, &key).await }
        })
        .await
}

/// An object has its finalizer while it lives and loses it when it is being deleted.
fn needs_change<K: Resource>(object: &K, finalizer: &str) -> bool {
    objects::is_deleting(object) == finalizer::has(object, finalizer)
}

/// A claim of a pod.
struct PodClaim {
    name: String,
    /// It was made for the pod, and goes with it.
    is_ephemeral: bool,
}

fn claims_of(pod: &Pod) -> impl Iterator<Item = PodClaim> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(|volume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
        (Some(claim), _) => Some(PodClaim { name: claim.claim_name.clone(), is_ephemeral: false }),
        (None, Some(_)) => {
            Some(PodClaim { name: format!("{}-{}", objects::name(pod), volume.name), is_ephemeral: true })
        }
        (None, None) => None,
    })
}

/// A pod uses its claims from when it has a node, which would not start it with a claim that is being deleted, until
/// it is gone. A claim made for it ends with it, so the pod need not be gone, only its node be done with it.
fn uses(pod: &Pod, claim: &PodClaim) -> bool {
    let has_node = pod.spec.as_ref().is_some_and(|spec| spec.node_name.as_ref().is_some_and(|name| !name.is_empty()));
    let is_done = objects::is_deleting(pod) && pod.metadata.deletion_grace_period_seconds == Some(0);
    has_node && !(claim.is_ephemeral && is_done)
}

async fn sync_claim(
    context: &Context,
    claims: &Lister<PersistentVolumeClaim>,
    key: &ObjectKey,
) -> Result<Option<Duration>, SyncError> {
    let Some(claim) = claims.get_key(key).filter(|claim| needs_change(&**claim, CLAIM_FINALIZER)) else {
        return Ok(None);
    };
    let namespace = objects::namespace(&*claim);
    if objects::is_deleting(&*claim) {
        // The informer of pods may be behind that of claims, so the server is asked.
        let pods: Api<Pod> = context.namespaced(namespace);
        let pods = pods.list(&ListParams::default()).await.attempt("list pods beside", key)?;
        if pods.items.iter().any(|pod| claims_of(pod).any(|claim| claim.name == key.name && uses(pod, &claim))) {
            // The end of the pod adds this key again.
            return Ok(None);
        }
    }
    finalizer::toggle(&context.namespaced(namespace), &*claim, CLAIM_FINALIZER, key).await
}

async fn sync_volume(
    context: &Context,
    volumes: &Lister<PersistentVolume>,
    key: &ObjectKey,
) -> Result<Option<Duration>, SyncError> {
    let Some(volume) = volumes.get_key(key).filter(|volume| needs_change(&**volume, VOLUME_FINALIZER)) else {
        return Ok(None);
    };
    let is_bound = volume.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Bound"));
    if objects::is_deleting(&*volume) && is_bound {
        // Its release is an update, which adds this key again.
        return Ok(None);
    }
    finalizer::toggle(&context.cluster(), &*volume, VOLUME_FINALIZER, key).await
}
