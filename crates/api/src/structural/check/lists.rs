//! `x-kubernetes-list-type`, `x-kubernetes-list-map-keys` and `x-kubernetes-map-type`.

use serde_json::{Map, Value};

use super::props::{text, type_of};
use crate::field::{ErrorList, FieldError, Path};

const LIST_TYPE: &str = "x-kubernetes-list-type";
const MAP_KEYS: &str = "x-kubernetes-list-map-keys";
const MAP_TYPE: &str = "x-kubernetes-map-type";

type Schema = Map<String, Value>;

pub(super) fn check(schema: &Schema, path: &Path, errors: &mut ErrorList) {
    let (list_type, map_type) = (text(schema, LIST_TYPE), text(schema, MAP_TYPE));
    if let Some(map_type) = map_type {
        has_type(schema, "object", MAP_TYPE, path, errors);
        one_of(map_type, &["atomic", "granular"], &path.child(MAP_TYPE), errors);
    }
    let items = schema.get("items").and_then(Value::as_object);
    if let Some(list_type) = list_type {
        let is_list = has_type(schema, "array", LIST_TYPE, path, errors);
        if let Some(items) = items.filter(|_| is_list && list_type == "set") {
            atomic_items(items, &path.child("items"), errors);
        }
        one_of(list_type, &["atomic", "set", "map"], &path.child(LIST_TYPE), errors);
    }
    let keys: Vec<&str> =
        schema.get(MAP_KEYS).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    if !keys.is_empty() {
        let why = "must be map if x-kubernetes-list-map-keys is non-empty";
        match list_type {
            None => errors.push(FieldError::required(&path.child(LIST_TYPE), why)),
            Some("map") => {}
            Some(other) => errors.push(FieldError::invalid(&path.child(LIST_TYPE), other, why)),
        }
    }
    if list_type == Some("map") {
        keyed(schema, items, &keys, path, errors);
    }
    if let (Some(items), Some(list_type @ ("set" | "map"))) = (items, list_type) {
        found_again(items, list_type, &keys, &path.child("items"), errors);
    }
}

fn has_type(schema: &Schema, wanted: &str, extension: &str, path: &Path, errors: &mut ErrorList) -> bool {
    let why = format!("must be {wanted} if {extension} is specified");
    match type_of(schema) {
        "" => errors.push(FieldError::required(&path.child("type"), why)),
        ty if ty != wanted => errors.push(FieldError::invalid(&path.child("type"), ty, why)),
        _ => return true,
    }
    false
}

fn one_of(value: &str, supported: &[&str], path: &Path, errors: &mut ErrorList) {
    if !supported.contains(&value) {
        errors.push(FieldError::not_supported(path, value, supported));
    }
}

/// The items of a set are compared as a whole.
fn atomic_items(items: &Schema, path: &Path, errors: &mut ErrorList) {
    let why = "must be atomic as item of a list with x-kubernetes-list-type=set";
    let list_type = text(items, LIST_TYPE);
    match (type_of(items), list_type, text(items, MAP_TYPE)) {
        ("array", Some(other), _) if other != "atomic" => {
            errors.push(FieldError::invalid(&path.child(LIST_TYPE), other, why));
        }
        ("object", _, map_type) if map_type != Some("atomic") => {
            // Upstream shows the list type here.
            errors.push(FieldError::invalid(&path.child(MAP_TYPE), Value::from(list_type), why));
        }
        _ => {}
    }
}

fn keyed(schema: &Schema, items: Option<&Schema>, keys: &[&str], path: &Path, errors: &mut ErrorList) {
    let keys_path = path.child(MAP_KEYS);
    if keys.is_empty() {
        let why = "must not be empty if x-kubernetes-list-type is map";
        errors.push(FieldError::required(&keys_path, why));
    }
    let items_path = path.child("items");
    let Some(items) = items else {
        errors.push(match schema.get("items").filter(|items| !items.is_null()) {
            None => FieldError::required(&items_path, "must have a schema if x-kubernetes-list-type is map"),
            Some(several) => {
                let why = "must only have a single schema if x-kubernetes-list-type is map";
                FieldError::invalid(&items_path, several.clone(), why)
            }
        });
        return;
    };
    let ty = type_of(items);
    if ty != "object" {
        let why = "must be object if parent array's x-kubernetes-list-type is map";
        errors.push(FieldError::invalid(&items_path.child("type"), ty, why));
        return;
    }
    for (index, key) in keys.iter().enumerate() {
        match property(items, key) {
            Some(property) if matches!(type_of(property), "array" | "object") => {
                // Upstream shows the type of the item here.
                let path = items_path.child("properties").key(key).child("type");
                let why = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                errors.push(FieldError::invalid(&path, ty, why));
            }
            Some(_) => {}
            None => errors.push(FieldError::invalid(
                &keys_path,
                keys.to_vec(),
                "entries must all be names of item properties",
            )),
        }
        if keys[..index].contains(key) {
            errors.push(FieldError::invalid(&keys_path, keys.to_vec(), "must not contain duplicate entries"));
        }
    }
}

fn property<'a>(items: &'a Schema, name: &str) -> Option<&'a Schema> {
    items.get("properties")?.get(name)?.as_object()
}

/// Items must be there, and so must what they are found by.
fn found_again(items: &Schema, list_type: &str, keys: &[&str], path: &Path, errors: &mut ErrorList) {
    let is_nullable = |schema: &Schema| schema.get("nullable") == Some(&Value::Bool(true));
    if is_nullable(items) {
        let why = format!("cannot be nullable when x-kubernetes-list-type is {list_type}");
        errors.push(FieldError::forbidden(&path.child("nullable"), why));
    }
    if list_type != "map" {
        return;
    }
    let required = items.get("required").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for key in keys {
        let Some(property) = property(items, key) else { continue };
        let path = path.child("properties").key(key);
        let has_default = property.get("default").is_some_and(|default| !default.is_null());
        if !has_default && !required.iter().any(|name| name == key) {
            let why =
                "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
            errors.push(FieldError::required(&path.child("default"), why));
        }
        if is_nullable(property) {
            let why = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            errors.push(FieldError::forbidden(&path.child("nullable"), why));
        }
    }
}
