//! Documents in protobuf, as the messages of gnostic that old and new kubectl read.
//!
//! A document is JSON first; tables say which message each of its objects is and which tag each member has. Members
//! that the tables do not have are left out, those that start with `x-` are extensions, whose values are YAML text.

mod v2;
mod v3;

use serde_json::{Map, Value};

pub use v2::{definitions as v2_definitions, frame as v2_frame, paths as v2_paths};

/// The message of a v3 document.
pub fn v3(document: &Value) -> Vec<u8> {
    write_message(&v3::DOCUMENT, document)
}

/// How a JSON value is written.
#[derive(Clone, Copy)]
enum Form {
    Text,
    Bool,
    Integer,
    Double,
    /// Any value, as a message with its YAML text.
    Any,
    /// Each value of a list as [`Form::Any`].
    EachAny,
    Message(&'static Message),
    /// One of several forms within a message, of which the value itself says which; none leaves the message empty.
    OneOf(fn(&Value) -> Option<(u32, Form)>),
    /// The members of an object as messages of a name and a value, within a message.
    Named(&'static Form),
    /// A value, or the values of a list, within a message.
    Wrapped(&'static Form),
}

/// One message: the tags and forms of the members of an object.
struct Message {
    members: &'static [(&'static str, u32, Form)],
    /// The tag of all other members, as messages of a name and a value.
    others: Option<(u32, Form)>,
    /// The tag of the extensions.
    extensions: Option<u32>,
}

impl Message {
    const fn new(members: &'static [(&'static str, u32, Form)], extensions: u32) -> Message {
        Message { members, others: None, extensions: Some(extensions) }
    }
}

fn write_message(message: &Message, value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    let Value::Object(object) = value else { return out };
    // In the order of tags, as protobuf's own writers do.
    for (name, tag, form) in message.members {
        if let Some(value) = object.get(*name) {
            write_field(*tag, *form, value, &mut out);
        }
    }
    let known = |name: &str| message.members.iter().any(|(member, ..)| *member == name);
    let (extensions, others): (Vec<_>, Vec<_>) =
        object.iter().filter(|(name, _)| !known(name)).partition(|(name, _)| name.starts_with("x-"));
    if let Some((tag, form)) = message.others {
        for (name, value) in others {
            write_bytes(tag, &named(name, form, value), &mut out);
        }
    }
    if let Some(tag) = message.extensions {
        for (name, value) in extensions {
            write_bytes(tag, &named(name, Form::Any, value), &mut out);
        }
    }
    out
}

fn named(name: &str, form: Form, value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    write_bytes(1, name.as_bytes(), &mut out);
    write_field(2, form, value, &mut out);
    out
}

/// Writes a member, a list as one field an element. Zero values are not written, as in protobuf 3.
fn write_field(tag: u32, form: Form, value: &Value, out: &mut Vec<u8>) {
    if let (Value::Array(values), false) = (value, matches!(form, Form::Any | Form::Wrapped(_))) {
        for value in values {
            write_element(tag, form, value, out);
        }
        return;
    }
    let is_zero = match form {
        Form::Text => value.as_str().is_none_or(str::is_empty),
        Form::Bool => value != &Value::Bool(true),
        Form::Integer | Form::Double => value.as_f64().is_none_or(|number| number == 0.0),
        _ => false,
    };
    if !is_zero {
        write_element(tag, form, value, out);
    }
}

fn write_element(tag: u32, form: Form, value: &Value, out: &mut Vec<u8>) {
    match form {
        Form::Text => write_bytes(tag, value.as_str().unwrap_or_default().as_bytes(), out),
        Form::Bool => {
            write_varint(u64::from(tag) << 3, out);
            write_varint(u64::from(value == &Value::Bool(true)), out);
        }
        Form::Integer => {
            write_varint(u64::from(tag) << 3, out);
            // Protobuf writes negative numbers as if they were unsigned.
            write_varint(value.as_i64().unwrap_or_default().cast_unsigned(), out);
        }
        Form::Double => {
            write_varint(u64::from(tag) << 3 | 1, out);
            out.extend_from_slice(&value.as_f64().unwrap_or_default().to_le_bytes());
        }
        Form::Any | Form::EachAny => {
            let mut any = Vec::new();
            // JSON is YAML.
            write_bytes(2, format!("{value}\n").as_bytes(), &mut any);
            write_bytes(tag, &any, out);
        }
        Form::Message(message) => write_bytes(tag, &write_message(message, value), out),
        Form::OneOf(choose) => {
            let mut message = Vec::new();
            if let Some((inner, form)) = choose(value) {
                write_element(inner, form, value, &mut message);
            }
            write_bytes(tag, &message, out);
        }
        Form::Named(form) => {
            let mut message = Vec::new();
            for (name, value) in value.as_object().unwrap_or(&Map::new()) {
                write_bytes(1, &named(name, *form, value), &mut message);
            }
            write_bytes(tag, &message, out);
        }
        Form::Wrapped(form) => {
            let mut message = Vec::new();
            write_field(1, *form, value, &mut message);
            write_bytes(tag, &message, out);
        }
    }
}

fn write_bytes(tag: u32, bytes: &[u8], out: &mut Vec<u8>) {
    write_length(tag, bytes.len(), out);
    out.extend_from_slice(bytes);
}

/// Begins a field of so many bytes.
fn write_length(tag: u32, length: usize, out: &mut Vec<u8>) {
    write_varint(u64::from(tag) << 3 | 2, out);
    write_varint(length as u64, out);
}

fn write_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        // The low seven bits.
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests;
