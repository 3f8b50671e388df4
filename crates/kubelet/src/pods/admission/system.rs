//! Whether the node's operating system and its container runtime are such as the pod is made for.

use k8s_openapi::api::core::v1::{Node, Pod};

use super::Refusal;
use crate::pods::spec;

/// The node's operating system, as labels and specifications name it.
const OS: &str = "linux";
const OS_LABEL: &str = "kubernetes.io/os";

/// Whether the pod is for this system, and the runtime can give it its groups. A node that is not known yet has the
/// runtime that it has: that one refuses in turn.
pub fn check(pod: &Pod, node: Option<&Node>) -> Result<(), Refusal> {
    let label = pod.metadata.labels.as_ref().and_then(|labels| labels.get(OS_LABEL));
    if label.is_some_and(|os| os != OS) {
        return Err(Refusal::OsLabel);
    }
    let pod_spec = spec::spec(pod);
    if pod_spec.os.as_ref().is_some_and(|os| os.name != OS) {
        return Err(Refusal::Os);
    }
    let policy = pod_spec.security_context.as_ref().and_then(|context| context.supplemental_groups_policy.as_deref());
    let is_supported = node.is_none_or(|node| {
        let features = node.status.as_ref().and_then(|status| status.features.as_ref());
        features.is_some_and(|features| features.supplemental_groups_policy == Some(true))
    });
    if policy == Some("Strict") && !is_supported { Err(Refusal::SupplementalGroups) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{NodeFeatures, PodOS};
    use testkit::{Maker, node, pod};

    use super::*;

    #[track_caller]
    fn check_pod(maker: Maker<Pod>, has_policy: bool, expected: Result<(), (&str, &str)>) {
        let node = node("n1").with(|node| {
            let features = NodeFeatures { supplemental_groups_policy: Some(has_policy) };
            node.status.as_mut().expect("there").features = Some(features);
        });
        let refused = check(&maker.build(), Some(&node.build()));
        let refused = refused.map_err(|err| (err.reason().into_owned(), err.to_string()));
        let expected = expected.map_err(|(reason, message)| (reason.to_owned(), message.to_owned()));
        assert_eq!(refused, expected);
    }

    #[test]
    fn a_pod_is_for_a_system_and_may_need_a_runtime_that_leaves_out_groups() {
        let with_os = |name: &str| {
            let os = PodOS { name: name.to_owned() };
            pod("web").with(|pod| pod.spec.get_or_insert_default().os = Some(os))
        };
        let with_policy = |policy: &str| {
            let policy = Some(policy.to_owned());
            pod("web").with(|pod| {
                let spec = pod.spec.get_or_insert_default();
                spec.security_context.get_or_insert_default().supplemental_groups_policy = policy;
            })
        };
        check_pod(pod("web"), false, Ok(()));
        check_pod(pod("web").label(OS_LABEL, "linux"), false, Ok(()));
        let label = "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label";
        let refused = Err(("PodOSSelectorNodeLabelDoesNotMatch", label));
        check_pod(pod("web").label(OS_LABEL, "windows"), false, refused);
        check_pod(with_os("linux"), false, Ok(()));
        let field = "Failed to admit pod as the OS field doesn't match node OS";
        check_pod(with_os("windows"), false, Err(("PodOSNotSupported", field)));
        check_pod(with_policy("Merge"), false, Ok(()));
        check_pod(with_policy("Strict"), true, Ok(()));
        let policy = "SupplementalGroupsPolicy=Strict is not supported in this node";
        check_pod(with_policy("Strict"), false, Err(("SupplementalGroupsPolicyNotSupported", policy)));
    }
}
