//! PodTolerationRestriction: pods of a namespace get its tolerations, and may have none but those that it lists.

use api::quota::is_best_effort;
use api::status::Status;
use serde::Deserialize;
use serde_json::{Value, json};

use super::control_config::{AdmissionConfigurationError, typed};
use super::{Attributes, Handler, Operation, Plugin};

pub(super) const PLUGIN: Plugin = Plugin {
    admit: &[(Operation::Create, Handler::Now(merge)), (Operation::Update, Handler::Now(merge))],
    validate: &[(Operation::Create, Handler::Now(judge)), (Operation::Update, Handler::Now(judge))],
    ..Plugin::off("PodTolerationRestriction")
};

/// The tolerations of a namespace's pods, and those that they may have: lists in JSON.
const DEFAULTS: &str = "scheduler.alpha.kubernetes.io/defaultTolerations";
const ALLOWED: &str = "scheduler.alpha.kubernetes.io/tolerationsWhitelist";

const MEMORY_PRESSURE: &str = "node.kubernetes.io/memory-pressure";

/// What holds in namespaces that say nothing.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PodTolerations {
    #[serde(rename = "apiVersion", default)]
    _api_version: String,
    #[serde(rename = "kind", default)]
    _kind: String,
    #[serde(default)]
    default: Vec<Value>,
    #[serde(default)]
    whitelist: Vec<Value>,
}

/// Reads the plugin's configuration.
pub(super) fn configure(document: Value) -> Result<PodTolerations, AdmissionConfigurationError> {
    typed("podtolerationrestriction.admission.k8s.io/v1alpha1 Configuration", &["v1alpha1"], document)
}

/// Gives a pod the tolerations of its namespace.
fn merge(attributes: &Attributes<'_>, pod: &mut Value) -> Result<(), Status> {
    if !attributes.is("", "pods") {
        return Ok(());
    }
    let mut extra = Vec::new();
    if attributes.operation == Operation::Create {
        let own = of_namespace(attributes, DEFAULTS)?;
        extra = own.unwrap_or_else(|| configuration(attributes).default.clone());
    }
    if !is_best_effort(pod) {
        extra.push(json!({"key": MEMORY_PRESSURE, "operator": "Exists", "effect": "NoSchedule"}));
    }
    if !extra.is_empty() {
        let merged = merged(pod["spec"]["tolerations"].as_array().cloned().unwrap_or_default(), extra);
        pod["spec"]["tolerations"] = merged.into();
    }
    judge(attributes, pod)
}

/// Refuses a pod with a toleration that is not listed.
fn judge(attributes: &Attributes<'_>, pod: &mut Value) -> Result<(), Status> {
    if !attributes.is("", "pods") {
        return Ok(());
    }
    let tolerations = pod["spec"]["tolerations"].as_array().map_or(&[][..], Vec::as_slice);
    let own = of_namespace(attributes, ALLOWED)?;
    let (allowed, scope) = match &own {
        Some(own) => (own, "namespace"),
        None => (&configuration(attributes).whitelist, "cluster"),
    };
    let is_allowed = |toleration| allowed.iter().any(|allowed| covers(allowed, toleration));
    if allowed.is_empty() || tolerations.iter().all(is_allowed) {
        return Ok(());
    }
    Err(Status::unclassified(format!(
        "pod tolerations (possibly merged with namespace default tolerations) conflict with its {scope} whitelist"
    )))
}

fn configuration<'a>(attributes: &Attributes<'a>) -> &'a PodTolerations {
    &attributes.registry.config.admission.pod_tolerations
}

/// The tolerations that a namespace has in an annotation; an empty annotation is an empty list.
fn of_namespace(attributes: &Attributes<'_>, annotation: &str) -> Result<Option<Vec<Value>>, Status> {
    let namespace = attributes.scope.namespace.unwrap_or_default();
    let Some(found) = attributes.registry.cached_by("", "v1", "namespaces", None, namespace) else {
        return Err(Status::not_found("", "namespaces", namespace));
    };
    let found = found.value();
    match api::meta::annotation(&found, annotation) {
        None => Ok(None),
        Some("") => Ok(Some(Vec::new())),
        Some(text) => serde_json::from_str(text).map(Some).map_err(|err| Status::unclassified(err.to_string())),
    }
}

/// Both lists, without what others of them cover.
fn merged(first: Vec<Value>, second: Vec<Value>) -> Vec<Value> {
    let all: Vec<Value> = first.into_iter().chain(second).collect();
    let mut merged: Vec<Value> = Vec::new();
    for (index, toleration) in all.iter().enumerate() {
        let is_covered = merged.iter().any(|other| covers(other, toleration))
            || all[index + 1..].iter().any(|other| other != toleration && covers(other, toleration));
        if !is_covered {
            merged.push(toleration.clone());
        }
    }
    merged
}

/// Whether everything that `toleration` tolerates `other` tolerates too.
fn covers(other: &Value, toleration: &Value) -> bool {
    let text = |toleration: &Value, field: &str| toleration[field].as_str().unwrap_or_default().to_owned();
    let operator = text(other, "operator");
    let exists = operator == "Exists";
    if other == toleration {
        return true;
    }
    // Without a key all keys and values are meant, without an effect all effects.
    let key = text(other, "key");
    if text(toleration, "key") != key && !(key.is_empty() && exists) {
        return false;
    }
    let effect = text(other, "effect");
    if text(toleration, "effect") != effect && !effect.is_empty() {
        return false;
    }
    if effect == "NoExecute"
        && let Some(seconds) = other["tolerationSeconds"].as_i64()
        && toleration["tolerationSeconds"].as_i64().is_none_or(|own| own > seconds)
    {
        return false;
    }
    let is_equal = matches!(text(toleration, "operator").as_str(), "" | "Equal");
    match operator.as_str() {
        "" | "Equal" => is_equal && text(toleration, "value") == text(other, "value"),
        _ => exists,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(other: Value, toleration: Value, expected: bool) {
        assert_eq!(covers(&other, &toleration), expected, "{other} {toleration}");
    }

    #[test]
    fn a_toleration_covers_what_it_tolerates_too() {
        let gpu = |more: Value| {
            let mut toleration = json!({"key": "gpu", "operator": "Equal", "value": "a", "effect": "NoExecute"});
            for (field, value) in more.as_object().into_iter().flatten() {
                toleration[field] = value.clone();
            }
            toleration
        };
        check(gpu(json!({})), gpu(json!({})), true);
        check(json!({"operator": "Exists"}), gpu(json!({})), true);
        check(json!({"key": "gpu", "operator": "Exists"}), gpu(json!({})), true);
        check(json!({"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}), gpu(json!({})), false);
        check(json!({"key": "gpu", "value": "b"}), gpu(json!({})), false);
        check(gpu(json!({"tolerationSeconds": 60})), gpu(json!({"tolerationSeconds": 30})), true);
        check(gpu(json!({"tolerationSeconds": 60})), gpu(json!({"tolerationSeconds": 90})), false);
        check(gpu(json!({"tolerationSeconds": 60})), gpu(json!({})), false);
        check(gpu(json!({})), json!({"key": "gpu", "operator": "Exists", "effect": "NoExecute"}), false);
    }

    #[test]
    fn what_is_covered_is_left_out() {
        let (one, all) =
            (json!({"key": "a", "operator": "Equal", "value": "b"}), json!({"key": "a", "operator": "Exists"}));
        assert_eq!(merged(vec![one.clone()], vec![all.clone()]), std::slice::from_ref(&all));
        assert_eq!(merged(vec![one.clone()], vec![one.clone()]), std::slice::from_ref(&one));
        assert_eq!(merged(vec![all.clone()], vec![one]), [all]);
    }
}
