//! Small steps of editing documents that all defaulting is made of.

use serde_json::{Map, Value};

use super::Object;

/// Whether a field is absent, or empty text, or null.
pub(super) fn is_unset(object: &Object, key: &str) -> bool {
    match object.get(key) {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(_) => false,
    }
}

/// Sets a field that is not set.
pub(super) fn set(object: &mut Object, key: &str, value: impl Into<Value>) {
    if is_unset(object, key) {
        object.insert(key.to_owned(), value.into());
    }
}

/// Sets a number that is absent or zero, where upstream cannot tell the two apart.
pub(super) fn set_nonzero(object: &mut Object, key: &str, value: i64) {
    if is_unset(object, key) || object.get(key).and_then(Value::as_i64) == Some(0) {
        object.insert(key.to_owned(), value.into());
    }
}

/// The object in a field, if there is one.
pub(super) fn child<'a>(object: &'a mut Object, key: &str) -> Option<&'a mut Object> {
    object.get_mut(key).and_then(Value::as_object_mut)
}

/// The object in a field, made if there is none.
pub(super) fn made<'a>(object: &'a mut Object, key: &str) -> &'a mut Object {
    let slot = object.entry(key).or_insert(Value::Null);
    if !slot.is_object() {
        *slot = Value::Object(Map::new());
    }
    slot.as_object_mut().expect("it was made an object just now")
}

/// The objects in a list.
pub(super) fn each<'a>(object: &'a mut Object, key: &str) -> impl Iterator<Item = &'a mut Object> {
    object.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

/// The text in a field; empty if there is none.
pub(super) fn text<'a>(object: &'a Object, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Whether a boolean field is true.
pub(super) fn is_true(object: &Object, key: &str) -> bool {
    object.get(key).and_then(Value::as_bool) == Some(true)
}

/// Whether a list or map is absent or empty.
pub(super) fn is_empty(object: &Object, key: &str) -> bool {
    match object.get(key) {
        Some(Value::Array(values)) => values.is_empty(),
        Some(Value::Object(values)) => values.is_empty(),
        _ => true,
    }
}
