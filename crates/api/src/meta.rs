//! Cheap accessors on API objects held as JSON documents.
//!
//! A missing or mistyped field reads as absent: the documents were checked by `decode` before they get here.

use std::collections::BTreeMap;
use std::str::FromStr as _;

use jiff::Timestamp;
use serde_json::{Map, Value};

/// One entry of `metadata.ownerReferences`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnerReference<'a> {
    /// apiVersion of the owner.
    pub api_version: &'a str,
    /// Kind of the owner.
    pub kind: &'a str,
    /// Name of the owner.
    pub name: &'a str,
    /// UID of the owner.
    pub uid: &'a str,
    /// Whether the owner is the managing controller.
    pub controller: bool,
    /// Whether foreground deletion of the owner waits for this object.
    pub block_owner_deletion: bool,
}

/// `metadata`, if it is an object.
#[must_use]
pub fn metadata(object: &Value) -> Option<&Map<String, Value>> {
    object.get("metadata")?.as_object()
}

/// `metadata` for writing; made when it is missing.
///
/// # Panics
/// If `object` is not a JSON object, which no API object is.
pub fn metadata_mut(object: &mut Value) -> &mut Map<String, Value> {
    let object = object.as_object_mut().expect("an API object is a JSON object");
    let metadata = object.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
    if !metadata.is_object() {
        *metadata = Value::Object(Map::new());
    }
    metadata.as_object_mut().expect("it was made an object just now")
}

fn text<'a>(object: &'a Value, field: &str) -> Option<&'a str> {
    metadata(object)?.get(field)?.as_str().filter(|text| !text.is_empty())
}

/// `apiVersion`.
#[must_use]
pub fn api_version(object: &Value) -> &str {
    object.get("apiVersion").and_then(Value::as_str).unwrap_or_default()
}

/// `kind`.
#[must_use]
pub fn kind(object: &Value) -> &str {
    object.get("kind").and_then(Value::as_str).unwrap_or_default()
}

/// Splits an apiVersion into group (empty for core) and version.
#[must_use]
pub fn split_api_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

/// Group, version and kind of an object as upstream prints them.
#[must_use]
pub fn full_kind(object: &Value) -> String {
    let (group, version) = split_api_version(api_version(object));
    format!("{group}/{version}, Kind={}", kind(object))
}

/// `metadata.name`; empty when unset.
#[must_use]
pub fn name(object: &Value) -> &str {
    text(object, "name").unwrap_or_default()
}

/// `metadata.generateName`; `None` when unset or empty.
#[must_use]
pub fn generate_name(object: &Value) -> Option<&str> {
    text(object, "generateName")
}

/// `metadata.namespace`; `None` when unset or empty.
#[must_use]
pub fn namespace(object: &Value) -> Option<&str> {
    text(object, "namespace")
}

/// `metadata.uid`; `None` when unset or empty.
#[must_use]
pub fn uid(object: &Value) -> Option<&str> {
    text(object, "uid")
}

/// `metadata.resourceVersion`; `None` when unset or empty.
#[must_use]
pub fn resource_version(object: &Value) -> Option<&str> {
    text(object, "resourceVersion")
}

/// `metadata.generation`; 0 when unset.
#[must_use]
pub fn generation(object: &Value) -> i64 {
    metadata(object).and_then(|metadata| metadata.get("generation")).and_then(Value::as_i64).unwrap_or(0)
}

/// `metadata.creationTimestamp`.
#[must_use]
pub fn creation_timestamp(object: &Value) -> Option<Timestamp> {
    timestamp(object, "creationTimestamp")
}

/// `metadata.deletionTimestamp`: set means that the object is being deleted.
#[must_use]
pub fn deletion_timestamp(object: &Value) -> Option<Timestamp> {
    timestamp(object, "deletionTimestamp")
}

fn timestamp(object: &Value, field: &str) -> Option<Timestamp> {
    Timestamp::from_str(text(object, field)?).ok()
}

/// Whether `metadata.deletionTimestamp` is set.
#[must_use]
pub fn is_deleting(object: &Value) -> bool {
    text(object, "deletionTimestamp").is_some()
}

/// `metadata.deletionGracePeriodSeconds`.
#[must_use]
pub fn deletion_grace_period_seconds(object: &Value) -> Option<i64> {
    metadata(object)?.get("deletionGracePeriodSeconds")?.as_i64()
}

/// `metadata.labels`, borrowed.
#[must_use]
pub fn labels(object: &Value) -> Option<&Map<String, Value>> {
    metadata(object)?.get("labels")?.as_object()
}

/// The value of one label.
#[must_use]
pub fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    labels(object)?.get(key)?.as_str()
}

/// `metadata.labels` as an own map.
#[must_use]
pub fn labels_owned(object: &Value) -> BTreeMap<String, String> {
    let labels = labels(object).into_iter().flatten();
    labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

/// `metadata.annotations`, borrowed.
#[must_use]
pub fn annotations(object: &Value) -> Option<&Map<String, Value>> {
    metadata(object)?.get("annotations")?.as_object()
}

/// The value of one annotation.
#[must_use]
pub fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    annotations(object)?.get(key)?.as_str()
}

/// `metadata.finalizers`.
pub fn finalizers(object: &Value) -> impl Iterator<Item = &str> {
    let finalizers = metadata(object).and_then(|metadata| metadata.get("finalizers")).and_then(Value::as_array);
    finalizers.into_iter().flatten().filter_map(Value::as_str)
}

/// `metadata.ownerReferences`.
pub fn owner_references(object: &Value) -> impl Iterator<Item = OwnerReference<'_>> {
    let owners = metadata(object).and_then(|metadata| metadata.get("ownerReferences")).and_then(Value::as_array);
    owners.into_iter().flatten().filter_map(|owner| {
        let owner = owner.as_object()?;
        let text = |field: &str| owner.get(field).and_then(Value::as_str).unwrap_or_default();
        let flag = |field: &str| owner.get(field).and_then(Value::as_bool).unwrap_or(false);
        Some(OwnerReference {
            api_version: text("apiVersion"),
            kind: text("kind"),
            name: text("name"),
            uid: text("uid"),
            controller: flag("controller"),
            block_owner_deletion: flag("blockOwnerDeletion"),
        })
    })
}

/// The owner reference whose `controller` is true.
#[must_use]
pub fn controller_of(object: &Value) -> Option<OwnerReference<'_>> {
    owner_references(object).find(|owner| owner.controller)
}

/// Sets any field of `metadata`.
pub fn set(object: &mut Value, field: &str, value: impl Into<Value>) {
    metadata_mut(object).insert(field.to_owned(), value.into());
}

/// Removes any field of `metadata` and returns what was there.
pub fn remove(object: &mut Value, field: &str) -> Option<Value> {
    object.get_mut("metadata")?.as_object_mut()?.remove(field)
}

/// Sets `metadata.name`.
pub fn set_name(object: &mut Value, name: &str) {
    set(object, "name", name);
}

/// Sets `metadata.namespace`.
pub fn set_namespace(object: &mut Value, namespace: &str) {
    set(object, "namespace", namespace);
}

/// Sets `metadata.uid`.
pub fn set_uid(object: &mut Value, uid: &str) {
    set(object, "uid", uid);
}

/// Sets `metadata.resourceVersion`.
pub fn set_resource_version(object: &mut Value, resource_version: &str) {
    set(object, "resourceVersion", resource_version);
}

/// Sets `metadata.generation`.
pub fn set_generation(object: &mut Value, generation: i64) {
    set(object, "generation", generation);
}

/// Sets `metadata.creationTimestamp`.
pub fn set_creation_timestamp(object: &mut Value, time: Timestamp) {
    set(object, "creationTimestamp", format_time(time));
}

/// Sets `metadata.deletionTimestamp` and `metadata.deletionGracePeriodSeconds`.
pub fn set_deletion(object: &mut Value, time: Timestamp, grace_period_seconds: i64) {
    set(object, "deletionTimestamp", format_time(time));
    set(object, "deletionGracePeriodSeconds", grace_period_seconds);
}

/// Sets one label.
pub fn set_label(object: &mut Value, key: &str, value: &str) {
    set_entry(object, "labels", key, value);
}

/// Sets one annotation.
pub fn set_annotation(object: &mut Value, key: &str, value: &str) {
    set_entry(object, "annotations", key, value);
}

fn set_entry(object: &mut Value, field: &str, key: &str, value: &str) {
    let map = metadata_mut(object).entry(field).or_insert_with(|| Value::Object(Map::new()));
    if !map.is_object() {
        *map = Value::Object(Map::new());
    }
    map.as_object_mut().expect("it was made an object just now").insert(key.to_owned(), value.into());
}

/// Sets `metadata.finalizers`; an empty list removes the field.
pub fn set_finalizers(object: &mut Value, finalizers: Vec<String>) {
    if finalizers.is_empty() {
        remove(object, "finalizers");
    } else {
        set(object, "finalizers", finalizers);
    }
}

/// A `meta/v1` Time: RFC 3339 in UTC with whole seconds.
#[must_use]
pub fn format_time(time: Timestamp) -> String {
    let second = Timestamp::from_second(time.as_second()).unwrap_or(time);
    second.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A `meta/v1` MicroTime: RFC 3339 in UTC with six fraction digits.
#[must_use]
pub fn format_micro_time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn absent_fields_read_as_unset() {
        for object in [json!({}), json!({"metadata": null}), json!({"metadata": {"name": "", "labels": null}})] {
            assert_eq!(name(&object), "");
            assert_eq!(namespace(&object), None);
            assert_eq!(generation(&object), 0);
            assert!(labels_owned(&object).is_empty());
            assert!(!is_deleting(&object));
            assert_eq!(controller_of(&object), None);
        }
    }

    #[test]
    fn what_is_set_is_read() {
        let mut object = json!({"kind": "Pod"});
        set_name(&mut object, "a");
        set_namespace(&mut object, "b");
        set_label(&mut object, "k", "v");
        set_finalizers(&mut object, vec!["f".to_owned()]);
        set_creation_timestamp(&mut object, Timestamp::from_millisecond(1_700_000_000_999).expect("in range"));
        assert_eq!((name(&object), namespace(&object), label(&object, "k")), ("a", Some("b"), Some("v")));
        assert_eq!(finalizers(&object).collect::<Vec<_>>(), ["f"]);
        assert_eq!(object["metadata"]["creationTimestamp"], "2023-11-14T22:13:20Z");
        set_finalizers(&mut object, Vec::new());
        assert!(metadata(&object).is_some_and(|metadata| !metadata.contains_key("finalizers")));
    }

    #[test]
    fn times_are_written_like_upstream() {
        let time = Timestamp::from_microsecond(1_700_000_000_000_120).expect("in range");
        assert_eq!(format_time(time), "2023-11-14T22:13:20Z");
        assert_eq!(format_micro_time(time), "2023-11-14T22:13:20.000120Z");
    }

    #[test]
    fn the_controller_is_the_flagged_owner() {
        let object = json!({"metadata": {"ownerReferences": [
            {"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "1"},
            {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "2", "controller": true}]}});
        assert_eq!(controller_of(&object).map(|owner| (owner.name, owner.uid)), Some(("r", "2")));
    }
}
