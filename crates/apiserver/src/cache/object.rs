//! One encoded object, and how objects are encoded for the datastore.
//!
//! Stored bytes are JSON that begins `{"apiVersion":"…","kind":"…","metadata":{`, without a resourceVersion. That
//! order lets the resourceVersion, which only the datastore knows, be spliced in at a known place, and lets a list
//! take the object without its type by leaving the beginning out.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use api::custom::Custom;
use api::kinds::Resource;
use api::structural::Malformed;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use super::fields;

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
    bytes
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
    pub(crate) labels: BTreeMap<String, String>,
    /// The values of the fields that can be selected by, in the order of [`fields::selectable`].
    fields: fields::Values,
    /// The whole document with its resourceVersion.
    json: Bytes,
    /// How long the beginning with apiVersion and kind is: `metadata` comes next.
    type_length: usize,
    /// Where the resourceVersion was spliced in, and how long the splice is.
    splice: (usize, usize),
    /// The message in protobuf, made when somebody first asks for it.
    message: OnceLock<Bytes>,
}

#[derive(Deserialize)]
struct Indexed {
    metadata: IndexedMeta,
}

#[derive(Deserialize)]
struct IndexedMeta {
    #[serde(default)]
    uid: Box<str>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

impl Object {
    /// Makes the cached form of stored bytes.
    pub(crate) fn load(
        resource: &Resource,
        key: Arc<str>,
        stored: &[u8],
        revision: i64,
    ) -> Result<Self, StoredObjectError> {
        let (head, stored) = match &resource.custom {
            Some(custom) => {
                let (head, read) = read_custom(custom, &resource.kind, stored)?;
                (head, Cow::Owned(read))
            }
            None => (head(&resource.storage_api_version(), &resource.kind), Cow::Borrowed(stored)),
        };
        let stored = &*stored;
        let tail = stored.strip_prefix(head.as_bytes()).ok_or(StoredObjectError::Head)?;
        let indexed: Indexed = serde_json::from_slice(stored)?;
        let fields = fields::extract(resource, stored)?;
        let splice = splice_text(revision, tail);
        let mut json = Vec::with_capacity(stored.len() + splice.len());
        json.extend_from_slice(head.as_bytes());
        json.extend_from_slice(splice.as_bytes());
        json.extend_from_slice(tail);
        Ok(Self {
            key,
            revision,
            uid: indexed.metadata.uid,
            labels: indexed.metadata.labels,
            fields,
            json: Bytes::from(json),
            type_length: head.len() - r#""metadata":{"#.len(),
            splice: (head.len(), splice.len()),
            message: OnceLock::new(),
        })
    }

    /// The same object under another revision, as the event of its deletion shows it.
    pub(crate) fn at_revision(&self, revision: i64) -> Self {
        let (at, length) = self.splice;
        let tail = &self.json[at + length..];
        let splice = splice_text(revision, tail);
        let mut json = Vec::with_capacity(self.json.len() + 4);
        json.extend_from_slice(&self.json[..at]);
        json.extend_from_slice(splice.as_bytes());
        json.extend_from_slice(tail);
        Self {
            key: self.key.clone(),
            revision,
            uid: self.uid.clone(),
            labels: self.labels.clone(),
            fields: self.fields.clone(),
            json: Bytes::from(json),
            type_length: self.type_length,
            splice: (at, splice.len()),
            message: OnceLock::new(),
        }
    }

    /// The whole document.
    pub(crate) fn json(&self) -> &Bytes {
        &self.json
    }

    /// The document's members behind apiVersion and kind, closing brace included: with a `{` before it, an item of a
    /// list.
    pub(crate) fn json_without_type(&self) -> Bytes {
        self.json.slice(self.type_length..)
    }

    /// The message in protobuf, in the version in which the object is stored; `resource` is the one it was loaded as.
    pub(crate) fn message(&self, resource: &Resource) -> &Bytes {
        self.message.get_or_init(|| api::protobuf::encode(&self.value(), resource.schema).into())
    }

    /// The same object as another version of it shows it.
    pub(crate) fn in_version(&self, resource: &Resource, value: &Value) -> Self {
        let head = head(&resource.api_version(), &resource.kind);
        let document = encode_as(&head, value);
        let tail = &document[head.len()..];
        let splice = splice_text(self.revision, tail);
        let json = [head.as_bytes(), splice.as_bytes(), tail].concat();
        Self {
            key: self.key.clone(),
            revision: self.revision,
            uid: self.uid.clone(),
            labels: self.labels.clone(),
            fields: self.fields.clone(),
            json: Bytes::from(json),
            type_length: head.len() - r#""metadata":{"#.len(),
            splice: (head.len(), splice.len()),
            message: OnceLock::new(),
        }
    }

    /// Whether the document is in the version of the resource.
    pub(crate) fn is_in(&self, resource: &Resource) -> bool {
        match resource.custom {
            Some(_) => self.json[..self.type_length] == *type_head(&resource.api_version(), &resource.kind).as_bytes(),
            None => resource.is_storage_version(),
        }
    }

    /// The document, parsed.
    pub(crate) fn value(&self) -> Value {
        serde_json::from_slice(&self.json).expect("it was parsed when it came into the cache")
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

fn splice_text(revision: i64, tail: &[u8]) -> String {
    let comma = if tail.first() == Some(&b'}') { "" } else { "," };
    format!(r#""resourceVersion":"{revision}"{comma}"#)
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
        let object = Object::load(resource, "ns/p".into(), &encode(resource, &pod), 42).expect("it is a pod");
        let mut expected = pod.clone();
        expected["metadata"]["resourceVersion"] = "42".into();
        assert_eq!(object.value(), expected);
        assert_eq!((object.field("spec.nodeName"), object.field("metadata.name")), (Some("n"), Some("p")));
        assert_eq!(object.field("status.phase"), Some("Running"));
        assert_eq!(object.labels.get("a").map(String::as_str), Some("b"));

        let item = [b"{", object.json_without_type().as_ref()].concat();
        let item: Value = serde_json::from_slice(&item).expect("an item is JSON");
        assert!(item.get("kind").is_none() && item["metadata"]["resourceVersion"] == "42");

        let message = api::protobuf::decode(object.message(resource), resource.schema).expect("it is a pod");
        assert_eq!(message.pointer("/metadata/resourceVersion"), Some(&json!("42")));
        assert_eq!(message.pointer("/spec/nodeName"), Some(&json!("n")));

        expected["metadata"]["resourceVersion"] = "1000".into();
        assert_eq!(object.at_revision(1000).value(), expected);
        assert!(Object::load(resource, "p".into(), b"{}", 1).is_err());
    }
}
