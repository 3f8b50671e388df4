//! What may stand in a schema at all, and what its `x-kubernetes-` extensions must be.

use serde_json::{Map, Value};

use super::{lists, rules};
use crate::field::{ErrorList, FieldError, Path};
use crate::structural::schema::{Type, is_meta_field};

pub(super) fn check(schema: &Value, path: &Path) -> ErrorList {
    let mut errors = Vec::new();
    node(schema, path, Context::default(), true, &mut errors);
    errors
}

/// Where in a schema this is.
#[derive(Clone, Default)]
struct Context {
    /// Why there may be no default, if there may not be.
    no_defaults: Option<String>,
    /// Whether this is below `metadata`, `apiVersion` or `kind` of a resource.
    inside_meta: bool,
}

pub(super) fn text<'a>(schema: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    schema.get(name).and_then(Value::as_str)
}

/// The type; empty if there is none.
pub(super) fn type_of(schema: &Map<String, Value>) -> &str {
    text(schema, "type").unwrap_or_default()
}

fn is_true(schema: &Map<String, Value>, name: &str) -> bool {
    schema.get(name) == Some(&Value::Bool(true))
}

fn node(value: &Value, path: &Path, context: Context, is_root: bool, errors: &mut ErrorList) {
    let Value::Object(schema) = value else { return };
    unsupported(schema, path, &context, errors);
    if is_true(schema, "uniqueItems") {
        let why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.push(FieldError::forbidden(&path.child("uniqueItems"), why));
    }
    below(schema, path, &context, is_root, errors);
    if let Some(preserve @ Value::Bool(false)) = schema.get("x-kubernetes-preserve-unknown-fields") {
        let path = path.child("x-kubernetes-preserve-unknown-fields");
        errors.push(FieldError::invalid(&path, preserve.clone(), "must be true or undefined"));
    }
    lists::check(schema, path, errors);
    rules::check(value, schema, path, errors);
}

fn below(schema: &Map<String, Value>, path: &Path, context: &Context, is_root: bool, errors: &mut ErrorList) {
    let properties = schema.get("properties").and_then(Value::as_object);
    if let Some(additional) = schema.get("additionalProperties").filter(|additional| !additional.is_null()) {
        let path = path.child("additionalProperties");
        if properties.is_some_and(|properties| !properties.is_empty()) && *additional != Value::Bool(true) {
            errors.push(FieldError::forbidden(&path, "additionalProperties and properties are mutual exclusive"));
        }
        let mut context = context.clone();
        if context.inside_meta {
            // Pruning does not know the keys yet.
            context.no_defaults = Some("inside additionalProperties applying to object metadata".to_owned());
        }
        node(additional, &path, context, false, errors);
    }
    let is_resource = is_root || is_true(schema, "x-kubernetes-embedded-resource");
    for (name, property) in properties.into_iter().flatten() {
        let mut context = context.clone();
        if is_resource && is_meta_field(name) {
            context.inside_meta = true;
            if is_root {
                context.no_defaults = Some(format!("in top-level {name}"));
            }
        }
        node(property, &path.child("properties").key(name), context, false, errors);
    }
    let mut each = |name: &str| match schema.get(name) {
        Some(Value::Array(branches)) => {
            for (index, branch) in branches.iter().enumerate() {
                node(branch, &path.child(name).index(index), context.clone(), false, errors);
            }
        }
        Some(branch) => node(branch, &path.child(name), context.clone(), false, errors),
        None => {}
    };
    ["not", "allOf", "oneOf", "anyOf", "items"].into_iter().for_each(&mut each);
    for name in ["definitions", "dependencies"] {
        for (key, definition) in schema.get(name).and_then(Value::as_object).into_iter().flatten() {
            node(definition, &path.child(name).key(key), context.clone(), false, errors);
        }
    }
}

fn unsupported(schema: &Map<String, Value>, path: &Path, context: &Context, errors: &mut ErrorList) {
    let ty = type_of(schema);
    if !ty.is_empty() && !Type::NAMES.contains(&ty) {
        errors.push(FieldError::not_supported(&path.child("type"), ty, &Type::NAMES));
    }
    let mut forbid = |name: &str, why: &str| errors.push(FieldError::forbidden(&path.child(name), why));
    if let Some(reason) = &context.no_defaults
        && schema.get("default").is_some_and(|default| !default.is_null())
    {
        forbid("default", &format!("must not be set {reason}"));
    }
    if text(schema, "id").is_some_and(|id| !id.is_empty()) {
        forbid("id", "id is not supported");
    }
    let is_set = |name: &str| match schema.get(name) {
        None | Some(Value::Null) => false,
        Some(Value::Object(map)) => !map.is_empty() || name == "additionalItems",
        Some(_) => true,
    };
    for name in ["additionalItems", "patternProperties", "definitions", "dependencies", "$ref"] {
        if is_set(name) {
            forbid(name, &format!("{name} is not supported"));
        }
    }
    if ty == "null" {
        forbid("type", "type cannot be set to null, use nullable as an alternative");
    }
    if schema.get("items").and_then(Value::as_array).is_some_and(|items| !items.is_empty()) {
        forbid("items", "items must be a schema object and not an array");
    }
    if context.inside_meta && is_true(schema, "x-kubernetes-embedded-resource") {
        forbid("x-kubernetes-embedded-resource", "must not be used inside of resource meta");
    }
}
