//! Which labels a kubelet may not set on its node: those by which administrators keep workloads away from it.

use serde_json::Value;

/// Labels in Kubernetes' own namespaces that kubelets do set.
const KUBELET_LABELS: [&str; 12] = [
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "node.kubernetes.io/instance-type",
    "node.kubernetes.io/windows-build",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];

/// Namespaces, with all below them, of which kubelets may set any label.
const KUBELET_NAMESPACES: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];

/// Labels below these are Kubernetes' own.
const KUBERNETES_NAMESPACES: [&str; 2] = ["kubernetes.io", "k8s.io"];

/// The keys of labels that differ between the objects and that a kubelet may not change, sorted.
pub(super) fn forbidden_changes(new: &Value, old: Option<&Value>) -> Vec<String> {
    let (new, old) = (api::meta::labels(new), old.and_then(api::meta::labels));
    let keys = new.into_iter().chain(old).flat_map(|labels| labels.keys());
    let mut changed: Vec<String> = keys
        .filter(|key| new.and_then(|labels| labels.get(*key)) != old.and_then(|labels| labels.get(*key)))
        .filter(|key| is_forbidden(key))
        .cloned()
        .collect();
    changed.sort();
    changed.dedup();
    changed
}

fn is_forbidden(key: &str) -> bool {
    let namespace = key.split_once('/').map_or("", |(namespace, _)| namespace);
    let within =
        |wanted: &str| namespace == wanted || namespace.strip_suffix(wanted).is_some_and(|rest| rest.ends_with('.'));
    KUBERNETES_NAMESPACES.into_iter().any(within)
        && !KUBELET_LABELS.contains(&key)
        && !KUBELET_NAMESPACES.into_iter().any(within)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(new: &[&str], old: &[&str], expected: &[&str]) {
        let node = |labels: &[&str]| {
            let labels: serde_json::Map<String, Value> =
                labels.iter().map(|key| ((*key).to_owned(), json!("x"))).collect();
            json!({"metadata": {"labels": labels}})
        };
        assert_eq!(forbidden_changes(&node(new), Some(&node(old))), expected);
    }

    #[test]
    fn only_labels_of_kubelets_and_of_others_may_change() {
        check(&["example.com/a", "kubernetes.io/os", "a.node.kubernetes.io/b"], &[], &[]);
        check(&["kubernetes.io/foo"], &[], &["kubernetes.io/foo"]);
        check(&["notkubernetes.io/foo"], &[], &[]);
        check(&["node-restriction.kubernetes.io/x"], &["node-restriction.kubernetes.io/x"], &[]);
        check(&[], &["x.node-restriction.kubernetes.io/x"], &["x.node-restriction.kubernetes.io/x"]);
    }
}
