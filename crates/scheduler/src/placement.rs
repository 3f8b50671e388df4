//! Conditions on a node's labels and name, compiled once per pod.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodSpec};

/// Where a pod must and would like to go.
#[derive(Clone, Debug, Default)]
pub(crate) struct Placement {
    selector: BTreeMap<String, String>,
    /// One of these must match; `None` where the pod requires nothing.
    required: Option<Vec<Term>>,
    preferred: Vec<(i64, Term)>,
}

#[derive(Clone, Debug)]
struct Term {
    labels: Vec<Requirement>,
    fields: Vec<Requirement>,
}

#[derive(Clone, Debug)]
struct Requirement {
    key: String,
    operator: Operator,
}

#[derive(Clone, Debug)]
enum Operator {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    DoesNotExist,
    GreaterThan(i64),
    LessThan(i64),
    /// What the API server should not have let through matches nothing.
    Invalid,
}

/// Whether a selector is for a node.
pub(crate) fn selects(selector: &NodeSelector, node: &str, labels: &BTreeMap<String, String>) -> bool {
    selector.node_selector_terms.iter().any(|term| Term::of(term).matches(node, labels))
}

impl Placement {
    /// Reads a pod's node selector and node affinity.
    pub(crate) fn of(spec: &PodSpec) -> Self {
        let affinity = spec.affinity.as_ref().and_then(|affinity: &Affinity| affinity.node_affinity.as_ref());
        let required = affinity
            .and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref())
            .map(|selector| selector.node_selector_terms.iter().map(Term::of).collect());
        let preferred = affinity
            .and_then(|affinity| affinity.preferred_during_scheduling_ignored_during_execution.as_ref())
            .into_iter()
            .flatten()
            .map(|preferred| (i64::from(preferred.weight), Term::of(&preferred.preference)));
        Self { selector: spec.node_selector.clone().unwrap_or_default(), required, preferred: preferred.collect() }
    }

    /// Whether a node meets what the pod requires.
    pub(crate) fn allows(&self, node: &str, labels: &BTreeMap<String, String>) -> bool {
        let selected = self.selector.iter().all(|(key, value)| labels.get(key) == Some(value));
        selected && self.required.as_ref().is_none_or(|terms| terms.iter().any(|term| term.matches(node, labels)))
    }

    /// The weights of what a node offers of the pod's wishes.
    pub(crate) fn preference(&self, node: &str, labels: &BTreeMap<String, String>) -> i64 {
        let met = self.preferred.iter().filter(|(_, term)| term.matches(node, labels));
        met.map(|(weight, _)| weight).sum()
    }

    /// Whether the pod has wishes at all.
    pub(crate) fn has_preferences(&self) -> bool {
        !self.preferred.is_empty()
    }
}

impl Term {
    fn of(term: &NodeSelectorTerm) -> Self {
        let compile =
            |list: &Option<Vec<NodeSelectorRequirement>>| list.iter().flatten().map(Requirement::of).collect();
        Self { labels: compile(&term.match_expressions), fields: compile(&term.match_fields) }
    }

    /// A term without any requirement matches no node.
    fn matches(&self, node: &str, labels: &BTreeMap<String, String>) -> bool {
        if self.labels.is_empty() && self.fields.is_empty() {
            return false;
        }
        let field = |key: &str| (key == "metadata.name").then_some(node);
        self.labels.iter().all(|one| one.matches(labels.get(&one.key).map(String::as_str)))
            && self.fields.iter().all(|one| one.matches(field(&one.key)))
    }
}

impl Requirement {
    fn of(requirement: &NodeSelectorRequirement) -> Self {
        let values = requirement.values.clone().unwrap_or_default();
        let number = || values.first().and_then(|value| value.parse().ok());
        let operator = match requirement.operator.as_str() {
            "In" => Operator::In(values),
            "NotIn" => Operator::NotIn(values),
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            "Gt" => number().map_or(Operator::Invalid, Operator::GreaterThan),
            "Lt" => number().map_or(Operator::Invalid, Operator::LessThan),
            _ => Operator::Invalid,
        };
        Self { key: requirement.key.clone(), operator }
    }

    fn matches(&self, value: Option<&str>) -> bool {
        let compares = |compare: fn(i64, i64) -> bool, bound: i64| {
            value.and_then(|value| value.parse().ok()).is_some_and(|value: i64| compare(value, bound))
        };
        match &self.operator {
            Operator::In(values) => value.is_some_and(|value| values.iter().any(|one| one == value)),
            Operator::NotIn(values) => value.is_none_or(|value| values.iter().all(|one| one != value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan(bound) => compares(|value, bound| value > bound, *bound),
            Operator::LessThan(bound) => compares(|value, bound| value < bound, *bound),
            Operator::Invalid => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(spec: serde_json::Value, expected: bool) {
        let mut spec = spec;
        spec["containers"] = json!([]);
        let spec: PodSpec = serde_json::from_value(spec).unwrap();
        let labels = [("zone", "a"), ("cores", "8")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(Placement::of(&spec).allows("n1", &BTreeMap::from(labels)), expected);
    }

    fn required(term: serde_json::Value) -> serde_json::Value {
        let key = "requiredDuringSchedulingIgnoredDuringExecution";
        json!({"affinity": {"nodeAffinity": {key: {"nodeSelectorTerms": [term]}}}})
    }

    #[track_caller]
    fn check_expression(key: &str, operator: &str, values: &[&str], expected: bool) {
        check(required(json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]})), expected);
    }

    #[test]
    fn node_selectors_match_every_label() {
        check(json!({}), true);
        check(json!({"nodeSelector": {"zone": "a"}}), true);
        check(json!({"nodeSelector": {"zone": "a", "disk": "ssd"}}), false);
    }

    #[test]
    fn affinity_operators() {
        check_expression("zone", "In", &["b", "a"], true);
        check_expression("zone", "NotIn", &["a"], false);
        check_expression("disk", "NotIn", &["ssd"], true);
        check_expression("zone", "Exists", &[], true);
        check_expression("disk", "DoesNotExist", &[], true);
        check_expression("cores", "Gt", &["7"], true);
        check_expression("cores", "Lt", &["8"], false);
        check_expression("zone", "Gt", &["1"], false);
    }

    #[test]
    fn names_match_by_field_and_empty_terms_match_nothing() {
        let named = |name: &str| {
            required(json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]}))
        };
        check(named("n1"), true);
        check(named("n2"), false);
        check(required(json!({})), false);
    }
}
