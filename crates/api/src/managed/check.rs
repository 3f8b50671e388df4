//! Whether an applied configuration fits its type: upstream refuses what it cannot place.

use std::collections::HashSet;

use serde_json::Value;

use super::items::element_of;
use super::shape::{Keyed, Shape};
use crate::go_value;
use crate::schema::{self, Field, FieldType, ListType, Type};
use crate::structural::{self, AdditionalProperties, MapType, Structural};

/// What is wrong with the configuration, in upstream's words; empty for types that are not known.
pub(super) fn check(config: &Value, shape: Shape<'_>) -> Vec<String> {
    let mut errors = Vec::new();
    match shape {
        Shape::Struct(ty) => object(config, ty, "", &mut errors),
        Shape::Resource(schema) => fields(config, schema, true, "", &mut errors),
        _ => {}
    }
    errors
}

fn object(value: &Value, ty: &'static Type, path: &str, errors: &mut Vec<String>) {
    let Value::Object(fields) = value else { return expect("map", value, path, errors) };
    for (name, value) in fields {
        let path = format!("{path}.{name}");
        match ty.field(name) {
            Some(field) => of_field(value, field, &path, errors),
            None => errors.push(undeclared(&path)),
        }
    }
}

fn undeclared(path: &str) -> String {
    format!("{path}: field not declared in schema")
}

fn of_field(value: &Value, field: &'static Field, path: &str, errors: &mut Vec<String>) {
    let (Value::Array(items), FieldType::List(element)) = (value, &field.ty) else {
        return of_type(value, &field.ty, path, errors);
    };
    let shape = match field.list_type {
        ListType::Atomic => return of_type(value, &field.ty, path, errors),
        ListType::Set => Shape::Set,
        ListType::Map => Shape::Keyed(Keyed::Type(element, field.map_keys)),
    };
    found_again(items, shape, path, errors, |item, path, errors| of_type(item, element, path, errors));
}

/// Judges the items of a list that are found again by what they are.
fn found_again(
    items: &[Value],
    shape: Shape<'_>,
    path: &str,
    errors: &mut Vec<String>,
    judge: impl Fn(&Value, &str, &mut Vec<String>),
) {
    let mut seen = HashSet::new();
    for (index, item) in items.iter().enumerate() {
        let found = match element_of(item, shape) {
            Ok(found) => found,
            Err(key) => {
                let why = "associative list with keys has an element that omits key field";
                errors.push(format!("{path}: element {index}: {why} \"{key}\" (and doesn't have default value)"));
                continue;
            }
        };
        let shown = found.display();
        if !seen.insert(found) {
            errors.push(format!("{path}: duplicate entries for key {shown}"));
        }
        judge(item, &format!("{path}{shown}"), errors);
    }
}

fn of_type(value: &Value, ty: &'static FieldType, path: &str, errors: &mut Vec<String>) {
    if value.is_null() {
        return;
    }
    match ty {
        FieldType::String | FieldType::Bytes | FieldType::Time | FieldType::MicroTime => {
            scalar(Scalar::String, value, path, errors);
        }
        FieldType::Integer32 | FieldType::Integer64 | FieldType::Number => {
            scalar(Scalar::Numeric, value, path, errors);
        }
        FieldType::Boolean => scalar(Scalar::Boolean, value, path, errors),
        FieldType::Ref(_) => {
            if let Some(ty) = ty.as_type() {
                object(value, ty, path, errors);
            }
        }
        FieldType::List(element) => {
            plain_items(value, path, errors, |item, path, errors| of_type(item, element, path, errors));
        }
        FieldType::Map(element) => match value {
            Value::Object(values) => {
                for (key, value) in values {
                    of_type(value, element, &format!("{path}.{key}"), errors);
                }
            }
            _ => expect("map", value, path, errors),
        },
        _ => {}
    }
}

fn plain_items(value: &Value, path: &str, errors: &mut Vec<String>, judge: impl Fn(&Value, &str, &mut Vec<String>)) {
    let Value::Array(items) = value else { return expect("list", value, path, errors) };
    for (index, item) in items.iter().enumerate() {
        judge(item, &format!("{path}[{index}]"), errors);
    }
}

fn of_schema(value: &Value, schema: &Structural, path: &str, errors: &mut Vec<String>) {
    let extensions = &schema.extensions;
    if value.is_null() || extensions.int_or_string {
        return;
    }
    match &schema.ty {
        Some(structural::Type::String) => scalar(Scalar::String, value, path, errors),
        Some(structural::Type::Integer | structural::Type::Number) => scalar(Scalar::Numeric, value, path, errors),
        Some(structural::Type::Boolean) => scalar(Scalar::Boolean, value, path, errors),
        Some(structural::Type::Object) => {
            let is_atomic = extensions.map_type == Some(MapType::Atomic);
            let is_resource = extensions.embedded_resource && !is_atomic;
            fields(value, schema, is_resource, path, errors);
        }
        Some(structural::Type::Array) => {
            let Some(item_schema) = schema.items.as_deref() else { return };
            let judge = |item: &Value, path: &str, errors: &mut Vec<String>| of_schema(item, item_schema, path, errors);
            match (Shape::of_schema(schema), value) {
                (shape @ (Shape::Set | Shape::Keyed(_)), Value::Array(items)) => {
                    found_again(items, shape, path, errors, judge);
                }
                _ => plain_items(value, path, errors, judge),
            }
        }
        Some(structural::Type::Other(_)) | None => {}
    }
}

fn fields(value: &Value, schema: &Structural, is_resource: bool, path: &str, errors: &mut Vec<String>) {
    let Value::Object(values) = value else { return expect("map", value, path, errors) };
    let metadata = schema::type_by_name(schema::OBJECT_META);
    let additional = schema.additional_properties.as_ref();
    for (name, value) in values {
        let path = format!("{path}.{name}");
        match (name.as_str(), metadata) {
            ("metadata", Some(metadata)) if is_resource => object(value, metadata, &path, errors),
            ("apiVersion" | "kind", _) if is_resource => scalar(Scalar::String, value, &path, errors),
            _ => {
                let known = schema.properties.get(name);
                match known.or_else(|| additional.and_then(AdditionalProperties::schema)) {
                    Some(schema) => of_schema(value, schema, &path, errors),
                    None if additional.is_some() || schema.extensions.preserve_unknown_fields => {}
                    None => errors.push(undeclared(&path)),
                }
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Scalar {
    String,
    Numeric,
    Boolean,
}

fn scalar(wanted: Scalar, value: &Value, path: &str, errors: &mut Vec<String>) {
    match wanted {
        Scalar::String if !value.is_string() => {
            let found = go_value::syntax(value);
            errors.push(format!("{path}: expected string, got &value.valueUnstructured{{Value:{found}}}"));
        }
        Scalar::Numeric if !value.is_number() => {
            errors.push(format!("{path}: expected numeric (int or float), got {}", go_value::type_name(value)));
        }
        Scalar::Boolean if !value.is_boolean() => expect("boolean", value, path, errors),
        _ => {}
    }
}

fn expect(wanted: &str, value: &Value, path: &str, errors: &mut Vec<String>) {
    errors.push(format!("{path}: expected {wanted}, got &{{{}}}", go_value::plain(value)));
}
