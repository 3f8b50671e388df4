//! Kubernetes' protobuf encoding, read by the tables of `api::schema`: clients such as kubectl send objects in it.
//!
//! A body is the magic `k8s\0` and a `runtime.Unknown` with apiVersion, kind and the object's message.

use api::schema::{self, Field, FieldType, Type, Wire};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value};

/// What every body begins with.
const MAGIC: &[u8] = b"k8s\0";

/// Deeper messages are refused; JSON schemas are the only type that nests without end.
const MAX_DEPTH: usize = 200;

/// Why a body cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProtobufError {
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    Magic,
    #[error("unexpected EOF")]
    Truncated,
    #[error("proto: illegal wireType")]
    WireType,
    #[error("proto: wrong wireType for a field")]
    FieldType,
    #[error("proto: a string is not valid UTF-8")]
    Text,
    #[error("proto: a message nests too deeply")]
    Depth,
    #[error("an embedded object is not JSON")]
    Embedded,
}

/// A field of a message as it stands on the wire.
#[derive(Clone, Copy, Debug)]
enum Payload<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Payload<'a> {
    fn bytes(self) -> Result<&'a [u8], ProtobufError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Number(_) => Err(ProtobufError::FieldType),
        }
    }

    fn number(self) -> Result<u64, ProtobufError> {
        match self {
            Self::Number(number) => Ok(number),
            Self::Bytes(_) => Err(ProtobufError::FieldType),
        }
    }

    fn text(self) -> Result<&'a str, ProtobufError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| ProtobufError::Text)
    }
}

/// The fields of a message in order.
fn fields(mut message: &[u8]) -> Result<Vec<(u32, Payload<'_>)>, ProtobufError> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message)?;
        let tag = u32::try_from(key >> 3).map_err(|_| ProtobufError::WireType)?;
        let payload = match key & 7 {
            0 => Payload::Number(varint(&mut message)?),
            1 => Payload::Number(u64::from_le_bytes(
                take(&mut message, 8)?.try_into().map_err(|_| ProtobufError::Truncated)?,
            )),
            2 => {
                let length = usize::try_from(varint(&mut message)?).map_err(|_| ProtobufError::Truncated)?;
                Payload::Bytes(take(&mut message, length)?)
            }
            5 => {
                let bytes = take(&mut message, 4)?.try_into().map_err(|_| ProtobufError::Truncated)?;
                Payload::Number(u64::from(u32::from_le_bytes(bytes)))
            }
            _ => return Err(ProtobufError::WireType),
        };
        fields.push((tag, payload));
    }
    Ok(fields)
}

fn take<'a>(message: &mut &'a [u8], length: usize) -> Result<&'a [u8], ProtobufError> {
    let (taken, rest) = message.split_at_checked(length).ok_or(ProtobufError::Truncated)?;
    *message = rest;
    Ok(taken)
}

fn varint(message: &mut &[u8]) -> Result<u64, ProtobufError> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(message, 1)?[0];
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(ProtobufError::WireType)
}

/// The first payload with a tag.
fn find<'a>(fields: &[(u32, Payload<'a>)], tag: u32) -> Option<Payload<'a>> {
    fields.iter().find(|(found, _)| *found == tag).map(|(_, payload)| *payload)
}

/// Reads a body as an object of a type; apiVersion and kind are those of the body.
pub(crate) fn decode(body: &[u8], type_name: &str) -> Result<Value, ProtobufError> {
    let unknown = fields(body.strip_prefix(MAGIC).ok_or(ProtobufError::Magic)?)?;
    let type_meta = find(&unknown, 1).map_or(Ok(&b""[..]), Payload::bytes)?;
    let type_meta = fields(type_meta)?;
    let raw = find(&unknown, 2).map_or(Ok(&b""[..]), Payload::bytes)?;
    let mut object = match schema::type_by_name(type_name) {
        Some(ty) => message(ty, raw, 0)?,
        None => Map::new(),
    };
    for (tag, member) in [(1, "apiVersion"), (2, "kind")] {
        let text = find(&type_meta, tag).map_or(Ok(""), Payload::text)?;
        if !text.is_empty() {
            object.insert(member.to_owned(), text.into());
        }
    }
    let mut object = Value::Object(object);
    // Messages carry every field that Go does not point to, also those that are empty.
    api::decode::normalize(&mut object, type_name);
    Ok(object)
}

fn message(ty: &'static Type, bytes: &[u8], depth: usize) -> Result<Map<String, Value>, ProtobufError> {
    let candidates: Vec<(&'static Field, &'static [u32])> = ty.fields.iter().map(|field| (field, field.tags)).collect();
    let mut object = Map::new();
    read(&candidates, bytes, &mut object, depth)?;
    Ok(object)
}

/// Reads the fields whose remaining tags lead through this message.
fn read(
    candidates: &[(&'static Field, &'static [u32])],
    bytes: &[u8],
    object: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), ProtobufError> {
    if depth > MAX_DEPTH {
        return Err(ProtobufError::Depth);
    }
    for (tag, payload) in fields(bytes)? {
        let here: Vec<(&'static Field, &'static [u32])> = candidates
            .iter()
            .filter(|(_, tags)| tags.first() == Some(&tag))
            .map(|(field, tags)| (*field, &tags[1..]))
            .collect();
        if let Some((field, _)) = here.iter().find(|(_, rest)| rest.is_empty()) {
            member(field, payload, object, depth)?;
        } else if !here.is_empty() {
            read(&here, payload.bytes()?, object, depth + 1)?;
        }
    }
    Ok(())
}

/// Adds one occurrence of a field: a value, an element of a list, or an entry of a map.
fn member(
    field: &'static Field,
    payload: Payload<'_>,
    object: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), ProtobufError> {
    let name = field.json.to_owned();
    match field.ty {
        FieldType::List(_) if field.wire == Wire::StringList => {
            object.insert(name, string_list(payload)?);
        }
        FieldType::List(element) => {
            let list = object.entry(name).or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(list) = list {
                list.push(value(element, field.wire, payload, depth)?);
            }
        }
        FieldType::Map(element) => {
            let entry = fields(payload.bytes()?)?;
            let key = find(&entry, 1).map_or(Ok(""), Payload::text)?.to_owned();
            let value = match find(&entry, 2) {
                Some(payload) if field.wire == Wire::StringList => string_list(payload)?,
                Some(payload) => value(element, field.wire, payload, depth)?,
                // An empty value may be left out of an entry.
                None => value(element, field.wire, Payload::Bytes(b""), depth)?,
            };
            let map = object.entry(name).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(map) = map {
                map.insert(key, value);
            }
        }
        ref ty => {
            object.insert(name, value(ty, field.wire, payload, depth)?);
        }
    }
    Ok(())
}

fn string_list(payload: Payload<'_>) -> Result<Value, ProtobufError> {
    let items = fields(payload.bytes()?)?;
    items.into_iter().filter(|(tag, _)| *tag == 1).map(|(_, item)| item.text().map(Value::from)).collect()
}

fn value(ty: &FieldType, wire: Wire, payload: Payload<'_>, depth: usize) -> Result<Value, ProtobufError> {
    Ok(match ty {
        FieldType::String => payload.text()?.into(),
        FieldType::Boolean => (payload.number()? != 0).into(),
        FieldType::Number => f64::from_bits(payload.number()?).into(),
        FieldType::Integer32 | FieldType::Integer64 => signed(payload.number()?).into(),
        FieldType::Bytes => BASE64_STANDARD.encode(payload.bytes()?).into(),
        FieldType::Quantity => find(&fields(payload.bytes()?)?, 1).map_or(Ok(""), Payload::text)?.into(),
        FieldType::IntOrString => int_or_string(payload.bytes()?)?,
        FieldType::Time => time(payload.bytes()?, api::meta::format_time)?,
        FieldType::MicroTime => time(payload.bytes()?, api::meta::format_micro_time)?,
        FieldType::FieldsV1 | FieldType::Raw | FieldType::Json => embedded(payload.bytes()?)?,
        FieldType::SchemaOrArray => schema_or(payload.bytes()?, Alternative::Schemas, depth)?,
        FieldType::SchemaOrBool => schema_or(payload.bytes()?, Alternative::Allows, depth)?,
        FieldType::SchemaOrStringArray => schema_or(payload.bytes()?, Alternative::Strings, depth)?,
        FieldType::Ref(_) => match ty.as_type() {
            Some(ty) => Value::Object(message(ty, payload.bytes()?, depth + 1)?),
            None => Value::Null,
        },
        FieldType::List(_) if wire == Wire::StringList => string_list(payload)?,
        // Lists of lists and maps of maps do not exist in protobuf.
        FieldType::List(_) | FieldType::Map(_) => return Err(ProtobufError::FieldType),
    })
}

/// Negative numbers are sent as the two's complement of 64 bits.
fn signed(number: u64) -> i64 {
    i64::from_le_bytes(number.to_le_bytes())
}

fn int_or_string(bytes: &[u8]) -> Result<Value, ProtobufError> {
    let fields = fields(bytes)?;
    let is_text = find(&fields, 1).map_or(Ok(0), Payload::number)? == 1;
    if is_text {
        return Ok(find(&fields, 3).map_or(Ok(""), Payload::text)?.into());
    }
    Ok(signed(find(&fields, 2).map_or(Ok(0), Payload::number)?).into())
}

fn time(bytes: &[u8], format: impl Fn(jiff::Timestamp) -> String) -> Result<Value, ProtobufError> {
    let fields = fields(bytes)?;
    // The zero time has no fields.
    let Some(seconds) = find(&fields, 1) else { return Ok(Value::Null) };
    let nanos = find(&fields, 2).map_or(Ok(0), Payload::number)?;
    let nanos = i32::try_from(signed(nanos)).unwrap_or(0);
    let timestamp = jiff::Timestamp::new(signed(seconds.number()?), nanos).map_err(|_| ProtobufError::FieldType)?;
    Ok(format(timestamp).into())
}

/// JSON inside a message.
fn embedded(bytes: &[u8]) -> Result<Value, ProtobufError> {
    let raw = find(&fields(bytes)?, 1).map_or(Ok(&b""[..]), Payload::bytes)?;
    if raw.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(raw).map_err(|_| ProtobufError::Embedded)
}

/// What a place that usually holds a JSON schema may hold instead.
enum Alternative {
    Schemas,
    Allows,
    Strings,
}

fn schema_or(bytes: &[u8], alternative: Alternative, depth: usize) -> Result<Value, ProtobufError> {
    let Some(ty) = schema::type_by_name(schema::JSON_SCHEMA_PROPS) else { return Ok(Value::Null) };
    let fields = fields(bytes)?;
    let schema = |payload: Payload<'_>| -> Result<Value, ProtobufError> {
        Ok(Value::Object(message(ty, payload.bytes()?, depth + 1)?))
    };
    // `allows` comes first in its message, and the schema second; elsewhere the schema is first.
    let (schema_tag, other_tag) = if matches!(alternative, Alternative::Allows) { (2, 1) } else { (1, 2) };
    if let Some(payload) = find(&fields, schema_tag) {
        return schema(payload);
    }
    let others = fields.iter().filter(|(tag, _)| *tag == other_tag).map(|(_, payload)| *payload);
    match alternative {
        Alternative::Allows => Ok((find(&fields, other_tag).map_or(Ok(0), Payload::number)? != 0).into()),
        Alternative::Schemas => others.map(schema).collect(),
        Alternative::Strings => others.map(|payload| payload.text().map(Value::from)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn field(tag: u8, bytes: &[u8]) -> Vec<u8> {
        let length = u8::try_from(bytes.len()).expect("a short field");
        [&[tag << 3 | 2, length][..], bytes].concat()
    }

    #[test]
    fn an_object_is_read_by_the_tables() {
        let metadata =
            [field(1, b"web"), field(2, b""), field(11, &[field(1, b"a"), field(2, b"b")].concat())].concat();
        let port =
            [field(1, b"http"), vec![3 << 3, 80], field(4, &[&[1 << 3, 1][..], &field(3, b"main")].concat())].concat();
        let service = [field(1, &metadata), field(2, &field(1, &port))].concat();
        let type_meta = [field(1, b"v1"), field(2, b"Service")].concat();
        let body = [MAGIC, &field(1, &type_meta), &field(2, &service)].concat();
        let decoded = decode(&body, "io.k8s.api.core.v1.Service").expect("it is a service");
        assert_eq!(decoded["kind"], "Service");
        assert_eq!((&decoded["metadata"]["name"], &decoded["metadata"]["labels"]), (&json!("web"), &json!({"a": "b"})));
        assert!(decoded["metadata"].get("generateName").is_none());
        let port = &decoded["spec"]["ports"][0];
        assert_eq!((&port["port"], &port["targetPort"]), (&json!(80), &json!("main")));

        assert_eq!(decode(b"{}", "io.k8s.api.core.v1.Service"), Err(ProtobufError::Magic));
        let cut = &body[..body.len() - 1];
        assert_eq!(decode(cut, "io.k8s.api.core.v1.Service"), Err(ProtobufError::Truncated));
    }
}
