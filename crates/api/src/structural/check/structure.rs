//! That a schema is structural: every field has a type, and what only validates says nothing about the structure.

use crate::field::{ErrorList, FieldError, Path};
use crate::structural::schema::{AdditionalProperties, Structural, Type, ValueValidation};

use super::completeness;

/// What is wrong, in the order of the texts.
pub(super) fn check(schema: &Structural, path: &Path) -> ErrorList {
    let mut errors = Vec::new();
    node(schema, Level::Root, path, &mut errors);
    completeness::check(schema, path, &mut errors);
    errors.sort_by_key(ToString::to_string);
    errors
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

fn node(schema: &Structural, level: Level, path: &Path, errors: &mut ErrorList) {
    if schema.ty == Some(Type::Array) && schema.items.is_none() {
        errors.push(FieldError::required(&path.child("items"), "must be specified"));
    }
    if let Some(items) = &schema.items {
        node(items, Level::Item, &path.child("items"), errors);
    }
    for (name, property) in &schema.properties {
        node(property, Level::Field, &path.child("properties").key(name), errors);
    }
    additional(schema, level, path, errors);
    extensions(schema, path, errors);
    let values = &schema.values;
    let exception = Exception { any_of: is_int_or_string(values), first_of_all: is_first_int_or_string(values) };
    validation(values, exception, path, errors);
    ty(schema, level, path, errors);
    type_meta(schema, level, path, errors);
}

fn additional(schema: &Structural, level: Level, path: &Path, errors: &mut ErrorList) {
    let Some(additional) = &schema.additional_properties else { return };
    let path = path.child("additionalProperties");
    if level == Level::Root {
        errors.push(FieldError::forbidden(&path, "must not be used at the root"));
    }
    if let AdditionalProperties::Schema(schema) = additional {
        node(schema, Level::Field, &path, errors);
    }
    if schema.extensions.embedded_resource {
        let why = "must not be used if x-kubernetes-embedded-resource is set";
        errors.push(FieldError::forbidden(&path, why));
    }
}

fn extensions(schema: &Structural, path: &Path, errors: &mut ErrorList) {
    let extensions = &schema.extensions;
    if extensions.int_or_string {
        for (is_set, name) in [
            (extensions.preserve_unknown_fields, "x-kubernetes-preserve-unknown-fields"),
            (extensions.embedded_resource, "x-kubernetes-embedded-resource"),
        ] {
            if is_set {
                let why = "must be false if x-kubernetes-int-or-string is true";
                errors.push(FieldError::invalid(&path.child(name), true, why));
            }
        }
    }
    if extensions.embedded_resource && !extensions.preserve_unknown_fields && schema.properties.is_empty() {
        let why = "must not be empty if x-kubernetes-embedded-resource is true without \
                   x-kubernetes-preserve-unknown-fields";
        errors.push(FieldError::required(&path.child("properties"), why));
    }
}

fn ty(schema: &Structural, level: Level, path: &Path, errors: &mut ErrorList) {
    let path = path.child("type");
    let extensions = &schema.extensions;
    match &schema.ty {
        None if extensions.embedded_resource => {
            let why = "must be object if x-kubernetes-embedded-resource is true";
            errors.push(FieldError::required(&path, why));
        }
        Some(ty) if extensions.embedded_resource && *ty != Type::Object => {
            let why = "must be object if x-kubernetes-embedded-resource is true";
            errors.push(FieldError::invalid(&path, ty.name(), why));
        }
        None if !extensions.int_or_string && !extensions.preserve_unknown_fields => {
            let why = match level {
                Level::Root => "must not be empty at the root",
                Level::Item => "must not be empty for specified array items",
                Level::Field => "must not be empty for specified object fields",
            };
            errors.push(FieldError::required(&path, why));
        }
        _ => {}
    }
    if let Some(ty) = schema.ty.as_ref().filter(|ty| level == Level::Root && **ty != Type::Object) {
        errors.push(FieldError::invalid(&path, ty.name(), "must be object at the root"));
    }
}

/// `apiVersion`, `kind` and `metadata` are what they are everywhere, and can only be restricted.
fn type_meta(schema: &Structural, level: Level, path: &Path, errors: &mut ErrorList) {
    let is_resource = level == Level::Root || schema.extensions.embedded_resource;
    for (name, wanted) in [("kind", Type::String), ("apiVersion", Type::String), ("metadata", Type::Object)] {
        let Some(property) = schema.properties.get(name).filter(|_| is_resource) else { continue };
        if property.ty.as_ref() != Some(&wanted) {
            let found = property.ty.as_ref().map_or("", Type::name);
            let why = format!("must be {}", wanted.name());
            errors.push(FieldError::invalid(&path.child("properties").key(name).child("type"), found, why));
        }
    }
    if let Some(metadata) = schema.properties.get("metadata").filter(|_| level == Level::Root) {
        let mut rest = metadata.clone();
        rest.ty = None;
        rest.default = None;
        if rest.properties.keys().all(|name| matches!(name.as_str(), "name" | "generateName")) {
            rest.properties.clear();
        }
        if rest != Structural::default() {
            let why =
                "must not specify anything other than name and generateName, but metadata is implicitly specified";
            errors.push(FieldError::forbidden(&path.child("properties").key("metadata"), why));
        }
    }
}

/// The two ways in which alternatives may name types: an integer or a string.
#[derive(Clone, Copy, Default)]
struct Exception {
    any_of: bool,
    first_of_all: bool,
}

fn is_int_or_string(values: &ValueValidation) -> bool {
    let of = |ty: Type| Structural { ty: Some(ty), ..Structural::default() };
    matches!(values.any_of.as_slice(), [first, second] if *first == of(Type::Integer) && *second == of(Type::String))
}

fn is_first_int_or_string(values: &ValueValidation) -> bool {
    values.all_of.first().is_some_and(|first| is_int_or_string(&first.values))
}

fn validation(values: &ValueValidation, exception: Exception, path: &Path, errors: &mut ErrorList) {
    if !exception.any_of {
        for (index, branch) in values.any_of.iter().enumerate() {
            nested(branch, Exception::default(), &path.child("anyOf").index(index), errors);
        }
    }
    for (index, branch) in values.all_of.iter().enumerate() {
        let exception = Exception { any_of: exception.first_of_all && index == 0, first_of_all: false };
        nested(branch, exception, &path.child("allOf").index(index), errors);
    }
    for (index, branch) in values.one_of.iter().enumerate() {
        nested(branch, Exception::default(), &path.child("oneOf").index(index), errors);
    }
    if let Some(branch) = &values.not {
        nested(branch, Exception::default(), &path.child("not"), errors);
    }
    if let Some(pattern) = &values.pattern
        && let Some(error) = pattern.error()
    {
        let why = format!("must be a valid regular expression, but isn't: {error}");
        errors.push(FieldError::invalid(&path.child("pattern"), pattern.source(), why));
    }
}

/// A branch of `allOf` and its like, which must say nothing about the structure.
fn nested(schema: &Structural, exception: Exception, path: &Path, errors: &mut ErrorList) {
    validation(&schema.values, exception, path, errors);
    if let Some(items) = &schema.items {
        nested(items, Exception::default(), &path.child("items"), errors);
    }
    for (name, property) in &schema.properties {
        nested(property, Exception::default(), &path.child("properties").key(name), errors);
    }
    let extensions = &schema.extensions;
    for (is_set, name, wanted) in [
        (schema.ty.is_some(), "type", "empty"),
        (schema.additional_properties.is_some(), "additionalProperties", "undefined"),
        (schema.default.is_some(), "default", "undefined"),
        (!schema.title.is_empty(), "title", "empty"),
        (!schema.description.is_empty(), "description", "empty"),
        (schema.nullable, "nullable", "false"),
        (extensions.preserve_unknown_fields, "x-kubernetes-preserve-unknown-fields", "false"),
        (extensions.embedded_resource, "x-kubernetes-embedded-resource", "false"),
        (extensions.int_or_string, "x-kubernetes-int-or-string", "false"),
        (!extensions.list_map_keys.is_empty(), "x-kubernetes-list-map-keys", "empty"),
        (extensions.list_type.is_some(), "x-kubernetes-list-type", "undefined"),
        (extensions.map_type.is_some(), "x-kubernetes-map-type", "undefined"),
        (!extensions.validations.is_empty(), "x-kubernetes-validations", "empty"),
    ] {
        if is_set {
            errors.push(FieldError::forbidden(&path.child(name), format!("must be {wanted} to be structural")));
        }
    }
    if schema.properties.contains_key("metadata") {
        let path = path.child("properties").key("metadata");
        errors.push(FieldError::forbidden(&path, "must not be specified in a nested context"));
    }
}
