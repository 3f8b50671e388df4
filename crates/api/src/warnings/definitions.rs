//! CustomResourceDefinitions and the objects of what they define.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Found;
use crate::field::{Path, quote};
use crate::meta;
use crate::structural::is_known_format;
use crate::validation::definitions::schemas;

/// Formats that nothing checks.
pub(super) fn definition(object: &Value, old: Option<&Value>, found: &mut Found) {
    if !super::has_begun(object, old) {
        return;
    }
    let mut formats = BTreeSet::new();
    schemas(object).iter().for_each(|placed| unknown_formats(placed.schema, &mut formats));
    for format in formats {
        found.say(format!("unrecognized format {}", quote(format)));
    }
}

fn unknown_formats<'a>(schema: &'a Value, formats: &mut BTreeSet<&'a str>) {
    let Value::Object(members) = schema else { return };
    if let Some(format) = members.get("format").and_then(Value::as_str)
        && !format.is_empty()
        && !is_known_format(format)
    {
        formats.insert(format);
    }
    for (name, value) in members {
        match (name.as_str(), value) {
            ("properties" | "patternProperties" | "definitions" | "dependencies", Value::Object(schemas)) => {
                schemas.values().for_each(|schema| unknown_formats(schema, formats));
            }
            ("allOf" | "anyOf" | "oneOf" | "items", Value::Array(schemas)) => {
                schemas.iter().for_each(|schema| unknown_formats(schema, formats));
            }
            ("items" | "not" | "additionalProperties" | "additionalItems", schema) => unknown_formats(schema, formats),
            _ => {}
        }
    }
}

/// Finalizers that the server itself knows.
const STANDARD: [&str; 3] = ["foregroundDeletion", "kubernetes", "orphan"];

/// New finalizers of a custom resource without a path in their name.
pub(super) fn finalizers(object: &Value, old: Option<&Value>, found: &mut Found) {
    let before: Vec<&str> = old.map(|old| meta::finalizers(old).collect()).unwrap_or_default();
    let new = meta::finalizers(object).filter(|name| !before.contains(name) && !STANDARD.contains(name));
    for name in new.filter(|name| !name.contains('/')) {
        let why = format!(
            "{}: prefer a domain-qualified finalizer name including a path (/) to avoid accidental conflicts with \
             other finalizer writers",
            quote(name)
        );
        found.add(&Path::new("metadata").child("finalizers"), why);
    }
}
