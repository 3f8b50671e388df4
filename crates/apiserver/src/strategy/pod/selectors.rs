//! Selectors of other pods that name labels of the new pod: what the labels are, is known now and stays.

use serde_json::{Map, Value, json};

/// Adds the labels that `matchLabelKeys` and `mismatchLabelKeys` name to the selectors beside them.
pub(super) fn complete(pod: &mut Value) {
    let labels = pod.pointer("/metadata/labels").and_then(Value::as_object).cloned().unwrap_or_default();
    if labels.is_empty() {
        return;
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let Some(affinity) = pod.pointer_mut(&format!("/spec/affinity/{kind}")) else { continue };
        for term in entries(affinity, "preferredDuringSchedulingIgnoredDuringExecution") {
            if let Some(term) = term.get_mut("podAffinityTerm") {
                merge(term, &labels);
            }
        }
        for term in entries(affinity, "requiredDuringSchedulingIgnoredDuringExecution") {
            merge(term, &labels);
        }
    }
    if let Some(spec) = pod.get_mut("spec") {
        for constraint in entries(spec, "topologySpreadConstraints") {
            merge(constraint, &labels);
        }
    }
}

fn entries<'a>(object: &'a mut Value, list: &str) -> impl Iterator<Item = &'a mut Value> {
    object.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten()
}

/// A selector that is not there selects nothing, and still does.
fn merge(term: &mut Value, labels: &Map<String, Value>) {
    let mut added = Vec::new();
    for (field, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
        let keys = term.get(field).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let known = keys.filter_map(|key| Some((key, labels.get(key)?)));
        added.extend(known.map(|(key, value)| json!({"key": key, "operator": operator, "values": [value]})));
    }
    let Some(selector) = term.get_mut("labelSelector").and_then(Value::as_object_mut).filter(|_| !added.is_empty())
    else {
        return;
    };
    let list = selector.entry("matchExpressions").or_insert_with(|| Value::Array(Vec::new()));
    if let Some(list) = list.as_array_mut() {
        list.extend(added);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(spec: Value, at: &str, expected: Value) {
        let mut pod = json!({"metadata": {"labels": {"a": "1", "b": "2"}}, "spec": spec});
        complete(&mut pod);
        assert_eq!(pod.pointer(at).unwrap_or(&Value::Null), &expected, "{pod:#}");
    }

    #[test]
    fn labels_of_the_pod_complete_selectors() {
        let term = json!({"matchLabelKeys": ["a", "c"], "mismatchLabelKeys": ["b"], "labelSelector": {"matchLabels": {"d": "e"}}});
        let both = json!({"matchLabels": {"d": "e"}, "matchExpressions": [
            {"key": "a", "operator": "In", "values": ["1"]}, {"key": "b", "operator": "NotIn", "values": ["2"]}]});
        check(
            json!({"topologySpreadConstraints": [{"matchLabelKeys": ["b"], "labelSelector": {}}]}),
            "/spec/topologySpreadConstraints/0/labelSelector",
            json!({"matchExpressions": [{"key": "b", "operator": "In", "values": ["2"]}]}),
        );
        check(
            json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}),
            "/spec/affinity/podAffinity/requiredDuringSchedulingIgnoredDuringExecution/0/labelSelector",
            both.clone(),
        );
        check(
            json!({"affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"podAffinityTerm": term}]}}}),
            "/spec/affinity/podAntiAffinity/preferredDuringSchedulingIgnoredDuringExecution/0/podAffinityTerm/labelSelector",
            both,
        );
        check(
            json!({"topologySpreadConstraints": [{"matchLabelKeys": ["b"]}]}),
            "/spec/topologySpreadConstraints/0/labelSelector",
            Value::Null,
        );
    }
}
