//! Whether an applied configuration fits its type: upstream refuses what it cannot place.

use std::collections::HashSet;

use serde_json::Value;

use super::items::element_of;
use super::shape::Shape;
use crate::schema::{Field, FieldType, ListType, Type};

/// What is wrong with the configuration, in upstream's words; empty for types that are not known.
pub(super) fn check(config: &Value, shape: Shape) -> Vec<String> {
    let mut errors = Vec::new();
    if let Shape::Struct(ty) = shape {
        object(config, ty, "", &mut errors);
    }
    errors
}

fn object(value: &Value, ty: &'static Type, path: &str, errors: &mut Vec<String>) {
    let Value::Object(fields) = value else { return expect("map", value, path, errors) };
    for (name, value) in fields {
        let path = format!("{path}.{name}");
        match ty.field(name) {
            Some(field) => of_field(value, field, &path, errors),
            None => errors.push(format!("{path}: field not declared in schema")),
        }
    }
}

fn of_field(value: &Value, field: &'static Field, path: &str, errors: &mut Vec<String>) {
    let (Value::Array(items), FieldType::List(element)) = (value, &field.ty) else {
        return of_type(value, &field.ty, path, errors);
    };
    let shape = match field.list_type {
        ListType::Atomic => return of_type(value, &field.ty, path, errors),
        ListType::Set => Shape::Set,
        ListType::Map => Shape::Keyed(element, field.map_keys),
    };
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
        of_type(item, element, &format!("{path}{shown}"), errors);
    }
}

fn of_type(value: &Value, ty: &'static FieldType, path: &str, errors: &mut Vec<String>) {
    if value.is_null() {
        return;
    }
    match ty {
        FieldType::String | FieldType::Bytes | FieldType::Time | FieldType::MicroTime if !value.is_string() => {
            expect("string", value, path, errors);
        }
        FieldType::Integer32 | FieldType::Integer64 | FieldType::Number if !value.is_number() => {
            expect("numeric (int or float)", value, path, errors);
        }
        FieldType::Boolean if !value.is_boolean() => expect("boolean", value, path, errors),
        FieldType::Ref(_) => {
            if let Some(ty) = ty.as_type() {
                object(value, ty, path, errors);
            }
        }
        FieldType::List(element) => match value {
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    of_type(item, element, &format!("{path}[{index}]"), errors);
                }
            }
            _ => expect("list", value, path, errors),
        },
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

fn expect(wanted: &str, value: &Value, path: &str, errors: &mut Vec<String>) {
    errors.push(format!("{path}: expected {wanted}, got {value}"));
}
