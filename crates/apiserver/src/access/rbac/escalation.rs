//! Nobody gives away what he does not have: who writes a role needs what is in it or the verb `escalate`, and who
//! binds a role needs what is in it or the verb `bind`.

use api::field::quote;
use api::status::Status;
use serde_json::Value;

use super::cover::{describe, quote_list, uncovered};
use super::index::RoleRef;
use super::rule::{ALL, Rule};
use crate::access::attributes::{Attributes, ResourceAttributes};
use crate::access::identity::MASTERS;
use crate::admission;

const GROUP: &str = "rbac.authorization.k8s.io";

/// Judges a new or changed role or binding; a step of admission.
pub(crate) fn check(asked: &admission::Attributes<'_>, object: &mut Value) -> Result<(), Status> {
    if asked.scope.resource.group != GROUP || asked.caller.identity.is_in(MASTERS) {
        return Ok(());
    }
    if asked.old.is_some_and(|old| is_only_released(object, old)) {
        return Ok(());
    }
    match &*asked.scope.resource.plural {
        "roles" | "clusterroles" => check_role(asked, object),
        "rolebindings" | "clusterrolebindings" => check_binding(asked, object),
        _ => Ok(()),
    }
}

/// Whether an update changes nothing but what lets garbage collection delete the object.
fn is_only_released(new: &Value, old: &Value) -> bool {
    let rest = |object: &Value| {
        let mut object = object.clone();
        for field in ["ownerReferences", "finalizers", "managedFields", "resourceVersion"] {
            api::meta::remove(&mut object, field);
        }
        object
    };
    rest(new) == rest(old)
}

fn check_role(asked: &admission::Attributes<'_>, role: &Value) -> Result<(), Status> {
    let resource = ResourceAttributes {
        group: GROUP,
        resource: &asked.scope.resource.plural,
        namespace: asked.scope.namespace.unwrap_or_default(),
        // A create does not name what it makes.
        name: asked.old.map(api::meta::name).unwrap_or_default(),
        ..ResourceAttributes::default()
    };
    if may(asked, "escalate", resource) {
        return Ok(());
    }
    let rules: Vec<Rule> = serde_json::from_value(role["rules"].clone()).unwrap_or_default();
    check_held(asked, role, &rules)?;
    let aggregates = |role: &Value| role.get("aggregationRule").is_some_and(|rule| !rule.is_null());
    if (aggregates(role) || asked.old.is_some_and(aggregates)) && !missing(asked, &everything()).0.is_empty() {
        return Err(asked.forbidden(role, "must have cluster-admin privileges to use an aggregationRule"));
    }
    Ok(())
}

fn check_binding(asked: &admission::Attributes<'_>, binding: &Value) -> Result<(), Status> {
    let text = |path: &str| binding.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let (kind, name) = (text("/roleRef/kind"), text("/roleRef/name"));
    let namespace = asked.scope.namespace.unwrap_or_default();
    let (plural, role) = match kind {
        "Role" => ("roles", RoleRef::Namespaced(format!("{namespace}/{name}").into())),
        "ClusterRole" => ("clusterroles", RoleRef::Cluster(name.into())),
        // Validation refuses it.
        _ => return Ok(()),
    };
    let group = text("/roleRef/apiGroup");
    let resource = ResourceAttributes { group, resource: plural, namespace, name, ..ResourceAttributes::default() };
    if may(asked, "bind", resource) {
        return Ok(());
    }
    let Some(rules) = asked.registry.authorization.rbac.rules(&role) else {
        return Err(Status::not_found(GROUP, plural, name));
    };
    check_held(asked, binding, &rules)
}

fn may(asked: &admission::Attributes<'_>, verb: &str, resource: ResourceAttributes<'_>) -> bool {
    let attributes = Attributes::of_verb(asked.caller.identity, verb, resource);
    asked.registry.authorization.decide_now(&attributes).is_allowed()
}

fn everything() -> Vec<Rule> {
    let all = || vec![ALL.to_owned()];
    vec![
        Rule { verbs: all(), api_groups: all(), resources: all(), ..Rule::default() },
        Rule { verbs: all(), non_resource_urls: all(), ..Rule::default() },
    ]
}

/// What of the rules the caller does not hold, and why that may be too much.
fn missing(asked: &admission::Attributes<'_>, rules: &[Rule]) -> (Vec<Rule>, Option<String>) {
    let namespace = asked.scope.namespace.unwrap_or_default();
    let (held, errors) = asked.registry.authorization.rbac.rules_for(asked.caller.identity, namespace);
    (uncovered(&held, rules), errors)
}

fn check_held(asked: &admission::Attributes<'_>, object: &Value, rules: &[Rule]) -> Result<(), Status> {
    let (missing, errors) = missing(asked, rules);
    if missing.is_empty() {
        return Ok(());
    }
    let identity = asked.caller.identity;
    let mut why = format!(
        "user {} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
        quote(&identity.user),
        quote_list(&identity.groups),
        describe(&missing),
    );
    if let Some(errors) = errors {
        why.push_str(&format!("; resolution errors: {errors}"));
    }
    Err(asked.forbidden(object, why))
}
