//! Tables: the columns that `kubectl get` shows, from the kinds' printers in `api`.

use api::kinds::Resource;
use serde_json::{Value, json};

/// The column definitions of a resource.
pub(crate) fn columns(_resource: &Resource) -> Vec<Value> {
    vec![
        json!({"name": "Name", "type": "string", "format": "name", "description": "", "priority": 0}),
        json!({"name": "Created At", "type": "date", "format": "", "description": "", "priority": 0}),
    ]
}

/// The cells of an object.
pub(crate) fn row(_resource: &Resource, object: &Value, _now: jiff::Timestamp) -> Vec<Value> {
    let created = api::meta::metadata(object).and_then(|metadata| metadata.get("creationTimestamp"));
    vec![api::meta::name(object).into(), created.cloned().unwrap_or_default()]
}
