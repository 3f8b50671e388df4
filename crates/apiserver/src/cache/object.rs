//! One encoded object, and how objects are encoded for the datastore.
//!
//! Stored bytes are JSON that begins `{"apiVersion":"…","kind":"…","metadata":{`, without a resourceVersion. That
//! order lets the resourceVersion, which only the datastore knows, be spliced in at a known place whenever the object
//! is written out, and lets a list take the object without its type by leaving the beginning out.

use std::fmt::Write;
use std::sync::{Arc, OnceLock};

use api::custom::Custom;
use api::decode::Omitted;
use api::kinds::Resource;
use api::structural::Malformed;
use bytes::{BufMut, Bytes, BytesMut};
use serde::de::IgnoredAny;
use serde_json::Value;

use super::fields::{self, Indexed};
use super::texts::Labels;

/// The beginning of a document, up to and with the brace that opens `metadata`.
fn head(api_version: &str, kind: &str) -> String {
    format!(r#"{{"apiVersion":"{api_version}","kind":"{kind}","metadata":{{"#)
}

/// The beginning of a document up to `metadata`.
fn type_head(api_version: &str, kind: &str) -> String {
    format!(r#"{{"apiVersion":"{api_version}","kind":"{kind}","#)
}

/// Encodes an object for the datastore; its resourceVersion is left out.
pub(crate) fn encode(resource: &Resource, object: &Value) -> Vec<u8> {
    encode_as(&head(&resource.storage_api_version(), &resource.kind), object)
}

fn encode_as(head: &str, object: &Value) -> Vec<u8> {
    let mut bytes = head.as_bytes().to_vec();
    let mut first = true;
    let member = |bytes: &mut Vec<u8>, key: &str, value: &Value, first: &mut bool| {
        if !*first {
            bytes.push(b',');
        }
        *first = false;
        serde_json::to_writer(&mut *bytes, key).expect("writing to memory cannot fail");
        bytes.push(b':');
        serde_json::to_writer(&mut *bytes, value).expect("writing to memory cannot fail");
    };
    for (key, value) in api::meta::metadata(object).into_iter().flatten() {
        if key != "resourceVersion" {
            member(&mut bytes, key, value, &mut first);
        }
    }
    bytes.push(b'}');
    first = false;
    for (key, value) in object.as_object().into_iter().flatten() {
        if !matches!(key.as_str(), "apiVersion" | "kind" | "metadata") {
            member(&mut bytes, key, value, &mut first);
        }
    }
    bytes.push(b'}');
    // It is kept for as long as the object is there.
    bytes.shrink_to_fit();
    bytes
}

/// What the datastore keeps of an object behind its document: which fields are there and empty although the document
/// does not show them.
pub(crate) fn encode_with(resource: &Resource, object: &Value, omitted: &Omitted) -> Vec<u8> {
    let mut bytes = encode(resource, object);
    let omitted = omitted.stored();
    if !omitted.is_empty() {
        serde_json::to_writer(&mut bytes, &omitted.to_json()).expect("writing to memory cannot fail");
    }
    bytes
}

/// How long the document is at the beginning of stored bytes, and what stands behind it.
pub(crate) fn split(stored: &[u8]) -> Result<(usize, Omitted), serde_json::Error> {
    // Nearly always nothing.
    if stored.last() == Some(&b'}') {
        return Ok((stored.len(), Omitted::default()));
    }
    let mut documents = serde_json::Deserializer::from_slice(stored).into_iter::<IgnoredAny>();
    documents.next().transpose()?;
    let end = documents.byte_offset();
    Ok((end, Omitted::from_pointers(serde_json::from_slice(&stored[end..])?)))
}

/// A stored custom resource as its schema has it now, which may differ from the one that it was written under; it
/// stays in the version in which it was written. Its beginning comes with it.
fn read_custom(custom: &Custom, kind: &str, stored: &[u8]) -> Result<(String, Vec<u8>), StoredObjectError> {
    let mut object: Value = serde_json::from_slice(stored)?;
    let api_version = api::meta::api_version(&object).to_owned();
    let (_, version) = api::meta::split_api_version(&api_version);
    let declared = custom.definition.version(version).ok_or(StoredObjectError::Head)?;
    // What is malformed is dropped, and nobody asks for what is unknown.
    let _ = declared.structural.conform(&mut object, Malformed::Drop);
    let head = head(&api_version, kind);
    let bytes = encode_as(&head, &object);
    Ok((head, bytes))
}

/// Why stored bytes are not an object of the resource.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoredObjectError {
    #[error("does not begin as an object of the resource does")]
    Head,
    #[error("not an object: {0}")]
    Json(#[from] serde_json::Error),
}

/// An object as the cache holds it.
#[derive(Debug)]
pub(crate) struct Object {
    /// `namespace/name`, or the name alone: the end of its key.
    pub(crate) key: Arc<str>,
    /// The revision of its last change: its resourceVersion.
    pub(crate) revision: i64,
    pub(crate) uid: Box<str>,
    pub(crate) labels: Labels,
    /// The values of the fields that can be selected by, in the order of [`fields::selectable`].
    fields: fields::Values,
    /// The document without its resourceVersion: the bytes that the datastore has, and not a copy of them.
    stored: Bytes,
    /// How long the beginning of the document is, up to and with the brace that opens `metadata`.
    head: usize,
    /// What the document does not show.
    omitted: Omitted,
    /// The message in protobuf, made when somebody first asks for it.
    message: OnceLock<Bytes>,
}

/// What a document has between its type and the members of its metadata.
const METADATA: &str = r#""metadata":{"#;

impl Object {
    /// Makes the cached form of stored bytes.
    pub(crate) fn load(
        resource: &Resource,
        key: Arc<str>,
        stored: &Bytes,
        revision: i64,
    ) -> Result<Self, StoredObjectError> {
        let (head, stored) = match &resource.custom {
            Some(custom) => {
                let (head, read) = read_custom(custom, &resource.kind, stored)?;
                (head, if read == *stored { stored.clone() } else { read.into() })
            }
            None => (head(&resource.storage_api_version(), &resource.kind), stored.clone()),
        };
        let (end, omitted) = split(&stored)?;
        let stored = if end == stored.len() { stored } else { stored.slice(..end) };
        if !stored.starts_with(head.as_bytes()) {
            return Err(StoredObjectError::Head);
        }
        let Indexed { uid, labels, fields } = fields::index(resource, &stored)?;
        Ok(Self { key, revision, uid, labels, fields, stored, head: head.len(), omitted, message: OnceLock::new() })
    }

    /// The same object with other bytes or under another revision.
    fn with(&self, stored: Bytes, head: usize, revision: i64) -> Self {
        Self {
            key: self.key.clone(),
            revision,
            uid: self.uid.clone(),
            labels: self.labels.clone(),
            fields: self.fields.clone(),
            stored,
            head,
            omitted: self.omitted.clone(),
            message: OnceLock::new(),
        }
    }

    /// The same object under another revision, as the event of its deletion shows it.
    pub(crate) fn at_revision(&self, revision: i64) -> Self {
        self.with(self.stored.clone(), self.head, revision)
    }

    /// The same object as another version of it shows it.
    pub(crate) fn in_version(&self, resource: &Resource, value: &Value) -> Self {
        let head = head(&resource.api_version(), &resource.kind);
        self.with(encode_as(&head, value).into(), head.len(), self.revision)
    }

    /// The document as the datastore has it, without its resourceVersion.
    pub(crate) fn stored(&self) -> &[u8] {
        &self.stored
    }

    /// The empty fields that the document does not show.
    pub(crate) fn omitted(&self) -> &Omitted {
        &self.omitted
    }

    /// The whole document.
    pub(crate) fn json(&self) -> Bytes {
        let mut json = BytesMut::with_capacity(self.json_length());
        self.write_json(&mut json);
        json.freeze()
    }

    /// How long the whole document is.
    pub(crate) fn json_length(&self) -> usize {
        self.stored.len() + self.splice().length()
    }

    /// Appends the whole document.
    pub(crate) fn write_json(&self, out: &mut BytesMut) {
        out.extend_from_slice(&self.stored[..self.head]);
        self.splice().write(out);
        out.extend_from_slice(&self.stored[self.head..]);
    }

    /// How long the document is without apiVersion and kind.
    pub(crate) fn item_length(&self) -> usize {
        self.json_length() - self.type_length() + 1
    }

    /// Appends the document without apiVersion and kind, as it is in a list.
    pub(crate) fn write_item(&self, out: &mut BytesMut) {
        out.put_u8(b'{');
        out.extend_from_slice(METADATA.as_bytes());
        self.splice().write(out);
        out.extend_from_slice(&self.stored[self.head..]);
    }

    fn splice(&self) -> Splice {
        Splice { revision: self.revision, is_alone: self.stored.get(self.head) == Some(&b'}') }
    }

    /// How long the beginning with apiVersion and kind is: `metadata` comes next.
    fn type_length(&self) -> usize {
        self.head - METADATA.len()
    }

    /// The message in protobuf, in the version in which the object is stored; `resource` is the one it was loaded as.
    pub(crate) fn message(&self, resource: &Resource) -> &Bytes {
        self.message.get_or_init(|| api::protobuf::encode(&self.value(), resource.schema).into())
    }

    /// Whether the document is in the version of the resource.
    pub(crate) fn is_in(&self, resource: &Resource) -> bool {
        match resource.custom {
            Some(_) => {
                self.stored[..self.type_length()] == *type_head(&resource.api_version(), &resource.kind).as_bytes()
            }
            None => resource.is_storage_version(),
        }
    }

    /// The document, parsed.
    pub(crate) fn value(&self) -> Value {
        let mut value: Value = serde_json::from_slice(&self.stored).expect("it was parsed when it came into the cache");
        value["metadata"]["resourceVersion"] = self.revision.to_string().into();
        value
    }

    pub(crate) fn namespace(&self) -> Option<&str> {
        self.key.split_once('/').map(|(namespace, _)| namespace)
    }

    pub(crate) fn name(&self) -> &str {
        self.key.split_once('/').map_or(&self.key, |(_, name)| name)
    }

    /// The value of a field that can be selected by.
    pub(crate) fn field(&self, path: &str) -> Option<&str> {
        match path {
            "metadata.name" => Some(self.name()),
            "metadata.namespace" => Some(self.namespace().unwrap_or_default()),
            _ => self.fields.get(path),
        }
    }
}

/// The resourceVersion as the first member of a document's metadata.
struct Splice {
    revision: i64,
    /// Whether the metadata has no other members.
    is_alone: bool,
}

impl Splice {
    fn length(&self) -> usize {
        let digits = self.revision.max(1).ilog10() as usize + 1;
        r#""resourceVersion":"""#.len() + digits + usize::from(!self.is_alone)
    }

    fn write(&self, out: &mut BytesMut) {
        let comma = if self.is_alone { "" } else { "," };
        // Appending cannot fail.
        let _ = write!(out, r#""resourceVersion":"{}"{comma}"#, self.revision);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_resource_version_is_spliced_in_and_replaced() {
        let resource = api::kinds::find("", "v1", "pods").expect("pods are built in");
        let pod = json!({
            "kind": "Pod", "apiVersion": "v1",
            "metadata": {"name": "p", "namespace": "ns", "uid": "u", "labels": {"a": "b"}, "resourceVersion": "1"},
            "spec": {"nodeName": "n"}, "status": {"phase": "Running"},
        });
        let object = Object::load(resource, "ns/p".into(), &encode(resource, &pod).into(), 42).expect("it is a pod");
        let mut expected = pod.clone();
        expected["metadata"]["resourceVersion"] = "42".into();
        assert_eq!(object.value(), expected);
        assert_eq!((object.field("spec.nodeName"), object.field("metadata.name")), (Some("n"), Some("p")));
        assert_eq!(object.field("status.phase"), Some("Running"));
        assert_eq!(object.labels.get("a"), Some("b"));

        let parsed = |json: &[u8]| serde_json::from_slice::<Value>(json).expect("it is JSON");
        assert_eq!((parsed(&object.json()), object.json().len()), (expected.clone(), object.json_length()));
        let mut item = BytesMut::new();
        object.write_item(&mut item);
        assert_eq!(item.len(), object.item_length());
        let item = parsed(&item);
        assert!(item.get("kind").is_none() && item["metadata"]["resourceVersion"] == "42");

        let message = api::protobuf::decode(object.message(resource), resource.schema).expect("it is a pod");
        assert_eq!(message.pointer("/metadata/resourceVersion"), Some(&json!("42")));
        assert_eq!(message.pointer("/spec/nodeName"), Some(&json!("n")));

        expected["metadata"]["resourceVersion"] = "1000".into();
        let later = object.at_revision(1000);
        assert_eq!((later.value(), later.json().len()), (expected, later.json_length()));
        assert!(Object::load(resource, "p".into(), &Bytes::from_static(b"{}"), 1).is_err());
    }
}
