//! Nodes.

use serde_json::{Value, json};

/// A node always has a status, which its kubelet sends along.
pub(super) fn prepare_create(object: &mut Value) {
    if object.get("status").is_none_or(Value::is_null) {
        object["status"] = json!({});
    }
    if object.get("spec").is_none_or(Value::is_null) {
        object["spec"] = json!({});
    }
}
