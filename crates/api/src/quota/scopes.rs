//! Which objects a quota with scopes is about.

use std::fmt;

use serde_json::Value;

use super::Evaluator;
use super::amounts;

/// One term of a selector of scopes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeTerm {
    /// The scope.
    pub name: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: String,
    /// What the operator compares with.
    pub values: Vec<String>,
}

impl ScopeTerm {
    /// Reads a term as a selector has it.
    #[must_use]
    pub fn read(term: &Value) -> Self {
        let text = |field: &str| term.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let values = term.get("values").and_then(Value::as_array).into_iter().flatten();
        let values = values.filter_map(Value::as_str).map(str::to_owned).collect();
        Self { name: text("scopeName"), operator: text("operator"), values }
    }

    /// The terms of a quota: its scopes, and those of its selector.
    pub fn of_quota(quota: &Value) -> impl Iterator<Item = Self> {
        let scopes = quota.pointer("/spec/scopes").and_then(Value::as_array).into_iter().flatten();
        let scopes = scopes.filter_map(Value::as_str).map(|name| Self {
            name: name.to_owned(),
            operator: "Exists".to_owned(),
            values: Vec::new(),
        });
        let terms = quota.pointer("/spec/scopeSelector/matchExpressions").and_then(Value::as_array);
        scopes.chain(terms.into_iter().flatten().map(Self::read))
    }

    /// Whether an object is in the scope.
    #[must_use]
    pub fn contains(&self, evaluator: Evaluator<'_>, object: &Value) -> bool {
        let spec = &object["spec"];
        let text = |path: &str| object.pointer(path).and_then(Value::as_str).filter(|text| !text.is_empty());
        if evaluator.is_claims() && self.name == "VolumeAttributesClass" {
            // A claim on its way from one class to another counts for both.
            let paths = [
                "/spec/volumeAttributesClassName",
                "/status/currentVolumeAttributesClassName",
                "/status/modifyVolumeStatus/targetVolumeAttributesClassName",
            ];
            let classes: Vec<_> = paths.into_iter().filter_map(text).collect();
            return match classes.as_slice() {
                [] => self.selects(None),
                classes => classes.iter().any(|class| self.selects(Some(class))),
            };
        }
        if !evaluator.is_pods() {
            return false;
        }
        let has_deadline =
            spec.get("activeDeadlineSeconds").and_then(Value::as_i64).is_some_and(|seconds| seconds >= 0);
        match self.name.as_str() {
            "Terminating" => has_deadline,
            "NotTerminating" => !has_deadline,
            "BestEffort" => is_best_effort(object),
            "NotBestEffort" => !is_best_effort(object),
            "PriorityClass" => self.selects(text("/spec/priorityClassName")),
            "CrossNamespacePodAffinity" => looks_at_other_namespaces(spec),
            _ => false,
        }
    }

    fn selects(&self, name: Option<&str>) -> bool {
        let is_listed = || name.is_some_and(|name| self.values.iter().any(|value| value == name));
        match self.operator.as_str() {
            "Exists" => name.is_some(),
            "DoesNotExist" => name.is_none(),
            "In" => is_listed(),
            "NotIn" => !is_listed(),
            _ => false,
        }
    }
}

/// As Go prints the type.
impl fmt::Display for ScopeTerm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{} {} [{}]}}", self.name, self.operator, self.values.join(" "))
    }
}

/// Whether an object is in all scopes of a quota.
pub fn contain(quota: &Value, evaluator: Evaluator<'_>, object: &Value) -> bool {
    ScopeTerm::of_quota(quota).all(|term| term.contains(evaluator, object))
}

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
