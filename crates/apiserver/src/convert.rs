//! Between the version of a request and the version in which objects are stored.
//!
//! Most resources are stored in the version in which they are asked for. Versions that differ in name only are renamed;
//! events have two groups with different field names.

use api::kinds::Resource;
use serde_json::{Map, Value, json};

/// Whether objects of the resource look different in the store.
pub(crate) fn is_needed(resource: &Resource) -> bool {
    !resource.is_storage_version()
}

/// Event fields: the name in `v1`, the name in `events.k8s.io/v1`.
const EVENT_FIELDS: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

/// The document as it is stored.
pub(crate) fn to_storage(resource: &Resource, object: &Value) -> Value {
    let mut stored = renamed(object, &resource.storage_api_version(), |name| {
        is_event(resource).then(|| EVENT_FIELDS.iter().find(|(_, new)| *new == name).map(|(old, _)| *old)).flatten()
    });
    if is_event(resource) {
        for (field, empty) in [("involvedObject", json!({})), ("source", json!({}))] {
            if stored.get(field).is_none() {
                stored[field] = empty;
            }
        }
    }
    stored
}

/// The document as the resource's version shows it.
pub(crate) fn from_storage(resource: &Resource, stored: &Value) -> Value {
    renamed(stored, &resource.api_version(), |name| {
        is_event(resource).then(|| EVENT_FIELDS.iter().find(|(old, _)| *old == name).map(|(_, new)| *new)).flatten()
    })
}

fn is_event(resource: &Resource) -> bool {
    resource.group == "events.k8s.io"
}

fn renamed(object: &Value, api_version: &str, rename: impl Fn(&str) -> Option<&'static str>) -> Value {
    let members = object.as_object().into_iter().flatten();
    let mut converted: Map<String, Value> = members
        .map(|(name, value)| (rename(name).map_or_else(|| name.clone(), str::to_owned), value.clone()))
        .collect();
    converted.insert("apiVersion".to_owned(), api_version.into());
    Value::Object(converted)
}
