//! Messages to documents.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value};

use super::message::{Content, Message, Messages};
use super::opaque::{self, Alternative};
use super::read::{Fields, MAX_DEPTH, Payload, ProtobufError, varint};
use crate::schema::{Field, FieldType, Wire};

/// Reads a message into an object; what is there already is added to, as protobuf has it.
pub(super) fn message(
    message: &Message,
    bytes: &[u8],
    object: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), ProtobufError> {
    if depth > MAX_DEPTH {
        return Err(ProtobufError::Depth);
    }
    for field in Fields::new(bytes) {
        let (tag, payload) = field?;
        // Fields of newer clients are skipped.
        let Some(node) = message.node(tag) else { continue };
        match &node.content {
            Content::Inline(inline) => self::message(inline, payload.bytes("inline message")?, object, depth + 1)?,
            Content::Field { field, message } => {
                let place = Place { field, message: message.map(Messages::get), depth };
                place.add(payload, object)?;
            }
        }
    }
    Ok(())
}

/// A field of a message that is being read.
#[derive(Clone, Copy)]
struct Place {
    field: &'static Field,
    /// The message of the values, if they are of a type of the tables.
    message: Option<&'static Message>,
    depth: usize,
}

impl Place {
    /// Adds one occurrence of the field: a value, an element of a list, or an entry of a map.
    fn add(self, payload: Payload<'_>, object: &mut Map<String, Value>) -> Result<(), ProtobufError> {
        let name = self.field.json;
        match self.field.ty {
            FieldType::List(_) if self.field.wire == Wire::StringList => {
                object.insert(name.to_owned(), self.strings(payload)?);
            }
            FieldType::List(element) => {
                let list = object.entry(name).or_insert_with(|| Value::Array(Vec::new()));
                let Value::Array(list) = list else { return Ok(()) };
                match (element, payload) {
                    (FieldType::Integer32 | FieldType::Integer64, Payload::Bytes(packed)) => {
                        self.packed(packed, list)?;
                    }
                    _ => list.push(self.value(element, payload)?),
                }
            }
            FieldType::Map(element) => {
                let (key, value) = self.entry(element, payload)?;
                let map = object.entry(name).or_insert_with(|| Value::Object(Map::new()));
                if let Value::Object(map) = map {
                    map.insert(key, value);
                }
            }
            FieldType::Ref(_) => {
                let Some(message) = self.message else { return Ok(()) };
                let known = object.entry(name).or_insert_with(|| Value::Object(Map::new()));
                if let Value::Object(known) = known {
                    self::message(message, payload.bytes(name)?, known, self.depth + 1)?;
                }
            }
            ref ty => {
                object.insert(name.to_owned(), self.value(ty, payload)?);
            }
        }
        Ok(())
    }

    fn entry(self, element: &FieldType, payload: Payload<'_>) -> Result<(String, Value), ProtobufError> {
        let mut key = String::new();
        let mut value = None;
        for field in Fields::new(payload.bytes(self.field.json)?) {
            match field? {
                (1, payload) => key = payload.text(self.field.json)?,
                (2, payload) if self.field.wire == Wire::StringList => value = Some(self.strings(payload)?),
                (2, payload) => value = Some(self.value(element, payload)?),
                _ => {}
            }
        }
        let value = match value {
            Some(value) => value,
            // An empty value may be left out of an entry.
            None if self.field.wire == Wire::StringList => Value::Array(Vec::new()),
            None => match element {
                FieldType::Quantity => "0".into(),
                _ => self.value(element, Payload::Bytes(b""))?,
            },
        };
        Ok((key, value))
    }

    /// Numbers may stand in one field, one behind the other.
    fn packed(self, mut packed: &[u8], list: &mut Vec<Value>) -> Result<(), ProtobufError> {
        while !packed.is_empty() {
            list.push(Payload::Varint(varint(&mut packed)?).number(self.field.json)?.into());
        }
        Ok(())
    }

    fn strings(self, payload: Payload<'_>) -> Result<Value, ProtobufError> {
        let mut strings = Vec::new();
        for field in Fields::new(payload.bytes(self.field.json)?) {
            if let (1, item) = field? {
                strings.push(item.text(self.field.json)?.into());
            }
        }
        Ok(Value::Array(strings))
    }

    fn value(self, ty: &FieldType, payload: Payload<'_>) -> Result<Value, ProtobufError> {
        let name = self.field.json;
        Ok(match ty {
            FieldType::String => payload.text(name)?.into(),
            FieldType::Boolean => (payload.number(name)? != 0).into(),
            FieldType::Number => payload.double(name)?.into(),
            // Upstream cuts numbers down to the size that they have in Go.
            FieldType::Integer32 => opaque::cut(payload.number(name)?).into(),
            FieldType::Integer64 => payload.number(name)?.into(),
            FieldType::Bytes => BASE64_STANDARD.encode(payload.bytes(name)?).into(),
            FieldType::Quantity => opaque::read_quantity(payload.bytes(name)?)?,
            FieldType::IntOrString => opaque::read_int_or_string(payload.bytes(name)?)?,
            FieldType::Time => opaque::read_time(payload.bytes(name)?, 1)?,
            FieldType::MicroTime => opaque::read_time(payload.bytes(name)?, 1_000_000)?,
            FieldType::FieldsV1 | FieldType::Raw | FieldType::Json => opaque::read_json(payload.bytes(name)?)?,
            FieldType::SchemaOrArray => opaque::read_schema_or(payload.bytes(name)?, Alternative::Schemas, self.depth)?,
            FieldType::SchemaOrBool => opaque::read_schema_or(payload.bytes(name)?, Alternative::Allows, self.depth)?,
            FieldType::SchemaOrStringArray => {
                opaque::read_schema_or(payload.bytes(name)?, Alternative::Strings, self.depth)?
            }
            FieldType::Ref(_) => {
                let mut object = Map::new();
                if let Some(message) = self.message {
                    self::message(message, payload.bytes(name)?, &mut object, self.depth + 1)?;
                }
                Value::Object(object)
            }
            // Lists of lists and maps of maps do not exist in protobuf.
            FieldType::List(_) | FieldType::Map(_) => return Err(payload.wrong(name)),
        })
    }
}
