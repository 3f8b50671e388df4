//! Merge patch, RFC 7386.

use serde_json::{Map, Value};

use crate::decode;
use crate::status::Status;

/// What is said of a patch that is none.
const NO_PATCH: &str = "Invalid JSON Patch";

/// Reads a patch; if it `is_checked`, with findings about fields that are there twice.
///
/// # Errors
/// 400 if it is no object.
pub fn read(bytes: &[u8], is_checked: bool) -> Result<(Value, Vec<String>), Status> {
    let refuse = |why: String| match is_checked {
        true => Status::bad_request(format!("error decoding patch: {why}")),
        false => Status::bad_request(NO_PATCH),
    };
    let (patch, findings) = decode::json_document(bytes).map_err(refuse)?;
    match &patch {
        Value::Object(_) => Ok((patch, findings)),
        Value::Null => Err(Status::bad_request(NO_PATCH)),
        other => {
            let what = decode::json_type(other);
            Err(refuse(format!("json: cannot unmarshal {what} into Go value of type map[string]interface {{}}")))
        }
    }
}

/// Merges `patch` into `document`: objects merge, null removes, everything else replaces.
///
/// # Errors
/// 400 if the patch is no object: an API object cannot become anything else.
pub fn apply(mut document: Value, patch: Value) -> Result<Value, Status> {
    if !patch.is_object() {
        return Err(Status::bad_request(NO_PATCH));
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
