//! Events, whose two groups have different names for the same fields.

use serde_json::{Map, Value, json};

type Object = Map<String, Value>;

/// The name in `v1`, the name in `events.k8s.io/v1`.
const FIELDS: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

fn rename(object: &mut Object, from: &str, to: &str) {
    if let Some(value) = object.remove(from) {
        object.insert(to.to_owned(), value);
    }
}

/// Turns an event of its own group into one of the core group.
pub(super) fn to_core(object: &mut Object) {
    for (core, new) in FIELDS {
        rename(object, new, core);
    }
    for field in ["involvedObject", "source"] {
        object.entry(field).or_insert_with(|| json!({}));
    }
}

/// Turns an event of the core group into one of its own.
pub(super) fn from_core(object: &mut Object) {
    for (core, new) in FIELDS {
        rename(object, core, new);
    }
}
