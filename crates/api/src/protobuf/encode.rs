//! Documents to messages.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value};

use super::message::{Content, Message, Messages};
use super::{opaque, write};
use crate::schema::{Field, FieldType, Wire};

/// Writes the message of an object; without an object, that of one of which nothing is set.
pub(super) fn message(out: &mut Vec<u8>, message: &Message, object: Option<&Map<String, Value>>) {
    for node in &message.nodes {
        match &node.content {
            // What is inline is never a pointer: it is written even when nothing of it is set.
            Content::Inline(inline) => write::nested(out, node.tag, |out| self::message(out, inline, object)),
            Content::Field { field, message } => {
                let value = object.and_then(|object| object.get(field.json)).filter(|value| !value.is_null());
                let slot = Slot { tag: node.tag, wire: field.wire, message: message.map(Messages::get) };
                slot.field(out, field, value);
            }
        }
    }
}

/// A place in a message.
#[derive(Clone, Copy)]
struct Slot {
    tag: u32,
    wire: Wire,
    /// The message of the values, if they are of a type of the tables.
    message: Option<&'static Message>,
}

impl Slot {
    fn field(self, out: &mut Vec<u8>, field: &Field, value: Option<&Value>) {
        match (field.ty, value) {
            (FieldType::List(_), Some(value)) if self.wire == Wire::StringList => self.strings(out, value),
            (FieldType::List(element), Some(value)) => {
                for item in value.as_array().into_iter().flatten() {
                    self.value(out, element, Some(item));
                }
            }
            (FieldType::Map(element), Some(value)) => {
                // Documents keep their keys sorted, and so must messages.
                for (key, item) in value.as_object().into_iter().flatten() {
                    write::nested(out, self.tag, |out| {
                        write::text(out, 1, key);
                        let slot = Slot { tag: 2, ..self };
                        if self.wire == Wire::StringList {
                            slot.strings(out, item)
                        } else {
                            slot.value(out, element, Some(item))
                        }
                    });
                }
            }
            (FieldType::List(_) | FieldType::Map(_) | FieldType::Bytes, None) => {}
            (ref ty, None) if !field.is_pointer() => self.value(out, ty, None),
            (_, None) => {}
            (ref ty, value) => self.value(out, ty, value),
        }
    }

    /// Writes one value; none is the value that Go has when nothing is set.
    fn value(self, out: &mut Vec<u8>, ty: &FieldType, value: Option<&Value>) {
        let tag = self.tag;
        match ty {
            FieldType::String => write::text(out, tag, text(value)),
            FieldType::Boolean => write::number(out, tag, value.and_then(Value::as_bool).unwrap_or_default().into()),
            FieldType::Integer32 | FieldType::Integer64 => write::number(out, tag, opaque::integer(value)),
            FieldType::Number => write::double(out, tag, value.and_then(Value::as_f64).unwrap_or_default()),
            FieldType::Bytes => write::bytes(out, tag, &BASE64_STANDARD.decode(text(value)).unwrap_or_default()),
            FieldType::Quantity => {
                let amount = value.map_or("0", |value| value.as_str().unwrap_or("0"));
                write::nested(out, tag, |out| write::text(out, 1, amount));
            }
            FieldType::IntOrString => write::nested(out, tag, |out| opaque::write_int_or_string(out, value)),
            FieldType::Time => write::nested(out, tag, |out| opaque::write_time(out, text(value), 1)),
            FieldType::MicroTime => write::nested(out, tag, |out| opaque::write_time(out, text(value), 1_000_000)),
            FieldType::FieldsV1 | FieldType::Raw | FieldType::Json => {
                write::nested(out, tag, |out| opaque::write_json(out, value));
            }
            FieldType::SchemaOrArray => write::nested(out, tag, |out| opaque::write_schema_or_array(out, value)),
            FieldType::SchemaOrBool => write::nested(out, tag, |out| opaque::write_schema_or_bool(out, value)),
            FieldType::SchemaOrStringArray => {
                write::nested(out, tag, |out| opaque::write_schema_or_strings(out, value));
            }
            FieldType::Ref(_) => {
                if let Some(message) = self.message {
                    write::nested(out, tag, |out| self::message(out, message, value.and_then(Value::as_object)));
                }
            }
            // Lists of lists and maps of maps do not exist in protobuf.
            FieldType::List(_) | FieldType::Map(_) => {}
        }
    }

    /// Writes the message that is a list of texts.
    fn strings(self, out: &mut Vec<u8>, value: &Value) {
        write::nested(out, self.tag, |out| {
            for item in value.as_array().into_iter().flatten() {
                write::text(out, 1, item.as_str().unwrap_or_default());
            }
        });
    }
}

fn text(value: Option<&Value>) -> &str {
    value.and_then(Value::as_str).unwrap_or_default()
}
