//! What may stand at the root of a schema.

use serde_json::{Map, Value};

use crate::field::{ErrorList, FieldError, Path};

/// The fields of a schema in the order in which upstream has them: the name of each in Go, and whether it may stand at
/// the root of a schema with a status subresource, where the schema of the status is taken out for itself.
const FIELDS: &[(&str, &str, bool)] = &[
    ("id", "ID", false),
    ("$schema", "Schema", false),
    ("$ref", "Ref", false),
    ("description", "Description", true),
    ("type", "Type", true),
    ("nullable", "Nullable", false),
    ("format", "Format", true),
    ("title", "Title", true),
    ("maximum", "Maximum", true),
    ("exclusiveMaximum", "ExclusiveMaximum", true),
    ("minimum", "Minimum", true),
    ("exclusiveMinimum", "ExclusiveMinimum", true),
    ("maxLength", "MaxLength", true),
    ("minLength", "MinLength", true),
    ("pattern", "Pattern", true),
    ("maxItems", "MaxItems", true),
    ("minItems", "MinItems", true),
    ("uniqueItems", "UniqueItems", true),
    ("multipleOf", "MultipleOf", true),
    ("enum", "Enum", false),
    ("maxProperties", "MaxProperties", false),
    ("minProperties", "MinProperties", false),
    ("required", "Required", true),
    ("items", "Items", true),
    ("allOf", "AllOf", false),
    ("oneOf", "OneOf", false),
    ("anyOf", "AnyOf", false),
    ("not", "Not", false),
    ("properties", "Properties", true),
    ("additionalProperties", "AdditionalProperties", false),
    ("patternProperties", "PatternProperties", false),
    ("dependencies", "Dependencies", false),
    ("additionalItems", "AdditionalItems", false),
    ("definitions", "Definitions", false),
    ("externalDocs", "ExternalDocs", true),
    ("example", "Example", true),
    ("x-kubernetes-preserve-unknown-fields", "XPreserveUnknownFields", true),
    ("x-kubernetes-embedded-resource", "XEmbeddedResource", false),
    ("x-kubernetes-int-or-string", "XIntOrString", false),
    ("x-kubernetes-list-map-keys", "XListMapKeys", false),
    ("x-kubernetes-list-type", "XListType", false),
    ("x-kubernetes-map-type", "XMapType", false),
    ("x-kubernetes-validations", "XValidations", true),
];

pub(super) fn check(schema: &Value, path: &Path, has_status: bool) -> ErrorList {
    let Value::Object(fields) = schema else { return Vec::new() };
    let mut errors: ErrorList = with_status(fields, schema, path).into_iter().filter(|_| has_status).collect();
    if fields.get("nullable") == Some(&Value::Bool(true)) {
        errors.push(FieldError::forbidden(&path.child("nullable"), "nullable cannot be true at the root"));
    }
    errors
}

/// The first thing that may not be there with a status subresource.
fn with_status(fields: &Map<String, Value>, schema: &Value, path: &Path) -> Option<FieldError> {
    let set = FIELDS.iter().filter(|(name, ..)| fields.get(*name).is_some_and(|value| !is_zero(value)));
    for (name, _, is_allowed) in set {
        if *name == "type" {
            let ty = fields.get("type").cloned().unwrap_or_default();
            if ty != "object" {
                let why = "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
                return Some(FieldError::invalid(&path.child("type"), ty, why));
            }
        } else if !is_allowed {
            let names: Vec<&str> = FIELDS.iter().filter(|(.., allowed)| *allowed).map(|(_, name, _)| *name).collect();
            let why = format!(
                "only [{}] fields are allowed at the root of the schema if the status subresource is enabled",
                names.join(" ")
            );
            return Some(FieldError::invalid(path, schema.clone(), why));
        }
    }
    None
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}
