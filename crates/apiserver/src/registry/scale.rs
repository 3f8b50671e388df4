//! The `scale` subresource: replicas and selector of a workload, as `autoscaling/v1` Scale.

use api::selector::LabelSelector;
use api::status::Status;
use serde_json::{Value, json};

/// The Scale of a workload.
pub(crate) fn from_object(object: &Value) -> Value {
    let selector = match object.pointer("/spec/selector") {
        // Replication controllers select by plain labels.
        Some(labels) if api::meta::kind(object) == "ReplicationController" => {
            serde_json::from_value(labels.clone()).map(|labels| LabelSelector::from_labels(&labels).to_string()).ok()
        }
        Some(selector) => selector_text(selector),
        None => None,
    };
    let mut metadata = json!({});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = api::meta::metadata(object).and_then(|metadata| metadata.get(field)) {
            metadata[field] = value.clone();
        }
    }
    let mut spec = json!({});
    if let Some(replicas) = object.pointer("/spec/replicas").and_then(Value::as_i64).filter(|replicas| *replicas != 0) {
        spec["replicas"] = replicas.into();
    }
    let mut status = json!({"replicas": object.pointer("/status/replicas").and_then(Value::as_i64).unwrap_or(0)});
    if let Some(selector) = selector.filter(|selector| !selector.is_empty()) {
        status["selector"] = selector.into();
    }
    json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status})
}

/// The workload with the replicas of a Scale.
pub(crate) fn apply(object: &Value, scale: &Value) -> Result<Value, Status> {
    let replicas = scale.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(0);
    if replicas < 0 {
        let path = api::field::Path::new("spec").child("replicas");
        let error = api::field::FieldError::invalid(&path, replicas, "must be greater than or equal to 0");
        return Err(Status::invalid("autoscaling", "Scale", api::meta::name(object), vec![error]));
    }
    let mut changed = object.clone();
    changed["spec"]["replicas"] = replicas.into();
    // The Scale carries the workload's version: a stale one is a conflict.
    match api::meta::resource_version(scale) {
        Some(version) => api::meta::set_resource_version(&mut changed, version),
        None => {
            api::meta::remove(&mut changed, "resourceVersion");
        }
    }
    if let Some(uid) = api::meta::uid(scale) {
        api::meta::set_uid(&mut changed, uid);
    }
    Ok(changed)
}

/// The selector as text: labels as `key=value`, expressions as they are.
fn selector_text(selector: &Value) -> Option<String> {
    let labels = selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten();
    let mut terms: Vec<String> =
        labels.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    let mut expressions = selector.clone();
    expressions.as_object_mut()?.remove("matchLabels");
    let expressions = serde_json::from_value(expressions).ok()?;
    let expressions = LabelSelector::from_k8s(&expressions).ok()?;
    if !expressions.is_empty() {
        terms.push(expressions.to_string());
    }
    terms.sort();
    Some(terms.join(","))
}
