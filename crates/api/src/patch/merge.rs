//! Merge patch, RFC 7386.

use serde_json::{Map, Value};

use crate::status::Status;

/// Merges `patch` into `document`: objects merge, null removes, everything else replaces.
///
/// # Errors
/// 400 if the patch is no object: an API object cannot become anything else.
pub fn apply(mut document: Value, patch: Value) -> Result<Value, Status> {
    if !patch.is_object() {
        return Err(Status::bad_request("Invalid JSON Patch"));
    }
    merge(&mut document, patch);
    Ok(document)
}

fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let target = target.as_object_mut().expect("it was made an object just now");
    for (key, value) in patch {
        if value.is_null() {
            target.remove(&key);
        } else {
            merge(target.entry(key).or_insert(Value::Null), value);
        }
    }
}
