//! OpenAPI documents as they are served: kept compressed, with their hashes.
//!
//! There is a v3 document for each group and version and a v2 document of them all, each in JSON and in protobuf. A
//! document is kept together with what it was built of; when that changed, the next reader builds it again, so that
//! the index and the documents are always those of what is served. That reader is nearly always [`build_ahead`].
//! The documents of built-in kinds are built once for all.

mod merged;

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use api::kinds::Resource;
use api::openapi::{self, Entry};
use api::status::Status;
use base::{Drain, Env};
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha512};

use crate::http::gzip;
use crate::kinds::{Kinds, Remote};
use crate::registry::Registry;
use crate::strategy;

use merged::Pieces;

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
    /// Changes with the document; clients keep a document as long as this is the same.
    pub(crate) hash: String,
    /// When it was built.
    pub(crate) modified: Timestamp,
    json: Bytes,
    /// Made when it is first asked for: few clients do.
    protobuf: OnceLock<Bytes>,
    content: Content,
}

/// What is kept of a document beside its text.
enum Content {
    /// A v2 document and those of v3 that it is made of.
    Merged(Vec<Arc<Document>>),
    /// A v3 document and what it last added to one of v2.
    Single(Mutex<Option<Arc<Pieces>>>),
}

impl std::fmt::Debug for Document {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Document").field(&self.hash).finish()
    }
}

/// Documents with the same hash say the same.
impl PartialEq for Document {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
    }
}

impl Document {
    /// A v3 document of its text. May take long.
    pub(crate) fn new(text: &str, modified: Timestamp) -> std::io::Result<Self> {
        let (hash, json) = (hash_of(text.as_bytes()), gzip::compressed(text.as_bytes())?.into());
        Ok(Self { hash, modified, json, protobuf: OnceLock::new(), content: Content::Single(Mutex::default()) })
    }

    /// The document in a form, compressed by gzip. May take long.
    pub(crate) fn compressed(&self, form: Form) -> Result<Bytes, Status> {
        if form == Form::Json {
            return Ok(self.json.clone());
        }
        if let Some(kept) = self.protobuf.get() {
            return Ok(kept.clone());
        }
        let compressed = match &self.content {
            Content::Merged(documents) => merged::message(documents)?,
            Content::Single(_) => {
                let encoded = openapi::protobuf::v3(&self.document()?);
                gzip::compressed(&encoded).map_err(Status::internal)?.into()
            }
        };
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

/// Documents by their keys.
type Documents = Mutex<BTreeMap<String, Kept>>;

/// The documents of built-in groups, which are the same for every server of this process.
static BUILT_IN: Documents = Mutex::new(BTreeMap::new());

/// All documents of a server.
pub(crate) struct OpenApi {
    env: Env,
    /// Those of v3 that are of custom resources.
    custom: Documents,
    v2: Mutex<Option<Arc<Document>>>,
}

impl OpenApi {
    pub(crate) fn new(env: Env) -> Self {
        Self { env, custom: Mutex::default(), v2: Mutex::default() }
    }

    /// The index of v3 documents, encoded. Builds each of them, so it may take long.
    pub(crate) fn index(&self, kinds: &Kinds) -> Result<Bytes, Status> {
        let documents = self.all(kinds)?.into_iter();
        let paths: serde_json::Map<String, Value> = documents
            .map(|(key, document)| {
                let url = url_of(&key, &document);
                (key, json!({"serverRelativeURL": url}))
            })
            .collect();
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
        let documents = if is_built_in(key, &resources) { &BUILT_IN } else { &self.custom };
        let mut kept = documents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Kept { resources: known, document }) = kept.get(key)
            && same(known, &resources)
        {
            return Ok(Some(document.clone()));
        }
        let built = if is_general { openapi::general(key) } else { describe(&resources) };
        let document = Document::new(&built.to_string(), self.env.now()).map_err(Status::internal)?;
        let document = Arc::new(document);
        kept.insert(key.to_owned(), Kept { resources, document: document.clone() });
        Ok(Some(document))
    }

    /// Every v3 document with its key. What is of kinds that are gone is forgotten.
    fn all(&self, kinds: &Kinds) -> Result<Vec<(String, Arc<Document>)>, Status> {
        let mut documents = Vec::new();
        for key in keys(kinds) {
            if let Some(document) = self.v3(kinds, &key)? {
                documents.push((key, document));
            }
        }
        let known: HashSet<&str> = documents.iter().map(|(key, _)| key.as_str()).collect();
        self.custom.lock().unwrap_or_else(PoisonError::into_inner).retain(|key, _| known.contains(key.as_str()));
        Ok(documents)
    }

    /// The v2 document. May take long.
    pub(crate) fn v2(&self, kinds: &Kinds) -> Result<Arc<Document>, Status> {
        let documents: Vec<Arc<Document>> = self.all(kinds)?.into_iter().map(|(_, document)| document).collect();
        let hashes: Vec<&str> = documents.iter().map(|document| document.hash.as_str()).collect();
        let hash = hash_of(hashes.join(" ").as_bytes());
        let mut kept = self.v2.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(document) = kept.as_ref().filter(|document| document.hash == hash) {
            return Ok(document.clone());
        }
        let (json, modified) = (merged::text(&documents)?, self.env.now());
        let content = Content::Merged(documents);
        let document = Arc::new(Document { hash, modified, json, protobuf: OnceLock::new(), content });
        *kept = Some(document.clone());
        Ok(document)
    }
}

/// How long a server runs before it builds documents that nobody has asked for: others need it more at its start.
const AHEAD: Duration = Duration::from_secs(5);

/// Builds documents when kinds come and go, so that whoever asks then need not wait for it.
pub(crate) async fn build_ahead(documents: Arc<OpenApi>, registry: Arc<Registry>, drain: Drain) {
    let mut changes = registry.cache.kinds_changed();
    let building = async {
        registry.env.sleep(AHEAD).await;
        loop {
            let (documents, kinds) = (documents.clone(), changes.borrow_and_update().clone());
            // Whoever asks is told what went wrong.
            let _ = tokio::task::spawn_blocking(move || documents.v2(&kinds).map(drop)).await;
            if changes.changed().await.is_err() {
                return;
            }
        }
    };
    drain.until(building).await;
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

/// Whether the document of a key and its resources is of built-in kinds alone.
fn is_built_in(key: &str, resources: &[Arc<Resource>]) -> bool {
    let is_group = |name: &str| api::kinds::all().iter().any(|row| row.group == name);
    let is_known = resources.iter().all(|resource| resource.custom.is_none());
    is_known && key.strip_prefix("apis/").is_none_or(|rest| is_group(rest.split('/').next().unwrap_or_default()))
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
