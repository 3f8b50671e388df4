//! Which objects a quota with scopes is about.

use serde_json::Value;

use super::Evaluator;
use super::amounts;

/// Whether an object is in all scopes of a quota.
pub fn contain(quota: &Value, evaluator: Evaluator<'_>, object: &Value) -> bool {
    let scopes = quota.pointer("/spec/scopes").and_then(Value::as_array).into_iter().flatten();
    let terms = quota.pointer("/spec/scopeSelector/matchExpressions").and_then(Value::as_array).into_iter().flatten();
    scopes.filter_map(Value::as_str).all(|scope| contains(scope, "Exists", &Value::Null, evaluator, object))
        && terms.into_iter().all(|term| {
            let text = |field: &str| term.get(field).and_then(Value::as_str).unwrap_or_default();
            contains(text("scopeName"), text("operator"), &term["values"], evaluator, object)
        })
}

fn contains(scope: &str, operator: &str, values: &Value, evaluator: Evaluator<'_>, object: &Value) -> bool {
    let spec = &object["spec"];
    let text = |path: &str| object.pointer(path).and_then(Value::as_str).filter(|text| !text.is_empty());
    if evaluator.is_claims() && scope == "VolumeAttributesClass" {
        // A claim on its way from one class to another counts for both.
        let paths = [
            "/spec/volumeAttributesClassName",
            "/status/currentVolumeAttributesClassName",
            "/status/modifyVolumeStatus/targetVolumeAttributesClassName",
        ];
        let classes: Vec<_> = paths.into_iter().filter_map(text).collect();
        return match classes.as_slice() {
            [] => selects(operator, values, None),
            classes => classes.iter().any(|class| selects(operator, values, Some(class))),
        };
    }
    if !evaluator.is_pods() {
        return false;
    }
    let has_deadline = spec.get("activeDeadlineSeconds").and_then(Value::as_i64).is_some_and(|seconds| seconds >= 0);
    match scope {
        "Terminating" => has_deadline,
        "NotTerminating" => !has_deadline,
        "BestEffort" => is_best_effort(object),
        "NotBestEffort" => !is_best_effort(object),
        "PriorityClass" => selects(operator, values, text("/spec/priorityClassName")),
        "CrossNamespacePodAffinity" => looks_at_other_namespaces(spec),
        _ => false,
    }
}

fn selects(operator: &str, values: &Value, name: Option<&str>) -> bool {
    let is_listed = || name.is_some_and(|name| values.as_array().into_iter().flatten().any(|value| value == name));
    match operator {
        "Exists" => name.is_some(),
        "DoesNotExist" => name.is_none(),
        "In" => is_listed(),
        "NotIn" => !is_listed(),
        _ => false,
    }
}

/// Whether no container (nor the pod as a whole) asks for CPU or memory.
/// Whether a pod asks for no processor and no memory.
#[must_use]
pub fn is_best_effort(pod: &Value) -> bool {
    let asks = |holder: &Value| {
        ["requests", "limits"].into_iter().any(|part| {
            let amounts = amounts::resources(holder, part);
            ["cpu", "memory"].iter().any(|name| amounts.get(*name).is_some_and(|amount| !amount.is_zero()))
        })
    };
    let mut containers = ["containers", "initContainers"].into_iter().flat_map(|list| amounts::containers(pod, list));
    !asks(&pod["spec"]) && !containers.any(asks)
}

/// Whether an affinity of a pod is to pods of other namespaces.
fn looks_at_other_namespaces(spec: &Value) -> bool {
    let affinities = ["podAffinity", "podAntiAffinity"].into_iter().filter_map(|kind| spec.get("affinity")?.get(kind));
    let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    let mut terms = affinities.flat_map(|affinity| {
        let required = list(affinity.get("requiredDuringSchedulingIgnoredDuringExecution"));
        let preferred = list(affinity.get("preferredDuringSchedulingIgnoredDuringExecution"));
        let preferred = preferred.into_iter().filter_map(|term| term.get("podAffinityTerm").cloned());
        required.into_iter().chain(preferred)
    });
    terms.any(|term| {
        let names = term.get("namespaces").and_then(Value::as_array).is_some_and(|names| !names.is_empty());
        names || term.get("namespaceSelector").is_some_and(|selector| !selector.is_null())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(spec: Value, pod: Value, expected: bool) {
        let pods = Evaluator { group: "", plural: "pods" };
        assert_eq!(contain(&json!({"spec": spec}), pods, &json!({"spec": pod})), expected, "{spec} {pod}");
    }

    #[test]
    fn a_quota_is_about_what_is_in_all_its_scopes() {
        let busy = json!({"containers": [{"resources": {"requests": {"cpu": "1"}}}]});
        check(json!({}), busy.clone(), true);
        check(json!({"scopes": ["BestEffort"]}), busy.clone(), false);
        check(json!({"scopes": ["NotBestEffort", "NotTerminating"]}), busy.clone(), true);
        check(json!({"scopes": ["NotBestEffort", "Terminating"]}), busy, false);
        check(json!({"scopes": ["Terminating"]}), json!({"activeDeadlineSeconds": 0}), true);
        let high = |operator: &str| {
            json!({"scopeSelector": {"matchExpressions": [
                {"scopeName": "PriorityClass", "operator": operator, "values": ["high"]},
            ]}})
        };
        check(high("In"), json!({"priorityClassName": "high"}), true);
        check(high("In"), json!({}), false);
        check(high("NotIn"), json!({}), true);
        check(high("Exists"), json!({"priorityClassName": "low"}), true);
        let term = |term: Value| json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}});
        check(json!({"scopes": ["CrossNamespacePodAffinity"]}), term(json!({"namespaces": ["a"]})), true);
        check(json!({"scopes": ["CrossNamespacePodAffinity"]}), term(json!({"topologyKey": "a"})), false);
    }
}
