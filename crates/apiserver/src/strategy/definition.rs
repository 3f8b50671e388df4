//! CustomResourceDefinitions: their first status, and the versions in which their objects have been stored.

use serde_json::{Value, json};

/// A new definition has no names yet.
pub(super) fn prepare_create(object: &mut Value) {
    object["status"] = json!({"conditions": null, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": []});
    add_stored_version(object);
}

/// The version in which objects are stored from now on is one in which some are.
pub(super) fn add_stored_version(object: &mut Value) {
    let versions = object.pointer("/spec/versions").and_then(Value::as_array).into_iter().flatten();
    let storage = { versions }.find(|version| version["storage"] == true).map(|version| version["name"].clone());
    let Some(storage) = storage else { return };
    let stored = &mut object["status"]["storedVersions"];
    if !stored.is_array() {
        *stored = json!([]);
    }
    if let Some(stored) = stored.as_array_mut().filter(|stored| !stored.contains(&storage)) {
        stored.push(storage);
    }
}
