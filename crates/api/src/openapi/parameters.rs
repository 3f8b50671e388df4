//! The parameters of requests: names, types and what they mean.

use serde_json::{Value, json};

/// One query or path parameter.
pub(super) struct Parameter {
    name: &'static str,
    ty: &'static str,
    description: &'static str,
}

const fn parameter(name: &'static str, ty: &'static str, description: &'static str) -> Parameter {
    Parameter { name, ty, description }
}

const DRY_RUN: Parameter =
    parameter("dryRun", "string", "process the request in all stages but do not keep the result; the one value is All");
const FIELD_MANAGER: Parameter =
    parameter("fieldManager", "string", "who makes the change, as recorded in metadata.managedFields");
const FIELD_VALIDATION: Parameter = parameter(
    "fieldValidation",
    "string",
    "what to do about unknown and duplicate fields: Ignore them, Warn about them (the default), or be Strict and refuse",
);

/// Of every request.
pub(super) const ALWAYS: &[Parameter] = &[parameter("pretty", "string", "whether the answer is indented")];
/// Of creating and replacing.
pub(super) const WRITE: &[Parameter] = &[DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION];
/// Of patching.
pub(super) const PATCH: &[Parameter] = &[
    DRY_RUN,
    FIELD_MANAGER,
    FIELD_VALIDATION,
    parameter("force", "boolean", "take fields over from other managers; for apply patches only"),
];
/// Of deleting one object.
pub(super) const DELETE: &[Parameter] = &[
    DRY_RUN,
    parameter("gracePeriodSeconds", "integer", "seconds until the object is deleted; 0 means at once"),
    parameter(
        "ignoreStoreReadErrorWithClusterBreakingPotential",
        "boolean",
        "delete the object even if it cannot be read from the datastore",
    ),
    parameter("orphanDependents", "boolean", "deprecated: see propagationPolicy"),
    parameter("propagationPolicy", "string", "what happens to dependents: Orphan, Background or Foreground"),
];
/// Of listing and watching.
pub(super) const LIST: &[Parameter] = &[
    parameter("allowWatchBookmarks", "boolean", "send events of type BOOKMARK"),
    parameter("continue", "string", "where the previous part of the list ended"),
    parameter("fieldSelector", "string", "only objects with these fields"),
    parameter("labelSelector", "string", "only objects with these labels"),
    parameter("limit", "integer", "how many objects at most"),
    parameter("resourceVersion", "string", "how recent the data must be, or from where to watch"),
    parameter("resourceVersionMatch", "string", "how resourceVersion is meant"),
    parameter("sendInitialEvents", "boolean", "start a watch with the objects that exist"),
    parameter("timeoutSeconds", "integer", "when to end the request"),
    parameter("watch", "boolean", "send changes instead of a list"),
];
/// Query parameters as they stand in a document.
pub(super) fn in_query(parameters: &[&[Parameter]]) -> Vec<Value> {
    let all = parameters.iter().flat_map(|parameters| parameters.iter());
    all.map(|parameter| {
        json!({
            "name": parameter.name, "in": "query", "description": parameter.description,
            "schema": {"type": parameter.ty, "uniqueItems": true},
        })
    })
    .collect()
}

/// A path parameter as it stands in a document.
pub(super) fn in_path(name: &str, description: &str) -> Value {
    json!({
        "name": name, "in": "path", "required": true, "description": description,
        "schema": {"type": "string", "uniqueItems": true},
    })
}
