//! Claims of devices: makes those that pods have templates for, and takes them from pods that have ended.

mod release;
mod templates;

use std::fmt;
use std::sync::Arc;

use base::Drain;
use client::{Controller, ControllerError, Lister, ObjectKey, objects};
use k8s_openapi::api::core::v1::{Pod, PodResourceClaim};
use k8s_openapi::api::resource::v1::{ResourceClaim, ResourceClaimTemplate};

use crate::context::Context;
use crate::pods;

/// Claims by the pod that they were made for.
const BY_OWNER: &str = "owning pod";

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Task {
    /// The claims that a pod needs.
    Pod(ObjectKey),
    /// Who uses a claim.
    Claim(ObjectKey),
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod(key) => write!(f, "pod {key}"),
            Self::Claim(key) => write!(f, "claim {key}"),
        }
    }
}

/// What the controller reads.
struct Claims {
    context: Context,
    pods: Lister<Pod>,
    claims: Lister<ResourceClaim>,
    templates: Lister<ResourceClaimTemplate>,
}

/// Runs the controller until the drain signal.
pub(crate) async fn run(context: Context, drain: Drain) -> Result<(), ControllerError> {
    let context = context.recording_as(|recorders| &recorders.resource_claim);
    let pods = context.informers.of::<Pod>();
    let claims = context.informers.of::<ResourceClaim>();
    let templates = context.informers.of::<ResourceClaimTemplate>();
    claims.add_index(BY_OWNER, |claim| {
        let owner = objects::controller_of(&claim.metadata).filter(|owner| owner.kind == "Pod");
        owner.map(|owner| owner.uid.clone()).into_iter().collect()
    });
    let shared = Arc::new(Claims {
        pods: pods.lister(),
        claims: claims.lister(),
        templates: templates.lister(),
        context: context.clone(),
    });
    Controller::new("resourceclaim-controller", context.env.clone())
        .workers(10)
        .watch(&pods, |event, queue| {
            let pod = event.object();
            if entries(pod).is_empty() {
                return;
            }
            if event.is_deleted() || is_done(pod) {
                for name in entries(pod).iter().filter_map(|entry| claim_name(pod, entry)) {
                    queue.add(Task::Claim(ObjectKey::namespaced(objects::namespace(&**pod), name)));
                }
            } else {
                queue.add(Task::Pod(ObjectKey::of(&**pod)));
            }
        })
        .watch(&claims, |event, queue| {
            let claim = event.object();
            if !event.is_deleted() {
                queue.add(Task::Claim(ObjectKey::of(&**claim)));
            } else if let Some(owner) = objects::controller_of(&claim.metadata).filter(|owner| owner.kind == "Pod") {
                // A claim that somebody removed is made anew.
                queue.add(Task::Pod(ObjectKey::namespaced(objects::namespace(&**claim), &owner.name)));
            }
        })
        .reads(&templates)
        .run(drain, move |task| {
            let shared = Arc::clone(&shared);
            async move {
                match task {
                    Task::Pod(key) => shared.make(&key).await,
                    Task::Claim(key) => shared.release(&key).await,
                }
            }
        })
        .await
}

/// The entries of a pod's claims.
fn entries(pod: &Pod) -> &[PodResourceClaim] {
    let entries = pod.spec.as_ref().and_then(|spec| spec.resource_claims.as_deref());
    entries.unwrap_or_default()
}

/// The claim that an entry stands for, as far as the pod says so.
fn claim_name<'a>(pod: &'a Pod, entry: &'a PodResourceClaim) -> Option<&'a str> {
    if let Some(name) = &entry.resource_claim_name {
        return Some(name);
    }
    let statuses = pod.status.as_ref().and_then(|status| status.resource_claim_statuses.as_ref());
    let status = statuses.into_iter().flatten().find(|status| status.name == entry.name)?;
    status.resource_claim_name.as_deref()
}

/// Whether a pod uses no claim any more: it has ended, or will never be placed.
fn is_done(pod: &Pod) -> bool {
    pods::is_terminal(pod) || (objects::is_deleting(pod) && pods::node_name(pod).is_empty())
}
