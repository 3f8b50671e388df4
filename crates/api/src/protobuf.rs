//! Kubernetes' protobuf encoding, both ways, by the tables of [`crate::schema`].
//!
//! A body is the magic `k8s\0` and a `runtime.Unknown` with apiVersion, kind and the object's message: [`wrap`] and
//! [`open`]. [`encode`] and [`decode`] go between messages and documents. Messages are byte for byte those of
//! upstream's encoder: fields ascend by their tags, and what upstream holds by value is written even when it is
//! empty. In a watch every event is a [`frame`].

mod decode;
mod encode;
mod message;
mod opaque;
mod read;
mod write;

use serde_json::Value;

use message::Messages;
use read::Fields;

pub use read::ProtobufError;

/// What every body begins with.
const MAGIC: &[u8] = b"k8s\0";

/// Types that OpenAPI does not have.
pub use message::{PARTIAL_OBJECT_METADATA, PARTIAL_OBJECT_METADATA_LIST};

/// The type of a [`crate::status::Status`].
pub const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";

/// What upstream says of an object that has no message.
pub const NO_MESSAGE: &str = "object *unstructured.Unstructured does not implement the protobuf marshalling interface \
                              and cannot be encoded to a protobuf message";

/// The type of the metadata of lists.
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";

/// Whether objects of a type have a message: all but those of custom resources do.
pub fn has_message(type_name: &str) -> bool {
    Messages::find(type_name).is_some()
}

/// The message of an object of a type; empty if the type has none.
pub fn encode(object: &Value, type_name: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    if let Some(message) = Messages::find(type_name) {
        encode::message(&mut out, message, object.as_object());
    }
    out
}

/// A body with the message of an object.
pub fn wrap(api_version: &str, kind: &str, message: &[u8]) -> Vec<u8> {
    let mut body = head(api_version, kind, message.len(), message.len());
    body.extend_from_slice(message);
    end(&mut body);
    body
}

/// A body with an object of a type that says what it is.
pub fn body(object: &Value, type_name: &str) -> Vec<u8> {
    let text = |member: &str| object.get(member).and_then(Value::as_str).unwrap_or_default();
    wrap(text("apiVersion"), text("kind"), &encode(object, type_name))
}

/// The beginning of a body up to the message in it, and its end; the message comes between them in pieces.
fn head(api_version: &str, kind: &str, length: usize, extra: usize) -> Vec<u8> {
    let mut body = Vec::with_capacity(extra + api_version.len() + kind.len() + 32);
    body.extend_from_slice(MAGIC);
    write::nested(&mut body, 1, |out| {
        write::text(out, 1, api_version);
        write::text(out, 2, kind);
    });
    write::key(&mut body, 2, write::LENGTH_DELIMITED);
    write::varint(&mut body, length as u64);
    body
}

fn end(body: &mut Vec<u8>) {
    // The encoding and the type of the content, which are those of every message.
    write::text(body, 3, "");
    write::text(body, 4, "");
}

/// What is around the items of a list.
#[derive(Debug)]
pub struct List {
    /// The beginning, with the metadata of the list.
    pub head: Vec<u8>,
    /// The end, behind the last item.
    pub tail: Vec<u8>,
}

impl List {
    /// The list of items whose messages have these lengths.
    pub fn new(api_version: &str, kind: &str, metadata: &Value, lengths: impl Iterator<Item = usize>) -> List {
        let mut meta = Vec::new();
        write::bytes(&mut meta, 1, &encode(metadata, LIST_META));
        let items: usize = lengths.map(|length| 1 + write::varint_length(length as u64) + length).sum();
        let mut list = head(api_version, kind, meta.len() + items, meta.len());
        list.extend_from_slice(&meta);
        let mut tail = Vec::new();
        end(&mut tail);
        List { head: list, tail }
    }

    /// What stands before the message of an item.
    pub fn before(message: &[u8]) -> Vec<u8> {
        let mut before = Vec::with_capacity(8);
        write::key(&mut before, 2, write::LENGTH_DELIMITED);
        write::varint(&mut before, message.len() as u64);
        before
    }
}

/// An event of a watch, as it is sent: its length in four bytes, and a bare `WatchEvent` with a body in it.
pub fn frame(kind: &str, body: &[u8]) -> Vec<u8> {
    let mut event = Vec::with_capacity(body.len() + kind.len() + 32);
    event.extend_from_slice(&[0; 4]);
    write::text(&mut event, 1, kind);
    write::nested(&mut event, 2, |out| write::bytes(out, 1, body));
    let length = u32::try_from(event.len() - 4).expect("objects are far smaller than 4 GB");
    event[..4].copy_from_slice(&length.to_be_bytes());
    event
}

/// What a body carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// The apiVersion; empty if the body has none.
    pub api_version: &'a str,
    /// The kind; empty if the body has none.
    pub kind: &'a str,
    /// The message.
    pub message: &'a [u8],
}

/// Reads what is around the message of a body.
pub fn open(body: &[u8]) -> Result<Envelope<'_>, ProtobufError> {
    let unknown = body.strip_prefix(MAGIC).ok_or(ProtobufError::Magic)?;
    let mut envelope = Envelope { api_version: "", kind: "", message: b"" };
    for field in Fields::new(unknown) {
        let (tag, payload) = field?;
        match tag {
            1 => {
                for field in Fields::new(payload.bytes("TypeMeta")?) {
                    let (tag, payload) = field?;
                    let text = |name| std::str::from_utf8(payload.bytes(name)?).map_err(|_| ProtobufError::Text);
                    match tag {
                        1 => envelope.api_version = text("APIVersion")?,
                        2 => envelope.kind = text("Kind")?,
                        _ => {}
                    }
                }
            }
            2 => envelope.message = payload.bytes("Raw")?,
            _ => {}
        }
    }
    Ok(envelope)
}

/// Reads the message of an object of a type. The document has no apiVersion and kind, and is in the form that
/// [`crate::decode::normalize`] gives.
pub fn decode(message: &[u8], type_name: &str) -> Result<Value, ProtobufError> {
    let mut object = serde_json::Map::new();
    if let Some(known) = Messages::find(type_name) {
        decode::message(known, message, &mut object, 0)?;
    }
    let mut object = Value::Object(object);
    // Messages carry every field that Go does not point to, also those that are empty.
    crate::decode::normalize(&mut object, type_name);
    Ok(object)
}

#[cfg(test)]
mod tests;
