//! The API described by itself: an OpenAPI v3 document for each group and version, one v2 document of them all.
//!
//! Types and their descriptions come from `k8s-openapi`, extensions, defaults and what is required from
//! [`crate::schema`], paths from the rows of [`crate::kinds`]. The v2 document is made of parts from those of v3. Both are
//! written in JSON and, as gnostic's messages, in protobuf. kubectl reads from here which query parameters a server
//! takes and what `kubectl explain` says. Nothing is kept here: whoever serves documents keeps them.

mod components;
mod enums;
mod general;
mod names;
mod operations;
mod parameters;
mod paths;
pub mod protobuf;
mod v2;

use serde_json::{Map, Value, json};

use crate::kinds::Resource;
use crate::structural::Structural;

pub use general::{KEYS as GENERAL_KEYS, document as general};
pub use v2::{Members, Part, frame};

/// A resource to be described.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// The resource.
    pub resource: &'a Resource,
    /// Whether a deletion answers the object instead of a Status.
    pub returns_deleted: bool,
    /// The schema of a custom resource; built-in ones are known.
    pub schema: Option<&'a Structural>,
}

impl Entry<'_> {
    fn is_custom(&self) -> bool {
        self.schema.is_some()
    }

    fn schema_name(&self) -> String {
        let Resource { group, version, kind, schema, .. } = self.resource;
        if self.is_custom() { names::custom_schema(group, version, kind) } else { (*schema).to_owned() }
    }
}

/// The key of a group and version in the index of documents, such as `apis/apps/v1`.
pub fn path_of(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

/// The v3 document of a group and version with these resources.
pub fn group_version(group: &str, version: &str, entries: &[Entry<'_>]) -> Value {
    let mut all = Map::from_iter([paths::of_list(group, version)]);
    for entry in entries {
        all.extend(paths::of_entry(entry));
    }
    wrap(Value::Object(all), Value::Object(components::of_entries(entries)))
}

/// A whole document from its paths and schemas.
fn wrap(paths: Value, schemas: Value) -> Value {
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.35.0"},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": security(),
        },
    })
}

/// How a client says who it is.
fn security() -> Value {
    json!({
        "BearerToken": {"type": "apiKey", "in": "header", "name": "authorization", "description": "a bearer token"},
    })
}

#[cfg(test)]
mod tests;
