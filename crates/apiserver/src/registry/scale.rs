//! The `scale` subresource: replicas and selector of a workload, as `autoscaling/v1` Scale.

use api::custom::Scale;
use api::kinds::Resource;
use api::selector::LabelSelector;
use api::status::Status;
use serde_json::{Value, json};

use super::Expected;

/// The type of a Scale.
pub(crate) const SCALE: Expected<'static> = Expected {
    group: "autoscaling",
    version: "v1",
    kind: "Scale",
    schema: "io.k8s.api.autoscaling.v1.Scale",
    custom: None,
};

/// The Scale of an object.
pub(crate) fn from_object(resource: &Resource, object: &Value) -> Result<Value, Status> {
    match scale_of(resource) {
        Some(paths) => from_custom(paths, object),
        None => Ok(from_workload(object)),
    }
}

/// Where a custom resource has the values of its scale.
fn scale_of(resource: &Resource) -> Option<&Scale> {
    resource.custom.as_ref()?.version().scale.as_ref()
}

fn from_custom(paths: &Scale, object: &Value) -> Result<Value, Status> {
    let at = |path: &str| fields(path).try_fold(object, |value, field| value.get(field));
    let Some(replicas) = at(&paths.spec_replicas) else {
        let path = api::field::quote(&paths.spec_replicas);
        return Err(Status::internal(format_args!("the spec replicas field {path} does not exist")));
    };
    let selector = paths.label_selector.as_deref().and_then(at).and_then(Value::as_str);
    let there = at(&paths.status_replicas).and_then(Value::as_i64).unwrap_or(0);
    Ok(scale(object, replicas.as_i64().unwrap_or(0), there, selector.map(str::to_owned)))
}

fn fields(path: &str) -> impl Iterator<Item = &str> {
    path.trim_start_matches('.').split('.')
}

fn from_workload(object: &Value) -> Value {
    let selector = match object.pointer("/spec/selector") {
        // Replication controllers select by plain labels.
        Some(labels) if api::meta::kind(object) == "ReplicationController" => {
            serde_json::from_value(labels.clone()).map(|labels| LabelSelector::from_labels(&labels).to_string()).ok()
        }
        Some(selector) => selector_text(selector),
        None => None,
    };
    let number = |path: &str| object.pointer(path).and_then(Value::as_i64).unwrap_or(0);
    scale(object, number("/spec/replicas"), number("/status/replicas"), selector)
}

fn scale(object: &Value, wanted: i64, there: i64, selector: Option<String>) -> Value {
    let mut metadata = json!({});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = api::meta::metadata(object).and_then(|metadata| metadata.get(field)) {
            metadata[field] = value.clone();
        }
    }
    let mut spec = json!({});
    if wanted != 0 {
        spec["replicas"] = wanted.into();
    }
    let mut status = json!({"replicas": there});
    if let Some(selector) = selector.filter(|selector| !selector.is_empty()) {
        status["selector"] = selector.into();
    }
    json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status})
}

/// The object with the replicas of a Scale.
pub(crate) fn apply(resource: &Resource, object: &Value, scale: &Value) -> Result<Value, Status> {
    let replicas = scale.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(0);
    let paths = scale_of(resource);
    // What custom resources may have is for their own validation to say.
    if replicas < 0 && paths.is_none() {
        let path = api::field::Path::new("spec").child("replicas");
        let error = api::field::FieldError::invalid(&path, replicas, "must be greater than or equal to 0");
        return Err(Status::invalid("autoscaling", "Scale", api::meta::name(object), vec![error]));
    }
    let mut changed = object.clone();
    set(&mut changed, fields(paths.map_or(".spec.replicas", |paths| &paths.spec_replicas)), replicas);
    if let Some(paths) = paths {
        // Upstream knows no type of a custom resource's scale, so that nobody owns what is written through it.
        let path: Vec<&str> = fields(&paths.spec_replicas).collect();
        api::managed::disown(&mut changed, &path);
    }
    // The Scale carries the object's version: a stale one is a conflict.
    if let Some(version) = api::meta::resource_version(scale) {
        api::meta::set_resource_version(&mut changed, version);
    }
    if let Some(uid) = api::meta::uid(scale) {
        api::meta::set_uid(&mut changed, uid);
    }
    Ok(changed)
}

/// The configuration of an object that sets nothing but the replicas.
pub(crate) fn configuration(resource: &Resource, replicas: i64) -> Value {
    let mut config = json!({"apiVersion": resource.api_version(), "kind": resource.kind, "metadata": {}});
    let path = scale_of(resource).map_or(".spec.replicas", |paths| &paths.spec_replicas);
    set(&mut config, fields(path), replicas);
    config
}

fn set<'a>(object: &mut Value, path: impl Iterator<Item = &'a str>, replicas: i64) {
    let mut at = object;
    for field in path {
        if !at.is_object() {
            *at = json!({});
        }
        at = &mut at[field];
    }
    *at = replicas.into();
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
