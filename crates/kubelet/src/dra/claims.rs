//! The claims of a pod: their names, and whether the pod may use them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, PodResourceClaim};
use k8s_openapi::api::resource::v1::ResourceClaim;

use super::state::Prepared;
use crate::pods::spec;

/// Why a pod cannot use a claim. The messages are shown to users.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ClaimError {
    /// The claim that a template is for is not made yet.
    #[error("pod \"{0}\": ResourceClaim not created yet")]
    Missing(String),
    /// The claim of that name is another pod's.
    #[error("ResourceClaim {claim} was not created for pod {pod} (pod is not owner)")]
    Stranger {
        /// The claim, with its namespace.
        claim: String,
        /// The pod, with its namespace.
        pod: String,
    },
    /// The pod has no part in it.
    #[error("pod {pod} ({pod_uid}) is not allowed to use ResourceClaim {claim} ({claim_uid})")]
    Unreserved {
        /// The pod.
        pod: String,
        /// Its UID.
        pod_uid: String,
        /// The claim.
        claim: String,
        /// Its UID.
        claim_uid: String,
    },
    /// No devices were found for it.
    #[error("ResourceClaim {0}: not allocated")]
    Unallocated(String),
}

/// The claim that a pod's entry stands for, and whether it must be the pod's own; `None` where none is needed.
pub fn name(pod: &Pod, entry: &PodResourceClaim) -> Result<Option<(String, bool)>, ClaimError> {
    if let Some(name) = &entry.resource_claim_name {
        return Ok(Some((name.clone(), false)));
    }
    let statuses = pod.status.as_ref().and_then(|status| status.resource_claim_statuses.as_ref());
    match statuses.into_iter().flatten().find(|status| status.name == entry.name) {
        Some(status) => Ok(status.resource_claim_name.clone().map(|name| (name, true))),
        None => Err(ClaimError::Missing(format!("{}/{}", spec::namespace(pod), spec::name(pod)))),
    }
}

/// The entries of a pod's claims.
pub fn entries(pod: &Pod) -> &[PodResourceClaim] {
    spec::spec(pod).resource_claims.as_deref().unwrap_or_default()
}

/// Checks that a pod may use a claim, and says what is to be prepared for it: its drivers, without devices yet.
pub fn check(pod: &Pod, claim: &ResourceClaim, must_own: bool) -> Result<Prepared, ClaimError> {
    let metadata = &claim.metadata;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let owned = metadata.owner_references.iter().flatten();
    if must_own && !owned.clone().any(|owner| owner.controller == Some(true) && owner.uid == spec::uid(pod)) {
        return Err(ClaimError::Stranger {
            claim: format!("{}/{}", text(&metadata.namespace), text(&metadata.name)),
            pod: format!("{}/{}", spec::namespace(pod), spec::name(pod)),
        });
    }
    let status = claim.status.as_ref();
    let mut users = status.and_then(|status| status.reserved_for.as_ref()).into_iter().flatten();
    if !users.any(|user| user.uid == spec::uid(pod)) {
        return Err(ClaimError::Unreserved {
            pod: spec::name(pod).to_owned(),
            pod_uid: spec::uid(pod).to_owned(),
            claim: text(&metadata.name),
            claim_uid: text(&metadata.uid),
        });
    }
    let allocation = status.and_then(|status| status.allocation.as_ref());
    let allocation = allocation.ok_or_else(|| ClaimError::Unallocated(text(&metadata.name)))?;
    let results = allocation.devices.as_ref().and_then(|devices| devices.results.as_ref()).into_iter().flatten();
    Ok(Prepared {
        claim_uid: text(&metadata.uid),
        claim_name: text(&metadata.name),
        namespace: text(&metadata.namespace),
        driver_state: results.map(|result| (result.driver.clone(), Default::default())).collect(),
        ..Prepared::default()
    })
}

/// The claims that a container uses, by their names, and the requests of which it uses the devices; a request without
/// a name is all of them.
pub fn of_container(pod: &Pod, container: &Container) -> Result<BTreeMap<String, Vec<String>>, ClaimError> {
    let used = container.resources.as_ref().and_then(|resources| resources.claims.as_ref());
    let mut claims = BTreeMap::<String, Vec<String>>::new();
    for one in used.into_iter().flatten() {
        let Some(entry) = entries(pod).iter().find(|entry| entry.name == one.name) else { continue };
        if let Some((name, _)) = name(pod, entry)? {
            claims.entry(name).or_default().push(one.request.clone().unwrap_or_default());
        }
    }
    Ok(claims)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use testkit::pod;

    use super::*;

    fn claim(status: Value) -> ResourceClaim {
        let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": "web", "uid": "uid-web", "controller": true});
        let metadata = json!({"name": "c", "namespace": "default", "uid": "u1", "ownerReferences": [owner]});
        serde_json::from_value(json!({"metadata": metadata, "spec": {}, "status": status})).expect("a claim")
    }

    #[track_caller]
    fn check_refusal(name: &str, status: Value, expected: &str) {
        let pod = pod(name).uid(&format!("uid-{name}")).build();
        assert_eq!(check(&pod, &claim(status), true).expect_err("refused").to_string(), expected);
    }

    #[test]
    fn a_pod_uses_what_is_its_own_reserved_and_allocated() {
        let reserved = json!([{"resource": "pods", "name": "web", "uid": "uid-web"}]);
        let result = json!({"driver": "d", "pool": "p", "device": "x", "request": "r"});
        let allocation = json!({"devices": {"results": [result]}});
        check_refusal(
            "other",
            json!({}),
            "ResourceClaim default/c was not created for pod default/other (pod is not owner)",
        );
        check_refusal("web", json!({}), "pod web (uid-web) is not allowed to use ResourceClaim c (u1)");
        check_refusal("web", json!({"reservedFor": reserved}), "ResourceClaim c: not allocated");
        let pod = pod("web").uid("uid-web").build();
        let good = claim(json!({"reservedFor": reserved, "allocation": allocation}));
        let prepared = check(&pod, &good, true).expect("allowed");
        assert_eq!(prepared.driver_state.keys().collect::<Vec<_>>(), ["d"]);
    }

    #[test]
    fn entries_name_claims_directly_or_by_what_was_made_of_a_template() {
        let build = |status: Value| {
            pod("web").container("a", "i").with(|pod| {
                let claims =
                    json!([{"name": "x", "resourceClaimTemplateName": "t"}, {"name": "y", "resourceClaimName": "c"}]);
                let spec = pod.spec.as_mut().expect("there");
                spec.resource_claims = serde_json::from_value(claims).expect("claims");
                let used = json!({"claims": [{"name": "x", "request": "r"}, {"name": "y"}]});
                spec.containers[0].resources = serde_json::from_value(used).expect("resources");
                pod.status = serde_json::from_value(json!({"resourceClaimStatuses": status})).expect("a status");
            })
        };
        let of = |pod: &Pod| of_container(pod, &spec::containers(pod)[0]);
        let made = build(json!([{"name": "x", "resourceClaimName": "web-x-1"}])).build();
        let expected = [("c".to_owned(), vec![String::new()]), ("web-x-1".to_owned(), vec!["r".to_owned()])];
        assert_eq!(of(&made).expect("names"), expected.into());
        let error = of(&build(json!([])).build()).expect_err("too early").to_string();
        assert_eq!(error, "pod \"default/web\": ResourceClaim not created yet");
    }
}
