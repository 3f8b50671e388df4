//! Whether a pod tolerates what the node is tainted with.

use k8s_openapi::api::core::v1::{Node, Pod, Toleration};

use super::Refusal;
use crate::{pods::spec, static_pods};

const NOT_TOLERATED: Refusal = Refusal::Predicate("TaintToleration", "node(s) had taints that the pod didn't tolerate");

/// Whether the pod may stay where a taint ends pods that do not tolerate it. Other taints are the scheduler's business,
/// and pods of manifests are nobody's.
pub fn check(pod: &Pod, node: &Node) -> Result<(), Refusal> {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    let ends = |taint: &&k8s_openapi::api::core::v1::Taint| taint.effect == "NoExecute";
    let all = taints.iter().filter(ends).all(|taint| {
        let value = taint.value.as_deref().unwrap_or_default();
        tolerates(pod, &taint.key, value, &taint.effect)
    });
    if all || static_pods::is_static(pod) { Ok(()) } else { Err(NOT_TOLERATED) }
}

/// Whether a pod tolerates a taint.
pub fn tolerates(pod: &Pod, key: &str, value: &str, effect: &str) -> bool {
    let covers = |toleration: &Toleration| {
        // What is left open is for all.
        let is =
            |field: &Option<String>, text: &str| field.as_deref().is_none_or(|field| field.is_empty() || field == text);
        let exists = toleration.operator.as_deref() == Some("Exists");
        let equal = toleration.key.is_some() && toleration.value.as_deref().unwrap_or_default() == value;
        is(&toleration.effect, effect) && is(&toleration.key, key) && (exists || equal)
    };
    spec::spec(pod).tolerations.iter().flatten().any(covers)
}

#[cfg(test)]
mod tests {
    use testkit::{Maker, node, pod};

    use super::*;

    #[track_caller]
    fn check_on(effect: &str, maker: Maker<Pod>, expected: bool) {
        let node = node("n1").taint("broken", effect).build();
        assert_eq!(check(&maker.build(), &node).is_ok(), expected);
    }

    #[test]
    fn a_taint_that_ends_pods_lets_in_who_tolerates_it() {
        check_on("NoExecute", pod("web"), false);
        check_on("NoSchedule", pod("web"), true);
        check_on("NoExecute", pod("web").toleration("broken", "NoExecute", None), true);
        check_on("NoExecute", pod("web").toleration("", "", None), true);
        check_on("NoExecute", pod("web").toleration("broken", "NoSchedule", None), false);
        check_on("NoExecute", pod("web").toleration("other", "NoExecute", None), false);
        check_on("NoExecute", pod("web").annotation("kubernetes.io/config.source", "file"), true);
        assert_eq!(NOT_TOLERATED.reason(), "TaintToleration");
        let message = "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate";
        assert_eq!(NOT_TOLERATED.to_string(), message);
    }
}
