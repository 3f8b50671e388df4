//! The smaller kinds of the core group.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::Object;
use super::edit::{child, each, is_empty, made, set, text};
use super::pod::template;

pub(super) fn namespace(object: &mut Object) {
    let metadata = made(object, "metadata");
    let name = text(metadata, "name").to_owned();
    if !name.is_empty() {
        made(metadata, "labels").insert("kubernetes.io/metadata.name".to_owned(), name.into());
    }
    set(made(object, "status"), "phase", "Active");
}

pub(super) fn node(object: &mut Object) {
    if let Some(spec) = child(object, "spec") {
        join_networks(spec);
    }
    let Some(status) = child(object, "status") else { return };
    if let Some(capacity @ Value::Object(_)) = status.get("capacity").cloned()
        && is_empty(status, "allocatable")
    {
        status.insert("allocatable".to_owned(), capacity);
    }
}

/// `podCIDR` is the first of `podCIDRs`: whoever sets one of them sets both.
fn join_networks(spec: &mut Object) {
    let first = spec.get("podCIDRs").and_then(|list| list.get(0)?.as_str()).unwrap_or_default().to_owned();
    let single = text(spec, "podCIDR").to_owned();
    if single.is_empty() && !first.is_empty() {
        spec.insert("podCIDR".to_owned(), first.into());
    } else if single != first {
        spec.insert("podCIDRs".to_owned(), json!([single]));
    }
}

/// The plain texts are a convenience for writing; only encoded data is kept.
pub(super) fn secret(object: &mut Object) {
    set(object, "type", "Opaque");
    let Some(Value::Object(texts)) = object.remove("stringData") else { return };
    if texts.is_empty() {
        return;
    }
    let data = made(object, "data");
    for (key, value) in texts {
        let encoded = STANDARD.encode(value.as_str().unwrap_or_default());
        data.insert(key, encoded.into());
    }
}

pub(super) fn endpoints(object: &mut Object) {
    for subset in each(object, "subsets") {
        for port in each(subset, "ports") {
            set(port, "protocol", "TCP");
        }
    }
}

pub(super) fn limit_range(object: &mut Object) {
    let Some(spec) = child(object, "spec") else { return };
    for limit in each(spec, "limits").filter(|limit| text(limit, "type") == "Container") {
        fill(limit, "default", "max");
        fill(limit, "defaultRequest", "default");
        fill(limit, "defaultRequest", "min");
    }
}

/// Adds the entries of one map that another lacks.
fn fill(limit: &mut Object, key: &str, from: &str) {
    let Some(Value::Object(source)) = limit.get(from).cloned() else { return };
    let target = made(limit, key);
    for (name, amount) in source {
        target.entry(name).or_insert(amount);
    }
}

pub(super) fn replication_controller(object: &mut Object) {
    let spec = made(object, "spec");
    set(spec, "replicas", 1);
    template(spec, "template");
    let labels = spec.get("template").and_then(|template| template.get("metadata")?.get("labels")).cloned();
    let Some(labels @ Value::Object(_)) = labels else { return };
    if is_empty(spec, "selector") {
        spec.insert("selector".to_owned(), labels.clone());
    }
    let metadata = made(object, "metadata");
    if is_empty(metadata, "labels") {
        metadata.insert("labels".to_owned(), labels);
    }
}
