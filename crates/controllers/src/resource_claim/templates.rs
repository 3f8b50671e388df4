//! Makes the claims that pods have templates for, and says in the pods' statuses which they are.

use std::time::Duration;

use client::{EventType, ObjectKey, objects};
use k8s_openapi::api::core::v1::{Pod, PodResourceClaim};
use k8s_openapi::api::resource::v1::{ResourceClaim, ResourceClaimConsumerReference};
use kube::Api;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::json;

use super::{BY_OWNER, Claims, claim_name, entries, is_done};
use crate::error::{Attempt, SyncError};
use crate::pods;

/// On a claim that was made of a template: the pod's entry that it is for.
const ENTRY: &str = "resource.kubernetes.io/pod-claim-name";
/// The longest prefix of a generated name.
const LONGEST_PREFIX: usize = 58;
/// After a template was missing.
const RETRY: Duration = Duration::from_secs(5);

impl Claims {
    /// Makes the claims of a pod that are missing.
    pub(super) async fn make(&self, key: &ObjectKey) -> Result<Option<Duration>, SyncError> {
        let Some(pod) = self.pods.get_key(key) else { return Ok(None) };
        if objects::is_deleting(&*pod) || is_done(&pod) {
            return Ok(None);
        }
        let (mut made, mut is_missing) = (Vec::new(), false);
        for entry in entries(&pod) {
            match self.claim_of(&pod, entry, key).await? {
                Found::Known => {}
                Found::New(name) => made.push(json!({"name": entry.name, "resourceClaimName": name})),
                Found::NoTemplate => is_missing = true,
            }
        }
        if !made.is_empty() {
            let api: Api<Pod> = self.context.namespaced(objects::namespace(&*pod));
            let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": {"resourceClaimStatuses": made}});
            let patched = api.patch_status(&key.name, &PatchParams::default(), &Patch::Strategic(patch)).await;
            objects::ignore_not_found(patched).attempt("name the claims of", key)?;
        }
        if !pods::node_name(&pod).is_empty() {
            self.reserve(&pod).await?;
        }
        Ok(is_missing.then_some(RETRY))
    }

    async fn claim_of(&self, pod: &Pod, entry: &PodResourceClaim, key: &ObjectKey) -> Result<Found, SyncError> {
        let Some(template) = &entry.resource_claim_template_name else { return Ok(Found::Known) };
        let namespace = objects::namespace(pod);
        if claim_name(pod, entry).is_some_and(|name| self.claims.get(Some(namespace), name).is_some()) {
            return Ok(Found::Known);
        }
        let own = self.claims.by_index(BY_OWNER, objects::uid(pod));
        let is_for = |claim: &ResourceClaim| {
            claim.metadata.annotations.as_ref().and_then(|all| all.get(ENTRY)) == Some(&entry.name)
        };
        if let Some(claim) = own.iter().find(|claim| is_for(claim) && !objects::is_deleting(&***claim)) {
            return Ok(Found::New(objects::name(&**claim).to_owned()));
        }
        let Some(found) = self.templates.get(Some(namespace), template) else {
            let why = format!("resourceclaimtemplate.resource.k8s.io \"{template}\" not found");
            let message = format!("PodResourceClaim {}: resource claim template \"{template}\": {why}", entry.name);
            let recorder = self.context.recorder();
            recorder.event(&objects::reference(pod), EventType::Warning, "FailedResourceClaimCreation", message);
            return Ok(Found::NoTemplate);
        };
        let of_template = found.spec.metadata.clone().unwrap_or_default();
        let mut annotations = of_template.annotations.unwrap_or_default();
        annotations.insert(ENTRY.to_owned(), entry.name.clone());
        let claim = ResourceClaim {
            metadata: ObjectMeta {
                generate_name: Some(prefix(objects::name(pod), &entry.name)),
                labels: of_template.labels,
                annotations: Some(annotations),
                owner_references: Some(vec![objects::controller_reference(pod)]),
                ..ObjectMeta::default()
            },
            spec: found.spec.spec.clone(),
            status: None,
        };
        let api: Api<ResourceClaim> = self.context.namespaced(namespace);
        let created = api.create(&PostParams::default(), &claim).await.attempt("create a claim for", key)?;
        Ok(Found::New(objects::name(&created).to_owned()))
    }

    /// Lets a pod that was placed by somebody who does not know of claims use those that have devices.
    async fn reserve(&self, pod: &Pod) -> Result<(), SyncError> {
        let namespace = objects::namespace(pod);
        for name in entries(pod).iter().filter_map(|entry| claim_name(pod, entry)) {
            let Some(claim) = self.claims.get(Some(namespace), name) else { continue };
            let status = claim.status.clone().unwrap_or_default();
            let users = status.reserved_for.as_deref().unwrap_or_default();
            if status.allocation.is_none() || users.iter().any(|user| user.uid == objects::uid(pod)) {
                continue;
            }
            let mut claim = ResourceClaim::clone(&claim);
            let status = claim.status.get_or_insert_default();
            status.reserved_for.get_or_insert_default().push(ResourceClaimConsumerReference {
                resource: "pods".to_owned(),
                name: objects::name(pod).to_owned(),
                uid: objects::uid(pod).to_owned(),
                api_group: None,
            });
            let key = ObjectKey::of(&claim);
            let api: Api<ResourceClaim> = self.context.namespaced(namespace);
            api.replace_status(name, &PostParams::default(), &claim).await.attempt("reserve", &key)?;
        }
        Ok(())
    }
}

/// What there is for an entry.
enum Found {
    /// Nothing to do.
    Known,
    /// A claim that the pod's status does not name.
    New(String),
    /// Nothing to make a claim of.
    NoTemplate,
}

/// The beginning of a claim's name: the pod's and the entry's, each cut where both are too long.
fn prefix(pod: &str, entry: &str) -> String {
    let half = (LONGEST_PREFIX - 2) / 2;
    let (mut pod, mut entry) = (pod, entry);
    if pod.len() + entry.len() + 2 > LONGEST_PREFIX {
        // Names have nothing but ASCII letters.
        if entry.len() > half {
            entry = &entry[..half.max((LONGEST_PREFIX - 2).saturating_sub(pod.len())).min(entry.len())];
        }
        pod = &pod[..(LONGEST_PREFIX - 2 - entry.len()).min(pod.len())];
    }
    format!("{pod}-{entry}-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_claims_begin_with_pod_and_entry() {
        let long = "x".repeat(60);
        assert_eq!(prefix("web", "gpu"), "web-gpu-");
        assert_eq!(prefix(&long, "gpu"), format!("{}-gpu-", &long[..53]));
        assert_eq!(prefix("web", &long), format!("web-{}-", &long[..53]));
        assert_eq!(prefix(&long, &long), format!("{0}-{0}-", &long[..28]));
    }
}
