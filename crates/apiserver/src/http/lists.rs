//! Lists, put together from the bytes of objects that are encoded already.

use std::sync::Arc;

use api::kinds::Resource;
use api::protobuf;
use api::status::Status;
use bytes::{BufMut, Bytes, BytesMut};
use serde_json::Value;

use super::output::{not_acceptable, shown, without_type};
use crate::cache::Object;

/// Pieces of a list are about this large: small ones cost more than they carry.
const PIECE: usize = 64 * 1024;

/// What is written so far: whole pieces, and the one that is being filled.
struct Pieces {
    whole: Vec<Bytes>,
    piece: BytesMut,
}

impl Pieces {
    fn new(head: &[u8]) -> Self {
        Self { whole: Vec::new(), piece: BytesMut::from(head) }
    }

    /// Puts the piece away if it is large enough.
    fn cut(&mut self) {
        if self.piece.len() >= PIECE {
            self.whole.push(self.piece.split().freeze());
        }
    }

    fn end(mut self, tail: &[u8]) -> Vec<Bytes> {
        self.piece.extend_from_slice(tail);
        self.whole.push(self.piece.freeze());
        self.whole
    }
}

/// A list in JSON.
pub(super) fn json(resource: &Resource, metadata: &Value, objects: &[Arc<Object>]) -> Vec<Bytes> {
    let head = format!(
        r#"{{"kind":"{}","apiVersion":"{}","metadata":{metadata},"items":["#,
        resource.list_kind,
        resource.api_version()
    );
    let mut pieces = Pieces::new(head.as_bytes());
    for (index, object) in objects.iter().enumerate() {
        if index > 0 {
            pieces.piece.put_u8(b',');
        }
        // Items of custom resources keep their type.
        let is_custom = resource.custom.is_some();
        if !object.is_in(resource) {
            let strip = |item| if is_custom { item } else { without_type(item) };
            pieces.piece.extend_from_slice(strip(shown(resource, object)).to_string().as_bytes());
        } else if is_custom {
            object.write_json(&mut pieces.piece);
        } else {
            object.write_item(&mut pieces.piece);
        }
        pieces.cut();
    }
    pieces.end(b"]}")
}

/// A list in protobuf.
pub(super) fn protobuf(resource: &Resource, metadata: &Value, objects: &[Arc<Object>]) -> Result<Vec<Bytes>, Status> {
    if !protobuf::has_message(resource.schema) {
        return Err(not_acceptable(&protobuf::NO_MESSAGE.replace("Unstructured ", "UnstructuredList ")));
    }
    let messages: Vec<Bytes> = match crate::convert::is_needed(resource) {
        false => objects.iter().map(|object| object.message(resource).clone()).collect(),
        true => {
            objects.iter().map(|object| protobuf::encode(&shown(resource, object), resource.schema).into()).collect()
        }
    };
    let lengths = messages.iter().map(Bytes::len);
    let list = protobuf::List::new(&resource.api_version(), &resource.list_kind, metadata, lengths);
    let mut pieces = Pieces::new(&list.head);
    for message in &messages {
        pieces.piece.extend_from_slice(&protobuf::List::before(message));
        pieces.piece.extend_from_slice(message);
        pieces.cut();
    }
    Ok(pieces.end(&list.tail))
}
