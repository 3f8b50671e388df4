//! Brings objects into the form in which upstream writes them: what is empty and may be left out is left out, what is
//! never left out is there.

use serde_json::{Map, Value};

use crate::schema::{self, Field, FieldType, Type};

/// Normalizes an object of a type of the table; others are left alone.
pub fn normalize(value: &mut Value, type_name: &str) {
    normalize_sent(value, type_name);
    settle(value, type_name);
}

/// Normalizes an object as it was sent: an empty list of its own that is never left out stays, because whoever sets
/// it owns it. [`settle`] makes of it what is stored.
pub fn normalize_sent(value: &mut Value, type_name: &str) {
    if let (Some(ty), Value::Object(values)) = (schema::type_by_name(type_name), value) {
        object(values, ty, false);
    }
}

/// Makes null of the empty lists that [`normalize_sent`] has left.
pub fn settle(value: &mut Value, type_name: &str) {
    let (Some(ty), Value::Object(values)) = (schema::type_by_name(type_name), value) else { return };
    for (key, value) in values {
        if ty.field(key).is_some_and(|field| is_empty_collection(value, &field.ty)) {
            *value = Value::Null;
        }
    }
}

fn object(values: &mut Map<String, Value>, ty: &'static Type, is_settled: bool) {
    values.retain(|key, value| {
        let Some(field) = ty.field(key) else { return true };
        nested(value, &field.ty);
        let is_kept = field.required || field.always;
        if is_kept && is_settled && is_empty_collection(value, &field.ty) {
            *value = Value::Null;
        }
        !is_left_out(value, field)
    });
    for field in ty.fields {
        if values.contains_key(field.json) {
            continue;
        }
        if let Some(value) = never_left_out(field) {
            values.insert(field.json.to_owned(), value);
        }
    }
}

fn nested(value: &mut Value, ty: &FieldType) {
    match (value, ty) {
        (Value::Object(values), FieldType::Ref(_)) => {
            if let Some(ty) = ty.as_type() {
                object(values, ty, true);
            }
        }
        (Value::Array(values), FieldType::List(element)) => {
            values.iter_mut().for_each(|value| nested(value, element));
        }
        (Value::Object(values), FieldType::Map(element)) => {
            values.values_mut().for_each(|value| nested(value, element));
        }
        (value, FieldType::SchemaOrArray | FieldType::SchemaOrBool | FieldType::SchemaOrStringArray) => {
            const SCHEMA: FieldType = FieldType::Ref(schema::JSON_SCHEMA_PROPS);
            match value {
                Value::Array(values) => values.iter_mut().for_each(|value| nested(value, &SCHEMA)),
                value => nested(value, &SCHEMA),
            }
        }
        _ => {}
    }
}

/// Upstream cannot tell an empty list from none once it has been stored, and writes both as null where it must write.
fn is_empty_collection(value: &Value, ty: &FieldType) -> bool {
    match (value, ty) {
        (Value::Array(values), FieldType::List(_)) => values.is_empty(),
        (Value::Object(values), FieldType::Map(_)) => values.is_empty(),
        _ => false,
    }
}

fn is_left_out(value: &Value, field: &Field) -> bool {
    if field.required {
        return false;
    }
    match value {
        Value::Null => !field.always,
        Value::Bool(set) => field.by_value && !set,
        Value::Number(number) => field.by_value && number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty() && (field.by_value || matches!(field.ty, FieldType::Bytes)),
        Value::Array(values) => values.is_empty() && !field.always,
        Value::Object(values) => values.is_empty() && matches!(field.ty, FieldType::Map(_)),
    }
}

/// What upstream writes for a field that nobody has set.
fn never_left_out(field: &Field) -> Option<Value> {
    if !(field.always || field.required) {
        return None;
    }
    if field.pointer {
        return field.always.then_some(Value::Null);
    }
    Some(match field.ty {
        FieldType::Ref(_) => {
            let mut values = Map::new();
            if let Some(ty) = field.ty.as_type() {
                object(&mut values, ty, true);
            }
            Value::Object(values)
        }
        FieldType::Quantity => Value::from("0"),
        FieldType::String => Value::from(""),
        FieldType::Integer32 | FieldType::Integer64 | FieldType::IntOrString => Value::from(0),
        FieldType::Boolean => Value::Bool(false),
        _ => Value::Null,
    })
}
