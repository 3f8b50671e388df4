//! Judgements that many kinds share.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as WireQuantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Serialize;
use serde_json::Value;

use super::names;
use crate::field::{ErrorList, FieldError, Path};
use crate::quantity::Quantity;

/// What is said about a changed field that must stay.
pub(super) const IMMUTABLE: &str = "field is immutable";

/// How a time reads that was not sent.
pub(super) const NO_TIME: &str = "0001-01-01T00:00:00Z";

/// A value as it stands in an error.
pub(super) fn json<T: Serialize + ?Sized>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}

/// The text of an optional field; absent is empty.
pub(super) fn text(field: &Option<String>) -> &str {
    field.as_deref().unwrap_or_default()
}

/// One "invalid" for each message.
pub(super) fn invalid(errors: &mut ErrorList, path: &Path, value: impl Into<Value> + Clone, messages: Vec<String>) {
    errors.extend(messages.into_iter().map(|message| FieldError::invalid(path, value.clone(), message)));
}

/// One "invalid" for all messages together, if there are some.
pub(super) fn joined(
    errors: &mut ErrorList,
    path: &Path,
    value: &str,
    messages: &[String],
    prefix: &str,
    separator: &str,
) {
    if !messages.is_empty() {
        errors.push(FieldError::invalid(path, value, format!("{prefix}{}", messages.join(separator))));
    }
}

/// "Required" if the text is empty; tells whether it is there.
pub(super) fn required(errors: &mut ErrorList, path: &Path, value: &str) -> bool {
    if value.is_empty() {
        errors.push(FieldError::required(path, ""));
    }
    !value.is_empty()
}

/// A text that must be there and obey a rule.
pub(super) fn required_name(errors: &mut ErrorList, path: &Path, value: &str, rule: fn(&str) -> Vec<String>) {
    if required(errors, path, value) {
        invalid(errors, path, value, rule(value));
    }
}

/// A text that, if it is there, must obey a rule.
pub(super) fn optional_name(errors: &mut ErrorList, path: &Path, value: &str, rule: fn(&str) -> Vec<String>) {
    if !value.is_empty() {
        invalid(errors, path, value, rule(value));
    }
}

/// A text that must be one of a sorted list.
pub(super) fn one_of(errors: &mut ErrorList, path: &Path, value: &str, supported: &[&str]) {
    if !supported.contains(&value) {
        errors.push(FieldError::not_supported(path, value, supported));
    }
}

/// The same, and empty is "required".
pub(super) fn required_one_of(errors: &mut ErrorList, path: &Path, value: &str, supported: &[&str]) {
    if required(errors, path, value) {
        one_of(errors, path, value, supported);
    }
}

/// The same, and absent is fine.
pub(super) fn optional_one_of(errors: &mut ErrorList, path: &Path, value: &Option<String>, supported: &[&str]) {
    if let Some(value) = value {
        one_of(errors, path, value, supported);
    }
}

/// Texts that must all be different: each that came before is a duplicate.
pub(super) fn unique<'a>(errors: &mut ErrorList, values: impl Iterator<Item = (Path, &'a str)>) {
    let mut seen = BTreeSet::new();
    for (path, value) in values {
        if !seen.insert(value) {
            errors.push(FieldError::duplicate(&path, value));
        }
    }
}

/// The name of a webhook or a group: a domain of three parts at least.
pub(super) fn fully_qualified_name(errors: &mut ErrorList, path: &Path, name: &str) {
    if !required(errors, path, name) {
        return;
    }
    let judged = names::dns_subdomain(name);
    if !judged.is_empty() {
        joined(errors, path, name, &judged, "", ",");
    } else if name.split('.').count() < 3 {
        let why = "should be a domain with at least three segments separated by dots";
        errors.push(FieldError::invalid(path, name, why));
    }
}

/// Conditions of the common form.
pub(super) fn conditions(errors: &mut ErrorList, list: &Path, conditions: &[Condition]) {
    let types = conditions.iter().enumerate();
    unique(errors, types.map(|(index, found)| (list.index(index).child("type"), found.type_.as_str())));
    for (index, condition) in conditions.iter().enumerate() {
        let path = list.index(index);
        invalid(errors, &path.child("type"), condition.type_.as_str(), names::qualified_name(&condition.type_));
        one_of(errors, &path.child("status"), &condition.status, &["False", "True", "Unknown"]);
        if let Some(generation) = condition.observed_generation.filter(|generation| *generation < 0) {
            let why = "must be greater than or equal to zero";
            errors.push(FieldError::invalid(&path.child("observedGeneration"), generation, why));
        }
        if condition.last_transition_time.0.to_string() == NO_TIME {
            errors.push(FieldError::required(&path.child("lastTransitionTime"), "must be set"));
        }
        if condition.reason.is_empty() {
            errors.push(FieldError::required(&path.child("reason"), "must be set"));
        } else {
            invalid(
                errors,
                &path.child("reason"),
                condition.reason.as_str(),
                names::condition_reason(&condition.reason),
            );
        }
        for (field, text, limit) in [("reason", &condition.reason, 1024), ("message", &condition.message, 32 * 1024)] {
            if text.len() > limit {
                errors.push(FieldError::too_long(&path.child(field), limit));
            }
        }
    }
}

/// A number that must not be below zero.
pub(super) fn non_negative(errors: &mut ErrorList, path: &Path, value: impl Into<i64>) {
    let value = value.into();
    if value < 0 {
        errors.push(FieldError::invalid(path, value, "must be greater than or equal to 0"));
    }
}

/// The same for an optional field.
pub(super) fn optional_non_negative<N: Into<i64> + Copy>(errors: &mut ErrorList, path: &Path, value: Option<N>) {
    if let Some(value) = value {
        non_negative(errors, path, value);
    }
}

/// A value that must stay.
pub(super) fn immutable<T: PartialEq + Serialize + ?Sized>(errors: &mut ErrorList, path: &Path, new: &T, old: &T) {
    if new != old {
        errors.push(FieldError::invalid(path, json(new), IMMUTABLE));
    }
}

/// Labels: node selectors, the labels of objects.
pub(super) fn labels(errors: &mut ErrorList, path: &Path, labels: Option<&BTreeMap<String, String>>) {
    for (key, value) in labels.into_iter().flatten() {
        invalid(errors, path, key.as_str(), names::label_key(key));
        invalid(errors, path, value.as_str(), names::label_value(value));
    }
}

/// A label selector of an object.
pub(super) fn label_selector(errors: &mut ErrorList, path: &Path, selector: &LabelSelector) {
    labels(errors, &path.child("matchLabels"), selector.match_labels.as_ref());
    for (index, expression) in selector.match_expressions.iter().flatten().enumerate() {
        let path = path.child("matchExpressions").index(index);
        let values = expression.values.as_deref().unwrap_or_default();
        set_operator(errors, &path, &expression.operator, values);
        invalid(errors, &path.child("key"), expression.key.as_str(), names::label_key(&expression.key));
        for (index, value) in values.iter().enumerate() {
            invalid(errors, &path.child("values").index(index), value.as_str(), names::label_value(value));
        }
    }
}

/// Judges whether an operator on sets fits its values; tells whether it is one.
fn set_operator(errors: &mut ErrorList, path: &Path, operator: &str, values: &[String]) {
    match operator {
        "In" | "NotIn" if values.is_empty() => {
            let why = "must be specified when `operator` is 'In' or 'NotIn'";
            errors.push(FieldError::required(&path.child("values"), why));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            errors.push(FieldError::forbidden(&path.child("values"), why));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        _ => errors.push(FieldError::invalid(&path.child("operator"), operator, "not a valid selector operator")),
    }
}

/// One term of a node selector; those that must match have values that labels can have.
pub(super) fn node_selector_term(errors: &mut ErrorList, path: &Path, term: &NodeSelectorTerm, must_match: bool) {
    for (index, requirement) in term.match_expressions.iter().flatten().enumerate() {
        let path = path.child("matchExpressions").index(index);
        node_requirement(errors, &path, requirement);
        for (index, value) in requirement.values.iter().flatten().enumerate().filter(|_| must_match) {
            invalid(errors, &path.child("values").index(index), value.as_str(), names::label_value(value));
        }
    }
    for (index, requirement) in term.match_fields.iter().flatten().enumerate() {
        node_field_requirement(errors, &path.child("matchFields").index(index), requirement);
    }
}

fn node_requirement(errors: &mut ErrorList, path: &Path, requirement: &NodeSelectorRequirement) {
    let values = requirement.values.as_deref().unwrap_or_default();
    match requirement.operator.as_str() {
        "Gt" | "Lt" => {
            if values.len() != 1 {
                let why = "must be specified single value when `operator` is 'Lt' or 'Gt'";
                errors.push(FieldError::required(&path.child("values"), why));
            }
        }
        operator => set_operator(errors, path, operator, values),
    }
    invalid(errors, &path.child("key"), requirement.key.as_str(), names::label_key(&requirement.key));
}

fn node_field_requirement(errors: &mut ErrorList, path: &Path, requirement: &NodeSelectorRequirement) {
    let values = requirement.values.as_deref().unwrap_or_default();
    match requirement.operator.as_str() {
        "In" | "NotIn" => {
            if values.len() != 1 {
                let why = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
                errors.push(FieldError::required(&path.child("values"), why));
            }
        }
        operator => {
            errors.push(FieldError::invalid(&path.child("operator"), operator, "not a valid selector operator"));
        }
    }
    if requirement.key == "metadata.name" {
        for (index, value) in values.iter().enumerate() {
            invalid(errors, &path.child("values").index(index), value.as_str(), names::dns_subdomain(value));
        }
    } else {
        let why = "not a valid field selector key";
        errors.push(FieldError::invalid(&path.child("key"), requirement.key.as_str(), why));
    }
}

/// A port that is a number or the name of one.
pub(super) fn port(errors: &mut ErrorList, path: &Path, port: &IntOrString) {
    match port {
        IntOrString::Int(number) => invalid(errors, path, *number, names::port_number(i64::from(*number))),
        IntOrString::String(name) => invalid(errors, path, name.as_str(), names::port_name(name)),
    }
}

/// A number that must not be below zero, or a percentage.
pub(super) fn count_or_percent(errors: &mut ErrorList, path: &Path, value: &IntOrString) {
    match value {
        IntOrString::Int(number) => non_negative(errors, path, *number),
        IntOrString::String(text) => invalid(errors, path, text.as_str(), names::percent(text)),
    }
}

/// A percentage that must not be above 100.
pub(super) fn at_most_all(errors: &mut ErrorList, path: &Path, value: &IntOrString) {
    if percent(value).is_some_and(|percent| percent > 100) {
        errors.push(FieldError::invalid(path, json(value), "must not be greater than 100%"));
    }
}

/// The number of a percentage.
pub(super) fn percent(value: &IntOrString) -> Option<i64> {
    match value {
        IntOrString::Int(_) => None,
        IntOrString::String(text) => text.strip_suffix('%')?.parse().ok(),
    }
}

/// Whether a count or percentage is nothing.
pub(super) fn is_zero(value: &IntOrString) -> bool {
    match value {
        IntOrString::Int(number) => *number == 0,
        IntOrString::String(_) => percent(value) == Some(0),
    }
}

/// Reads a quantity, and tells if it is none.
pub(super) fn quantity(errors: &mut ErrorList, path: &Path, wire: &WireQuantity) -> Option<Quantity> {
    match Quantity::from_k8s(wire) {
        Ok(quantity) => Some(quantity),
        Err(error) => {
            errors.push(FieldError::invalid(path, wire.0.as_str(), error.to_string()));
            None
        }
    }
}

/// An IP address.
pub(super) fn ip(errors: &mut ErrorList, path: &Path, address: &str) {
    invalid(errors, path, address, names::ip(address));
}

/// The sub-paths that a path below a volume must not have.
pub(super) fn no_backsteps(errors: &mut ErrorList, path: &Path, value: &str) {
    if value.split('/').any(|part| part == "..") {
        errors.push(FieldError::invalid(path, value, "must not contain '..'"));
    }
}

/// A path that stays below where it starts.
pub(super) fn descending_path(errors: &mut ErrorList, path: &Path, value: &str) {
    if value.starts_with('/') {
        errors.push(FieldError::invalid(path, value, "must be a relative path"));
    }
    no_backsteps(errors, path, value);
}

/// The same for a file that a volume writes, which must not look like the volume's own files.
pub(super) fn volume_file_path(errors: &mut ErrorList, path: &Path, value: &str) {
    descending_path(errors, path, value);
    if value.starts_with("..") && !value.starts_with("../") {
        errors.push(FieldError::invalid(path, value, "must not start with '..'"));
    }
}
