//! OpenAPI documents as they are served: built when they are first asked for, kept compressed, with their hashes.
//!
//! There is a v3 document for each group and version and a v2 document of them all, each in JSON and in protobuf. A
//! document is kept together with what it was built of; when that changed, the next reader builds it again, so that
//! the index and the documents are always those of what is served.

mod merged;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use api::kinds::Resource;
use api::openapi::{self, Entry};
use api::status::Status;
use base::Env;
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha512};

use crate::http::gzip;
use crate::kinds::{Kinds, Remote};
use crate::strategy;

use merged::Merged;

/// The encodings of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    Protobuf,
}

/// The versions of OpenAPI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V2,
    V3,
}

/// One document, encoded and compressed.
pub(crate) struct Document {
    version: Version,
    /// Changes with the document; clients keep a document as long as this is the same.
    pub(crate) hash: String,
    /// When it was built.
    pub(crate) modified: Timestamp,
    json: Bytes,
    /// Made when it is first asked for: few clients do.
    protobuf: OnceLock<Bytes>,
}

impl std::fmt::Debug for Document {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Document").field(&self.version).field(&self.hash).finish()
    }
}

/// Documents with the same hash say the same.
impl PartialEq for Document {
    fn eq(&self, other: &Self) -> bool {
        (self.version, &self.hash) == (other.version, &other.hash)
    }
}

impl Document {
    /// A document of its text. May take long.
    pub(crate) fn new(version: Version, text: &str, modified: Timestamp) -> std::io::Result<Self> {
        let json = gzip::compressed(text.as_bytes())?.into();
        Ok(Self { version, hash: hash_of(text.as_bytes()), modified, json, protobuf: OnceLock::new() })
    }

    /// The document in a form, compressed by gzip. May take long.
    pub(crate) fn compressed(&self, form: Form) -> Result<Bytes, Status> {
        if form == Form::Json {
            return Ok(self.json.clone());
        }
        if let Some(kept) = self.protobuf.get() {
            return Ok(kept.clone());
        }
        let document = self.document()?;
        let encoded = match self.version {
            Version::V2 => openapi::protobuf::v2(&document),
            Version::V3 => openapi::protobuf::v3(&document),
        };
        let compressed = gzip::compressed(&encoded).map_err(Status::internal)?.into();
        Ok(self.protobuf.get_or_init(|| compressed).clone())
    }

    fn document(&self) -> Result<Value, Status> {
        let json = gzip::decompressed(&self.json).map_err(Status::internal)?;
        serde_json::from_slice(&json).map_err(Status::internal)
    }
}

/// The hash of an encoded document, as it stands in ETags.
pub(crate) fn hash_of(bytes: &[u8]) -> String {
    Sha512::digest(bytes).iter().map(|byte| format!("{byte:02X}")).collect()
}

/// A document and the resources that it describes.
struct Kept {
    resources: Vec<Arc<Resource>>,
    document: Arc<Document>,
}

/// All documents of a server.
pub(crate) struct OpenApi {
    env: Env,
    v3: Mutex<BTreeMap<String, Kept>>,
    v2: Mutex<Second>,
}

/// The v2 document, and what it is made of.
#[derive(Default)]
struct Second {
    merged: Merged,
    document: Option<Arc<Document>>,
}

impl OpenApi {
    pub(crate) fn new(env: Env) -> Self {
        Self { env, v3: Mutex::default(), v2: Mutex::default() }
    }

    /// The index of v3 documents, encoded. Builds each of them, so it may take long.
    pub(crate) fn index(&self, kinds: &Kinds) -> Result<Bytes, Status> {
        let mut paths = serde_json::Map::new();
        for key in keys(kinds) {
            if let Some(document) = self.v3(kinds, &key)? {
                let url = url_of(&key, &document);
                paths.insert(key, json!({"serverRelativeURL": url}));
            }
        }
        Ok(json!({"paths": paths}).to_string().into())
    }

    /// The v3 document with this key in the index. May take long.
    pub(crate) fn v3(&self, kinds: &Kinds, key: &str) -> Result<Option<Arc<Document>>, Status> {
        let (resources, is_general) = match group_version(kinds, key) {
            Some(resources) => (resources, false),
            None if let Some(document) = of_remote(kinds, key) => return Ok(Some(document)),
            None if is_general(kinds, key) => (Vec::new(), true),
            None => return Ok(None),
        };
        let mut kept = self.v3.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Kept { resources: known, document }) = kept.get(key)
            && same(known, &resources)
        {
            return Ok(Some(document.clone()));
        }
        let built = if is_general { openapi::general(key) } else { describe(&resources) };
        let document = Document::new(Version::V3, &built.to_string(), self.env.now()).map_err(Status::internal)?;
        let document = Arc::new(document);
        kept.insert(key.to_owned(), Kept { resources, document: document.clone() });
        Ok(Some(document))
    }

    /// The v2 document. May take long.
    pub(crate) fn v2(&self, kinds: &Kinds) -> Result<Arc<Document>, Status> {
        let mut documents = Vec::new();
        for key in keys(kinds) {
            if let Some(document) = self.v3(kinds, &key)? {
                documents.push((key, document));
            }
        }
        let hashes: Vec<&str> = documents.iter().map(|(_, document)| document.hash.as_str()).collect();
        let hash = hash_of(hashes.join(" ").as_bytes());
        let mut kept = self.v2.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(document) = kept.document.as_ref().filter(|document| document.hash == hash) {
            return Ok(document.clone());
        }
        let json = kept.merged.text(&documents)?;
        let (version, modified) = (Version::V2, self.env.now());
        let document = Arc::new(Document { version, hash, modified, json, protobuf: OnceLock::new() });
        kept.document = Some(document.clone());
        Ok(document)
    }
}

/// The keys of all documents.
fn keys(kinds: &Kinds) -> Vec<String> {
    let mut keys: Vec<String> = openapi::GENERAL_KEYS.map(str::to_owned).to_vec();
    keys.push(openapi::path_of("", "v1"));
    for group in kinds.groups() {
        keys.push(format!("apis/{}", group.name));
        keys.extend(group.versions.iter().map(|version| openapi::path_of(&group.name, version)));
    }
    keys
}

fn is_general(kinds: &Kinds, key: &str) -> bool {
    let is_group = |name: &str| kinds.groups().iter().any(|group| group.name == name);
    openapi::GENERAL_KEYS.contains(&key) || key.strip_prefix("apis/").is_some_and(is_group)
}

/// The resources of the group and version that a key names.
fn group_version(kinds: &Kinds, key: &str) -> Option<Vec<Arc<Resource>>> {
    let (group, version) = match key.split('/').collect::<Vec<_>>().as_slice() {
        ["api", version] => ("", *version),
        ["apis", group, version] => (*group, *version),
        _ => return None,
    };
    Some(kinds.of_version(group, version)).filter(|resources| !resources.is_empty())
}

/// What an extension API server says of the group and version that a key names.
fn of_remote(kinds: &Kinds, key: &str) -> Option<Arc<Document>> {
    let is_meant = |remote: &&Remote| openapi::path_of(&remote.group, &remote.version) == key;
    kinds.remotes().iter().find(is_meant)?.document.clone()
}

/// The URL of a document, which changes with it.
pub(crate) fn url_of(key: &str, document: &Document) -> String {
    format!("/openapi/v3/{key}?hash={}", document.hash)
}

/// Whether a document of these resources would say the same. Rows of a definition are made anew when another one
/// changes, the definition itself is not.
fn same(a: &[Arc<Resource>], b: &[Arc<Resource>]) -> bool {
    let is_same = |a: &Arc<Resource>, b: &Arc<Resource>| match (&a.custom, &b.custom) {
        (Some(a), Some(b)) => Arc::ptr_eq(&a.definition, &b.definition),
        _ => Arc::ptr_eq(a, b),
    };
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b))
}

fn describe(resources: &[Arc<Resource>]) -> Value {
    let entries: Vec<Entry<'_>> = resources
        .iter()
        .map(|resource| Entry {
            resource,
            returns_deleted: strategy::returns_deleted(resource),
            schema: resource.custom.as_ref().map(|custom| &custom.version().structural),
        })
        .collect();
    let (group, version) = resources.first().map_or(("", ""), |first| (&*first.group, &*first.version));
    openapi::group_version(group, version, &entries)
}
