//! What the expressions of mutating policies make: configurations to apply, and JSON patches.

use std::fmt::Write as _;

use serde_json::{Map, Value as Json};

use crate::error::EvalError;
use crate::types::JSON_PATCH;
use crate::value::{MAX_PARTS, Value};

/// The configuration that an expression of [`super::Purpose::ApplyConfiguration`] has made.
///
/// # Errors
///
/// A part of it is of another type than its place says, or is nothing that JSON knows.
pub fn apply_configuration(value: &Value<'_>) -> Result<Json, EvalError> {
    match value {
        Value::Message(message) if &*message.name != JSON_PATCH => {
            // Its size is known when it is a document.
            let config = value.to_json()?;
            check_types(value, &message.name)?;
            Ok(config)
        }
        other => {
            let ty = other.type_of();
            Err(EvalError::failed(format!("unsupported return type from ApplyConfiguration expression: {ty}")))
        }
    }
}

/// The operations of the patch that an expression of [`super::Purpose::JsonPatch`] has made.
///
/// # Errors
///
/// A value is made of parts of wrong types, or is nothing that JSON knows.
pub fn json_patch(value: &Value<'_>) -> Result<Json, EvalError> {
    let Value::List(list) = value else {
        return Err(EvalError::failed("type mismatch: JSONPatchType.expression should evaluate to array"));
    };
    let mut left = MAX_PARTS;
    list.iter().map(|item| operation(&item?, &mut left)).collect::<Result<Vec<Json>, EvalError>>().map(Json::Array)
}

fn operation(value: &Value<'_>, left: &mut usize) -> Result<Json, EvalError> {
    let Value::Message(message) = value else {
        let why = "type mismatch: JSONPatchType.expression should evaluate to array of JSONPatch";
        return Err(EvalError::failed(why));
    };
    let mut operation = Map::new();
    for (field, value) in &message.fields {
        let json = value.json(left).map_err(|error| {
            let why = "JSONPath valueExpression evaluated to a type that could not marshal to JSON";
            EvalError::failed(format!("{why}: {error}"))
        })?;
        if let Value::Message(made) = value {
            check_types(value, &made.name)?;
        }
        operation.insert(field.to_string(), json);
    }
    Ok(Json::Object(operation))
}

/// Types are named after the places of their values: what is at `spec` of an `Object` is an `Object.spec`.
fn check_types(root: &Value<'_>, name: &str) -> Result<(), EvalError> {
    let mut wrong = String::new();
    check_type(root, name, &mut wrong)?;
    if wrong.is_empty() { Ok(()) } else { Err(EvalError::failed(format!("type mismatch: {wrong}"))) }
}

fn check_type(value: &Value<'_>, place: &str, wrong: &mut String) -> Result<(), EvalError> {
    match value {
        Value::Message(message) => {
            if &*message.name != place {
                let separator = if wrong.is_empty() { "" } else { "\n" };
                let _ = write!(
                    wrong,
                    "{separator}unexpected type name {}, expected {}, which matches field name path from root Object type",
                    api::field::quote(&message.name),
                    api::field::quote(place)
                );
            }
            message.fields.iter().try_for_each(|(field, value)| check_type(value, &format!("{place}.{field}"), wrong))
        }
        Value::List(list) => list.iter().try_for_each(|item| check_type(&item?, place, wrong)),
        Value::Map(map) => {
            for key in map.keys() {
                if let Some(value) = map.get(&key)? {
                    check_type(&value, place, wrong)?;
                }
            }
            Ok(())
        }
        _ => Ok(()),
    }
}
