//! Lists, put together from the bytes of objects that are encoded already, while they are sent: what waits for a slow
//! client is objects that are there anyway, not a copy of them.

use std::sync::Arc;
use std::vec;

use api::kinds::Resource;
use api::protobuf;
use api::status::Status;
use bytes::{BufMut, Bytes, BytesMut};
use serde_json::Value;

use super::output::{not_acceptable, shown, without_type};
use crate::cache::Object;

/// Pieces of a list are about this large: small ones cost more than they carry.
const PIECE: usize = 64 * 1024;

/// An encoded list: an iterator over its pieces.
pub(super) struct List {
    /// What stands before the items, until it was written.
    head: Bytes,
    items: vec::IntoIter<Item>,
    /// What stands behind them.
    tail: Bytes,
    /// The length of all that was not written yet.
    left: usize,
}

/// One item, as it is in the list.
enum Item {
    /// An object with its type.
    Whole(Arc<Object>),
    /// An object without its type.
    Untyped(Arc<Object>),
    /// A document that was encoded for this list.
    Encoded(Bytes),
    /// A message in protobuf.
    Message(Bytes),
}

impl Item {
    fn length(&self) -> usize {
        match self {
            Self::Whole(object) => object.json_length(),
            Self::Untyped(object) => object.item_length(),
            Self::Encoded(document) => document.len(),
            Self::Message(message) => protobuf::List::before(message).len() + message.len(),
        }
    }

    fn write(&self, piece: &mut BytesMut) {
        match self {
            Self::Whole(object) => object.write_json(piece),
            Self::Untyped(object) => object.write_item(piece),
            Self::Encoded(document) => piece.extend_from_slice(document),
            Self::Message(message) => {
                piece.extend_from_slice(&protobuf::List::before(message));
                piece.extend_from_slice(message);
            }
        }
    }

    /// Whether a comma goes between it and the next one.
    fn is_text(&self) -> bool {
        !matches!(self, Self::Message(_))
    }
}

impl List {
    fn new(head: Bytes, items: Vec<Item>, tail: Bytes) -> Self {
        let commas = items.iter().skip(1).filter(|item| item.is_text()).count();
        let left = head.len() + items.iter().map(Item::length).sum::<usize>() + commas + tail.len();
        Self { head, items: items.into_iter(), tail, left }
    }

    /// The length of all that is left.
    pub(super) fn length(&self) -> usize {
        self.left
    }
}

impl Iterator for List {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.left == 0 {
            return None;
        }
        let mut piece = BytesMut::with_capacity(self.left.min(PIECE + PIECE / 4));
        piece.extend_from_slice(&std::mem::take(&mut self.head));
        while piece.len() < PIECE
            && let Some(item) = self.items.next()
        {
            item.write(&mut piece);
            if item.is_text() && self.items.len() > 0 {
                piece.put_u8(b',');
            }
        }
        if self.items.len() == 0 {
            piece.extend_from_slice(&std::mem::take(&mut self.tail));
        }
        self.left -= piece.len();
        Some(piece.freeze())
    }
}

/// A list in JSON.
pub(super) fn json(resource: &Resource, metadata: &Value, objects: &[Arc<Object>]) -> List {
    let head = format!(
        r#"{{"kind":"{}","apiVersion":"{}","metadata":{metadata},"items":["#,
        resource.list_kind,
        resource.api_version()
    );
    // Items of custom resources keep their type.
    let is_custom = resource.custom.is_some();
    let item = |object: &Arc<Object>| match (object.is_in(resource), is_custom) {
        (true, true) => Item::Whole(object.clone()),
        (true, false) => Item::Untyped(object.clone()),
        (false, true) => Item::Encoded(shown(resource, object).to_string().into()),
        (false, false) => Item::Encoded(without_type(shown(resource, object)).to_string().into()),
    };
    List::new(head.into(), objects.iter().map(item).collect(), Bytes::from_static(b"]}"))
}

/// A list in protobuf.
pub(super) fn protobuf(resource: &Resource, metadata: &Value, objects: &[Arc<Object>]) -> Result<List, Status> {
    if !protobuf::has_message(resource.schema) {
        return Err(not_acceptable(&protobuf::NO_MESSAGE.replace("Unstructured ", "UnstructuredList ")));
    }
    let is_converted = crate::convert::is_needed(resource);
    let message = |object: &Arc<Object>| match is_converted {
        false => object.message(resource).clone(),
        true => protobuf::encode(&shown(resource, object), resource.schema).into(),
    };
    let messages: Vec<Bytes> = objects.iter().map(message).collect();
    let lengths = messages.iter().map(Bytes::len);
    let list = protobuf::List::new(&resource.api_version(), &resource.list_kind, metadata, lengths);
    Ok(List::new(list.head.into(), messages.into_iter().map(Item::Message).collect(), list.tail.into()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn maps(count: usize) -> Vec<Arc<Object>> {
        let resource = api::kinds::find("", "v1", "configmaps").expect("config maps are built in");
        let map = |number: usize| {
            let value = json!({"metadata": {"name": format!("m{number}")}, "data": {"text": "x".repeat(1000)}});
            let stored = crate::cache::encode(resource, &value).into();
            Arc::new(Object::load(resource, format!("ns/m{number}").into(), &stored, 7).expect("it is a config map"))
        };
        (0..count).map(map).collect()
    }

    #[track_caller]
    fn check(list: List) -> Vec<u8> {
        let length = list.length();
        let pieces: Vec<Bytes> = list.collect();
        assert!(pieces.iter().rev().skip(1).all(|piece| (PIECE..PIECE * 2).contains(&piece.len())));
        let whole = pieces.concat();
        assert_eq!(whole.len(), length);
        whole
    }

    #[test]
    fn lists_come_in_pieces_and_have_the_length_that_they_say() {
        let resource = api::kinds::find("", "v1", "configmaps").expect("config maps are built in");
        let metadata = json!({"resourceVersion": "9"});
        for count in [0, 1, 2, 300] {
            let objects = maps(count);
            let list: Value = serde_json::from_slice(&check(json(resource, &metadata, &objects))).expect("it is JSON");
            let items = list["items"].as_array().expect("it has items");
            assert_eq!(items.len(), count);
            assert!(items.iter().all(|item| item.get("kind").is_none() && item["metadata"]["resourceVersion"] == "7"));
            let message = check(protobuf(resource, &metadata, &objects).expect("they have messages"));
            let envelope = api::protobuf::open(&message).expect("it is a message");
            assert_eq!(envelope.kind, "ConfigMapList");
            let items = objects.iter().map(|object| object.message(resource));
            let items: Vec<u8> = items.flat_map(|item| [&protobuf::List::before(item), &item[..]].concat()).collect();
            assert!(envelope.message.ends_with(&items));
        }
    }
}
