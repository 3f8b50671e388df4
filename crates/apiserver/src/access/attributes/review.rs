//! Questions to authorization as a SubjectAccessReview has them.

use api::selector::{FieldSelector, FieldTerm, LabelSelector, Operator, Requirement};
use serde_json::{Map, Value, json};

use super::{Asked, Attributes, ResourceAttributes};

/// The `spec` of the review that asks the same.
pub(crate) fn spec(attributes: &Attributes<'_>) -> Value {
    let identity = attributes.identity;
    let mut spec = json!({"user": identity.user, "groups": identity.groups});
    if let Some(uid) = &identity.uid {
        spec["uid"] = uid.as_str().into();
    }
    if !identity.extra.is_empty() {
        spec["extra"] = json!(identity.extra);
    }
    match &attributes.target {
        Asked::Path(path) => spec["nonResourceAttributes"] = json!({"path": path, "verb": attributes.verb}),
        Asked::Resource(asked) => spec["resourceAttributes"] = resource(attributes.verb, asked),
    }
    spec
}

fn resource(verb: &str, asked: &ResourceAttributes<'_>) -> Value {
    let version = if asked.version.is_empty() { "*" } else { asked.version };
    let all = [
        ("verb", verb),
        ("namespace", asked.namespace),
        ("group", asked.group),
        ("version", version),
        ("resource", asked.resource),
        ("subresource", asked.subresource),
        ("name", asked.name),
    ];
    let given = all.into_iter().filter(|(_, value)| !value.is_empty());
    let mut resource: Map<String, Value> = given.map(|(field, value)| (field.to_owned(), value.into())).collect();
    if let Some(fields) = asked.fields.filter(|fields| !fields.is_empty()) {
        let requirements: Vec<Value> = fields.terms().iter().map(field_requirement).collect();
        resource.insert("fieldSelector".to_owned(), json!({"requirements": requirements}));
    }
    let labels = asked.labels.iter().flat_map(|labels| labels.requirements());
    let requirements: Vec<Value> = labels.filter_map(label_requirement).collect();
    if !requirements.is_empty() {
        resource.insert("labelSelector".to_owned(), json!({"requirements": requirements}));
    }
    Value::Object(resource)
}

fn field_requirement(term: &FieldTerm) -> Value {
    json!({"key": term.field, "operator": if term.equal { "In" } else { "NotIn" }, "values": [term.value]})
}

/// Nothing for what a review has no operator for: the question is then asked more widely.
fn label_requirement(requirement: &Requirement) -> Option<Value> {
    let operator = match requirement.operator {
        Operator::In | Operator::Equals => "In",
        Operator::NotIn | Operator::NotEquals => "NotIn",
        Operator::Exists => "Exists",
        Operator::DoesNotExist => "DoesNotExist",
        Operator::GreaterThan | Operator::LessThan => return None,
    };
    let mut written = json!({"key": requirement.key, "operator": operator});
    if !requirement.values.is_empty() {
        written["values"] = json!(requirement.values);
    }
    Some(written)
}

/// The selectors that a review asks about.
#[derive(Debug, Default)]
pub(crate) struct AskedSelectors {
    pub(crate) fields: Option<FieldSelector>,
    pub(crate) labels: Option<LabelSelector>,
    /// What could not be read of them, which is asked more widely.
    pub(crate) ignored: Vec<String>,
}

impl AskedSelectors {
    /// Those of `resourceAttributes`.
    pub(crate) fn of(resource: &Value) -> Self {
        let (fields, fields_wrong) = read(&resource["fieldSelector"], FieldSelector::parse, field_term);
        let (labels, labels_wrong) = read(&resource["labelSelector"], LabelSelector::parse, label);
        let mut ignored = Vec::new();
        let mut note = |name: &str, is_wrong: bool, is_part: bool| {
            if is_wrong {
                let part = if is_part { "partially ignored" } else { "ignored" };
                ignored.push(format!("spec.resourceAttributes.{name} {part} due to parse error"));
            }
        };
        note("fieldSelector", fields_wrong, fields.as_ref().is_some_and(|fields| !fields.is_empty()));
        note("labelSelector", labels_wrong, labels.as_ref().is_some_and(|labels| !labels.is_empty()));
        Self { fields, labels, ignored }
    }
}

/// A selector that is written out or given as requirements, and whether something of it could not be read.
fn read<S: FromIterator<T>, T, E>(
    selector: &Value,
    parse: impl Fn(&str) -> Result<S, E>,
    one: impl Fn(&Value) -> Option<T>,
) -> (Option<S>, bool) {
    if let Some(raw) = selector["rawSelector"].as_str().filter(|raw| !raw.is_empty()) {
        let parsed = parse(raw).ok();
        let is_wrong = parsed.is_none();
        return (parsed, is_wrong);
    }
    let Some(requirements) = selector["requirements"].as_array() else { return (None, false) };
    let read: Vec<T> = requirements.iter().filter_map(one).collect();
    let is_wrong = read.len() < requirements.len();
    (Some(read.into_iter().collect()), is_wrong)
}

fn field_term(requirement: &Value) -> Option<FieldTerm> {
    let equal = match requirement["operator"].as_str()? {
        "In" => true,
        "NotIn" => false,
        _ => return None,
    };
    let [value] = requirement["values"].as_array()?.as_slice() else { return None };
    Some(FieldTerm { field: requirement["key"].as_str()?.to_owned(), value: value.as_str()?.to_owned(), equal })
}

fn label(requirement: &Value) -> Option<Requirement> {
    let selector = serde_json::from_value(json!({"matchExpressions": [requirement]})).ok()?;
    LabelSelector::from_k8s(&selector).ok()?.requirements().first().cloned()
}
