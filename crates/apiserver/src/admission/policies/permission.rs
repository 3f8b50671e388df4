//! Who may make policies with parameters: only who can read the parameters, as policies show what is in them.

use api::field::{FieldError, Path};
use api::status::Status;
use serde_json::Value;

use super::super::{Attributes, Operation};
use super::params::ParamKind;
use crate::access::Identity;
use crate::access::attributes::{Attributes as Question, ResourceAttributes};

const GROUP: &str = "admissionregistration.k8s.io";

/// Judges a policy or a binding that is about to be written.
pub(in super::super) fn check(attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Status> {
    let resource = attributes.scope.resource;
    let is_asked = matches!(attributes.operation, Operation::Create | Operation::Update);
    if resource.group != GROUP || !attributes.caller.subresource.is_empty() || !is_asked {
        return Ok(());
    }
    match &*resource.plural {
        "mutatingadmissionpolicies" | "validatingadmissionpolicies" => policy(attributes, object),
        "mutatingadmissionpolicybindings" => binding(attributes, object, "mutatingadmissionpolicies"),
        "validatingadmissionpolicybindings" => binding(attributes, object, "validatingadmissionpolicies"),
        _ => Ok(()),
    }
}

/// Whether fields of the spec are what they were.
fn is_same(attributes: &Attributes<'_>, object: &Value, fields: &[&str]) -> bool {
    attributes.old.is_some_and(|old| fields.iter().all(|field| old["spec"][field] == object["spec"][field]))
}

/// Parameters as authorization is asked about them: of a resource, or of anything while that is not known.
fn asked(attributes: &Attributes<'_>, kind: &Value) -> (String, String) {
    let (group, _) = api::meta::split_api_version(kind["apiVersion"].as_str().unwrap_or_default());
    let resource = ParamKind::read(kind).and_then(|kind| kind.resource(attributes.registry).ok());
    let plural = resource.map_or_else(|| "*".to_owned(), |resource| resource.plural.to_string());
    (group.to_owned(), plural)
}

fn policy(attributes: &Attributes<'_>, object: &Value) -> Result<(), Status> {
    let kind = &object["spec"]["paramKind"];
    if !kind.is_object() || is_same(attributes, object, &["paramKind"]) {
        return Ok(());
    }
    let (group, resource) = asked(attributes, kind);
    let question = ResourceAttributes {
        group: &group,
        resource: &resource,
        namespace: "*",
        name: "*",
        ..ResourceAttributes::default()
    };
    let text = |field: &str| kind[field].as_str().unwrap_or_default();
    judge(attributes, object, question, "paramKind", |user| {
        format!(
            "user {user} must have \"get\" permission on all objects of the referenced paramKind (kind={}, apiVersion={})",
            text("kind"),
            text("apiVersion")
        )
    })
}

fn binding(attributes: &Attributes<'_>, object: &Value, policies: &str) -> Result<(), Status> {
    let spec = &object["spec"];
    if !spec["paramRef"].is_object() || is_same(attributes, object, &["paramRef", "policyName"]) {
        return Ok(());
    }
    let rows = api::kinds::all().iter().filter(|row| row.group == GROUP && row.plural == policies);
    let policy = rows
        .filter(|row| row.is_storage_version())
        .find_map(|row| attributes.registry.cached(row, spec["policyName"].as_str().unwrap_or_default()))
        .map(|policy| policy.value());
    let kind = policy.as_ref().map(|policy| &policy["spec"]["paramKind"]).filter(|kind| kind.is_object());
    let anything = || ("*".to_owned(), "*".to_owned());
    let (group, resource) = kind.map_or_else(anything, |kind| asked(attributes, kind));
    let text = |field: &str| spec["paramRef"][field].as_str().unwrap_or_default();
    let question = ResourceAttributes {
        group: &group,
        resource: &resource,
        namespace: text("namespace"),
        name: text("name"),
        ..ResourceAttributes::default()
    };
    judge(attributes, object, question, "paramRef", |user| {
        format!("user {user} does not have \"get\" permission on the object referenced by paramRef")
    })
}

fn judge(
    attributes: &Attributes<'_>,
    object: &Value,
    question: ResourceAttributes<'_>,
    field: &str,
    why: impl Fn(&str) -> String,
) -> Result<(), Status> {
    let identity = attributes.caller.identity;
    if attributes.registry.authorization.decide_now(&Question::of_verb(identity, "get", question)).is_allowed() {
        return Ok(());
    }
    let error = FieldError::forbidden(&Path::new("spec").child(field), why(&shown(identity)));
    Err(Status::invalid(GROUP, api::meta::kind(object), api::meta::name(object), vec![error]))
}

/// A user as upstream's messages show one.
fn shown(identity: &Identity) -> String {
    let Identity { user, uid, groups, extra } = identity;
    let extra: Vec<String> = extra.iter().map(|(key, values)| format!("{key}:[{}]", values.join(" "))).collect();
    let uid = uid.as_deref().unwrap_or_default();
    format!("&{{{user} {uid} [{}] map[{}]}}", groups.join(" "), extra.join(" "))
}
