//! Writes into claims what was chosen for them, and that a pod uses them.

use client::objects;
use k8s_openapi::api::resource::v1::{AllocationResult, ResourceClaim, ResourceClaimConsumerReference};
use kube::Api;
use kube::api::PostParams;

use crate::pod_info::PodInfo;

/// Keeps a claim that has devices.
const FINALIZER: &str = "resource.kubernetes.io/delete-protection";

/// What is to be written into a claim.
#[derive(Clone, Debug)]
pub(crate) struct Decision {
    /// The claim's UID.
    pub(crate) uid: String,
    namespace: String,
    name: String,
    /// Its devices, if it has none yet.
    pub(crate) allocation: Option<AllocationResult>,
}

impl Decision {
    pub(super) fn of(claim: &ResourceClaim, allocation: Option<AllocationResult>) -> Self {
        Self {
            uid: objects::uid(claim).to_owned(),
            namespace: objects::namespace(claim).to_owned(),
            name: objects::name(claim).to_owned(),
            allocation,
        }
    }
}

/// Why a claim is not as it must be for the pod to be bound.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    /// The API server refuses.
    #[error("cannot write the claim {name}: {}", objects::message(source))]
    Api {
        /// The claim.
        name: String,
        /// Why.
        source: Box<kube::Error>,
    },
    /// The claim has changed meanwhile.
    #[error("the claim {0} has changed meanwhile")]
    Changed(String),
}

/// Writes decisions into claims, and the pod as one of their users. `open` are the claims that are not written.
pub(crate) async fn write(
    client: &kube::Client,
    pod: &PodInfo,
    decisions: &[Decision],
    open: &mut Vec<String>,
) -> Result<(), WriteError> {
    open.extend(decisions.iter().map(|decision| decision.uid.clone()));
    for decision in decisions {
        let name = &decision.name;
        let fail = |source| WriteError::Api { name: name.clone(), source: Box::new(source) };
        let api: Api<ResourceClaim> = Api::namespaced(client.clone(), &decision.namespace);
        let mut claim = api.get(name).await.map_err(fail)?;
        if objects::uid(&claim) != decision.uid || objects::is_deleting(&claim) {
            return Err(WriteError::Changed(name.clone()));
        }
        let status = claim.status.get_or_insert_default();
        match (&status.allocation, &decision.allocation) {
            (None, Some(_)) | (Some(_), None) => {}
            _ => return Err(WriteError::Changed(name.clone())),
        }
        let finalizers = claim.metadata.finalizers.get_or_insert_default();
        if decision.allocation.is_some() && !finalizers.iter().any(|one| one == FINALIZER) {
            finalizers.push(FINALIZER.to_owned());
            claim = api.replace(name, &PostParams::default(), &claim).await.map_err(fail)?;
        }
        let status = claim.status.get_or_insert_default();
        if let Some(allocation) = &decision.allocation {
            status.allocation = Some(allocation.clone());
        }
        let users = status.reserved_for.get_or_insert_default();
        if !users.iter().any(|user| user.uid == pod.uid) {
            users.push(ResourceClaimConsumerReference {
                resource: "pods".to_owned(),
                name: objects::name(&*pod.pod).to_owned(),
                uid: pod.uid.clone(),
                api_group: None,
            });
            api.replace_status(name, &PostParams::default(), &claim).await.map_err(fail)?;
        } else if decision.allocation.is_some() {
            api.replace_status(name, &PostParams::default(), &claim).await.map_err(fail)?;
        }
        open.remove(0);
    }
    Ok(())
}
