//! Takes claims from pods that have ended, and their devices from claims that nobody uses.

use std::sync::Arc;
use std::time::Duration;

use client::{ObjectKey, objects};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::resource::v1::{ResourceClaim, ResourceClaimConsumerReference};
use kube::Api;
use kube::api::PostParams;

use super::{Claims, is_done};
use crate::error::{Attempt, SyncError};
use crate::finalizer;

/// Keeps a claim that has devices.
const FINALIZER: &str = "resource.kubernetes.io/delete-protection";

impl Claims {
    /// Takes a claim from those who do not use it any more.
    pub(super) async fn release(&self, key: &ObjectKey) -> Result<Option<Duration>, SyncError> {
        let Some(claim) = self.claims.get_key(key) else { return Ok(None) };
        let api: Api<ResourceClaim> = self.context.namespaced(objects::namespace(&*claim));
        let status = claim.status.clone().unwrap_or_default();
        let users = status.reserved_for.unwrap_or_default();
        let mut left = Vec::new();
        for user in &users {
            if self.uses(user, &claim, key).await? {
                left.push(user.clone());
            }
        }
        let is_free = left.is_empty();
        let is_kept = finalizer::has(&*claim, FINALIZER);
        let was_released = left.len() < users.len();
        let is_over = is_free && objects::is_deleting(&*claim) && is_kept;
        let mut current = ResourceClaim::clone(&claim);
        if was_released || (is_over && status.allocation.is_some()) {
            let status = current.status.get_or_insert_default();
            status.reserved_for = Some(left).filter(|left| !left.is_empty());
            if is_free && is_kept {
                (status.allocation, status.devices) = (None, None);
            }
            // Not a patch: who has begun to use it meanwhile must not be lost.
            let replaced = api.replace_status(&key.name, &PostParams::default(), &current).await;
            let Some(replaced) = objects::ignore_not_found(replaced).attempt("release", key)? else { return Ok(None) };
            current = replaced;
        }
        if is_free && is_kept && (was_released || is_over) {
            finalizer::toggle(&api, &current, FINALIZER, key).await?;
        }
        if is_free && self.is_of_ended_pod(&claim) && !objects::is_deleting(&*claim) {
            let deleted = api.delete(&key.name, &objects::delete_uid(objects::uid(&*claim))).await;
            objects::ignore_not_found(deleted).attempt("delete", key)?;
        }
        Ok(None)
    }

    /// Whether somebody still uses a claim; only of pods it can be told that they do not.
    async fn uses(
        &self,
        user: &ResourceClaimConsumerReference,
        claim: &ResourceClaim,
        key: &ObjectKey,
    ) -> Result<bool, SyncError> {
        if user.resource != "pods" || user.api_group.as_deref().is_some_and(|group| !group.is_empty()) {
            return Ok(true);
        }
        let namespace = objects::namespace(claim);
        let known = self.pods.get(Some(namespace), &user.name).filter(|pod| objects::uid(&**pod) == user.uid);
        let pod: Option<Arc<Pod>> = match known {
            Some(pod) => Some(pod),
            // The informer of pods may be behind that of claims.
            None => {
                let found = self.context.namespaced::<Pod>(namespace).get_opt(&user.name).await;
                found.attempt("read a user of", key)?.map(Arc::new)
            }
        };
        Ok(pod.is_some_and(|pod| objects::uid(&*pod) == user.uid && !is_done(&pod)))
    }

    /// Whether a claim was made for a pod that has ended. Of a pod that is gone the garbage collector takes care.
    fn is_of_ended_pod(&self, claim: &ResourceClaim) -> bool {
        let owner = objects::controller_of(&claim.metadata).filter(|owner| owner.kind == "Pod");
        owner.is_some_and(|owner| {
            let pod = self.pods.get(Some(objects::namespace(claim)), &owner.name);
            pod.is_some_and(|pod| objects::uid(&*pod) != owner.uid || is_done(&pod))
        })
    }
}
