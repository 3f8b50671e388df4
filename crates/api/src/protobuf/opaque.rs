//! The types that are one value in JSON and a message in protobuf.

use std::str::FromStr;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::message::Messages;
use super::read::{Fields, ProtobufError};
use super::{decode, encode, write};
use crate::quantity::Quantity;
use crate::schema::JSON_SCHEMA_PROPS;

/// A whole number, which JSON may write as `1.0`.
pub(super) fn integer(value: Option<&Value>) -> i64 {
    value.and_then(|value| value.as_i64().or_else(|| value.as_f64().map(|number| number as i64))).unwrap_or_default()
}

/// The lower half of a number.
pub(super) fn cut(number: i64) -> i32 {
    let [a, b, c, d, ..] = number.to_le_bytes();
    i32::from_le_bytes([a, b, c, d])
}

pub(super) fn write_int_or_string(out: &mut Vec<u8>, value: Option<&Value>) {
    let text = value.and_then(Value::as_str);
    write::number(out, 1, text.is_some().into());
    write::number(out, 2, if text.is_some() { 0 } else { integer(value) });
    write::text(out, 3, text.unwrap_or_default());
}

pub(super) fn read_int_or_string(bytes: &[u8]) -> Result<Value, ProtobufError> {
    let (mut is_text, mut number, mut text) = (false, 0, String::new());
    for field in Fields::new(bytes) {
        match field? {
            (1, payload) => is_text = payload.number("Type")? == 1,
            (2, payload) => number = cut(payload.number("IntVal")?),
            (3, payload) => text = payload.text("StrVal")?,
            _ => {}
        }
    }
    Ok(if is_text { text.into() } else { number.into() })
}

/// Writes a time to so many parts of a second; no text is the zero time, which has no fields.
pub(super) fn write_time(out: &mut Vec<u8>, text: &str, parts: i32) {
    let Ok(time) = Timestamp::from_str(text) else { return };
    // Seconds are rounded down, so that the parts of a second are never negative.
    let nanos = time.as_nanosecond();
    let second = nanos.div_euclid(1_000_000_000);
    let step = i128::from(1_000_000_000 / parts);
    let part = nanos.rem_euclid(1_000_000_000) / step * step;
    write::number(out, 1, i64::try_from(second).unwrap_or_default());
    write::number(out, 2, if parts == 1 { 0 } else { i64::try_from(part).unwrap_or_default() });
}

pub(super) fn read_time(bytes: &[u8], parts: i32) -> Result<Value, ProtobufError> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let (mut seconds, mut nanos) = (0, 0);
    for field in Fields::new(bytes) {
        match field? {
            (1, payload) => seconds = payload.number("Seconds")?,
            (2, payload) => nanos = cut(payload.number("Nanos")?),
            _ => {}
        }
    }
    if parts == 1 {
        nanos = 0;
    }
    let time = Timestamp::new(seconds, nanos).map_err(|_| ProtobufError::Time)?;
    let text = if parts == 1 { crate::meta::format_time(time) } else { crate::meta::format_micro_time(time) };
    Ok(text.into())
}

pub(super) fn read_quantity(bytes: &[u8]) -> Result<Value, ProtobufError> {
    let mut text = String::new();
    for field in Fields::new(bytes) {
        if let (1, payload) = field? {
            text = payload.text("String")?;
        }
    }
    let quantity: Quantity = text.parse().map_err(|_| ProtobufError::Quantity)?;
    Ok(quantity.to_string().into())
}

/// JSON inside a message.
pub(super) fn write_json(out: &mut Vec<u8>, value: Option<&Value>) {
    if let Some(value) = value {
        write::text(out, 1, &value.to_string());
    }
}

pub(super) fn read_json(bytes: &[u8]) -> Result<Value, ProtobufError> {
    let mut raw: &[u8] = b"";
    for field in Fields::new(bytes) {
        if let (1, payload) = field? {
            raw = payload.bytes("Raw")?;
        }
    }
    if raw.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(raw).map_err(|_| ProtobufError::Embedded)
}

fn write_schema(out: &mut Vec<u8>, tag: u32, value: &Value) {
    if let Some(message) = Messages::find(JSON_SCHEMA_PROPS) {
        write::nested(out, tag, |out| encode::message(out, message, value.as_object()));
    }
}

pub(super) fn write_schema_or_array(out: &mut Vec<u8>, value: Option<&Value>) {
    match value {
        Some(Value::Array(schemas)) => schemas.iter().for_each(|schema| write_schema(out, 2, schema)),
        Some(schema) => write_schema(out, 1, schema),
        None => {}
    }
}

pub(super) fn write_schema_or_bool(out: &mut Vec<u8>, value: Option<&Value>) {
    match value {
        Some(Value::Bool(allows)) => write::number(out, 1, (*allows).into()),
        Some(schema) => {
            write::number(out, 1, 1);
            write_schema(out, 2, schema);
        }
        None => write::number(out, 1, 0),
    }
}

pub(super) fn write_schema_or_strings(out: &mut Vec<u8>, value: Option<&Value>) {
    match value {
        Some(Value::Array(names)) => {
            names.iter().for_each(|name| write::text(out, 2, name.as_str().unwrap_or_default()));
        }
        Some(schema) => write_schema(out, 1, schema),
        None => {}
    }
}

/// What a place that usually holds a JSON schema may hold instead.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Alternative {
    Schemas,
    Allows,
    Strings,
}

pub(super) fn read_schema_or(bytes: &[u8], alternative: Alternative, depth: usize) -> Result<Value, ProtobufError> {
    // `allows` comes first in its message, and the schema second; elsewhere the schema is first.
    let (schema_tag, other_tag) = if alternative == Alternative::Allows { (2, 1) } else { (1, 2) };
    let (mut schema, mut allows, mut others) = (None, false, Vec::new());
    for field in Fields::new(bytes) {
        let (tag, payload) = field?;
        if tag == schema_tag {
            schema = Some(read_schema(payload.bytes("Schema")?, depth)?);
        } else if tag == other_tag {
            match alternative {
                Alternative::Schemas => others.push(read_schema(payload.bytes("JSONSchemas")?, depth)?),
                Alternative::Allows => allows = payload.number("Allows")? != 0,
                Alternative::Strings => others.push(payload.text("Property")?.into()),
            }
        }
    }
    Ok(match (schema, alternative) {
        (Some(schema), _) => schema,
        (None, Alternative::Allows) => allows.into(),
        (None, _) => Value::Array(others),
    })
}

fn read_schema(bytes: &[u8], depth: usize) -> Result<Value, ProtobufError> {
    let mut object = Map::new();
    if let Some(message) = Messages::find(JSON_SCHEMA_PROPS) {
        decode::message(message, bytes, &mut object, depth + 1)?;
    }
    Ok(Value::Object(object))
}
