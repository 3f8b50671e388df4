//! Every verb of every resource, over the datastore and the watch cache.
//!
//! An object is read from the cache, changed as a JSON document, checked, encoded and written with a compare on the
//! revision it was read at; when another write came first, the change is made again on what is there now.

pub(crate) mod binding;
mod conversion;
mod create;
mod decode;
mod delete;
mod eviction;
mod lists;
mod ownership;
mod patched;
mod read;
pub(crate) mod scale;
mod update;
mod watch;

use std::sync::Arc;

use api::decode::Omitted;
use api::kinds::Resource;
use api::status::Status;
use base::{Drain, Env};
use bytes::Bytes;
use serde_json::Value;
use store::{RangeRequest, Txn, TxnError};

use crate::access::Identity;
use crate::access::authorization::Authorization;
use crate::admission::Admission;
use crate::audit::Annotations;
use crate::cache::{self, Cache, Object, REGISTRY, ResourceCache, storage_path};
use crate::config::Config;
use crate::features::DisabledFields;
use crate::http::options::{DeleteOptions, WriteOptions};
use crate::kinds::Kinds;
use crate::server::BuildError;
use crate::storage::{Storage, Stored, Unreadable, WriteError, Written};
use crate::webhook::Webhooks;

pub(crate) use create::NewObject;
pub(crate) use decode::{Expected, check_applied, complete, decode_body, decode_config, decode_delete_options};
pub(crate) use delete::{DeleteTarget, Deleted};
pub(crate) use lists::{Listed, inconsistent_token};
pub(crate) use ownership::{Subject, Writer};
pub(crate) use patched::{Patch, check_patched};
pub(crate) use read::ReadVersion;
pub(crate) use update::{Change, Part};
pub(crate) use watch::{Form, Render};

/// The registry of all resources.
pub(crate) struct Registry {
    pub(crate) storage: Arc<Storage>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) env: Env,
    pub(crate) config: Arc<Config>,
    pub(crate) services: crate::allocation::ServiceAllocator,
    pub(crate) admission: Admission,
    pub(crate) webhooks: Webhooks,
    rules: crate::rules::RuleCache,
    disabled_fields: DisabledFields,
    pub(crate) authorization: Arc<Authorization>,
    pages: lists::Pages,
    /// Fires when the server ends; watches end with it.
    pub(crate) drain: Drain,
}

/// A resource and, for namespaced ones, a namespace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope<'a> {
    pub(crate) resource: &'a Resource,
    pub(crate) namespace: Option<&'a str>,
}

impl Scope<'_> {
    /// The end of the key of an object.
    pub(crate) fn key(&self, name: &str) -> String {
        match self.namespace {
            Some(namespace) => format!("{namespace}/{name}"),
            None => name.to_owned(),
        }
    }

    /// 404 for an object of this resource.
    pub(crate) fn not_found(&self, name: &str) -> Status {
        Status::not_found(&self.resource.group, &self.resource.plural, name)
    }
}

/// An object as it was read, to be changed.
#[derive(Clone, Debug)]
pub(crate) struct Current {
    /// The document with its resourceVersion.
    pub(crate) value: Value,
    pub(crate) revision: i64,
    /// Whether the cache had it, which may be behind the datastore: a write that compares the revision finds out, any
    /// other conclusion has to ask [`Registry::newer`] first.
    pub(crate) from_cache: bool,
    /// Whether it is encrypted in another way than it would be now, or stored in another version: then even a change of
    /// nothing is written. The cache does not know.
    pub(crate) is_stale: bool,
    /// What is empty in it and does not show.
    pub(crate) omitted: Omitted,
}

impl Current {
    /// An object as the cache has it.
    pub(crate) fn cached(object: &Object) -> Self {
        let omitted = object.omitted().clone();
        Self { value: object.value(), revision: object.revision, from_cache: true, is_stale: false, omitted }
    }
}

/// An object to be written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Write<'a> {
    pub(crate) value: &'a Value,
    /// What is empty in it and does not show.
    pub(crate) omitted: &'a Omitted,
    /// The revision of the object that it replaces; 0 if there is none.
    pub(crate) expected: i64,
}

/// What became of a write.
pub(crate) enum Put {
    /// It was done, at this revision.
    Applied(i64),
    /// Something else was there; `None` is nothing.
    Mismatch(Option<Current>),
}

/// How long a request waits for the cache to see the datastore's revision before it fails.
const FRESHNESS_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);

impl Registry {
    pub(crate) fn new(
        storage: Arc<Storage>,
        cache: Arc<Cache>,
        env: Env,
        config: Arc<Config>,
        drain: Drain,
    ) -> Result<Self, BuildError> {
        let services = crate::allocation::ServiceAllocator::new(&config);
        let authorization = Arc::new(Authorization::new(&config.authorization, &cache, env.clone())?);
        let (rules, pages) = (crate::rules::RuleCache::default(), lists::Pages::default());
        let admission = Admission::new(&config, &cache, &env).map_err(BuildError::ImagePolicy)?;
        let disabled_fields = DisabledFields::new(&config.feature_gates);
        let webhooks = Webhooks::new(cache.clone(), env.clone());
        Ok(Self {
            storage,
            cache,
            env,
            config,
            services,
            admission,
            webhooks,
            rules,
            disabled_fields,
            authorization,
            pages,
            drain,
        })
    }

    /// Waits until the cache holds everything that was acknowledged before this call; returns the revision.
    pub(crate) async fn fresh(&self) -> Result<i64, Status> {
        let revision = self.storage.revision().await.map_err(Status::internal)?;
        self.wait_for(revision).await?;
        Ok(revision)
    }

    /// Waits until the cache has seen a revision.
    pub(crate) async fn wait_for(&self, revision: i64) -> Result<(), Status> {
        tokio::time::timeout(FRESHNESS_TIMEOUT, self.cache.wait_for(revision))
            .await
            .map_err(|_| Status::timeout("the server's cache did not reach the datastore's revision", 1))
    }

    /// The resources that are served now.
    pub(crate) fn kinds(&self) -> Arc<Kinds> {
        self.cache.kinds()
    }

    pub(crate) fn resource_cache(&self, resource: &Resource) -> Result<Arc<ResourceCache>, Status> {
        self.cache.resource(resource).ok_or_else(Status::no_such_resource)
    }

    /// One object as the cache has it now, without waiting.
    pub(crate) fn cached(&self, resource: &Resource, key: &str) -> Option<Arc<Object>> {
        self.cache.resource(resource)?.get(key)
    }

    /// An object of a built-in resource as the cache has it now.
    pub(crate) fn cached_by(
        &self,
        group: &str,
        version: &str,
        plural: &str,
        namespace: Option<&str>,
        name: &str,
    ) -> Option<Arc<Object>> {
        let resource = api::kinds::find(group, version, plural)?;
        self.cached(resource, &Scope { resource, namespace }.key(name))
    }

    /// An object to be changed: from the cache, or from the datastore where the cache may be behind.
    pub(crate) async fn current(&self, resource: &Resource, key: &str) -> Result<Option<Current>, Status> {
        self.wait_for(1).await?;
        if let Some(object) = self.cached(resource, key) {
            return Ok(Some(Current::cached(&object)));
        }
        self.stored(resource, key).await
    }

    /// An object as the datastore has it.
    pub(crate) async fn stored(&self, resource: &Resource, key: &str) -> Result<Option<Current>, Status> {
        let request = RangeRequest::key(store_key(resource, key));
        let page = self.storage.range(request).await.map_err(Status::internal)?;
        let stored = page.objects.into_iter().next().map(|(_, object)| parse_stored(object)).transpose()?;
        Ok(stored.map(|stored| {
            let is_old = api::meta::api_version(&stored.value) != resource.storage_api_version();
            Current { is_stale: stored.is_stale || is_old, ..stored }
        }))
    }

    /// Writes an object if what it replaces is still there.
    pub(crate) async fn put(&self, resource: &Resource, key: &str, write: Write<'_>) -> Result<Put, Status> {
        let stored = cache::encode_with(resource, write.value, write.omitted);
        if nesting(&stored) > MAX_NESTING {
            let why = format!("the object nests too deeply: it may have at most {MAX_NESTING} levels");
            return Err(Status::bad_request(why));
        }
        self.write(Txn::put(store_key(resource, key), stored).expecting(write.expected)).await
    }

    /// Deletes an object if its revision is still `expected`.
    pub(crate) async fn remove(&self, resource: &Resource, key: &str, expected: i64) -> Result<Put, Status> {
        self.write(Txn::delete(store_key(resource, key)).expecting(expected)).await
    }

    async fn write(&self, txn: Txn) -> Result<Put, Status> {
        match self.storage.write(txn).await {
            Ok(Written::Applied(revision)) => Ok(Put::Applied(revision)),
            Ok(Written::Mismatch(current)) => Ok(Put::Mismatch(current.map(parse_stored).transpose()?)),
            // The words of the datastore that upstream has.
            Err(WriteError::Txn(TxnError::TooLarge { .. })) => {
                Err(Status::unclassified("etcdserver: request is too large"))
            }
            Err(err @ (WriteError::Seal(_) | WriteError::Txn(TxnError::EmptyKey | TxnError::Storage(_)))) => {
                Err(Status::internal(err))
            }
        }
    }
}

/// What a client sees of what it has written: of a custom resource in another version, what that keeps of it.
fn kept(resource: &Resource, value: Value) -> Value {
    if resource.custom.is_none() || resource.is_storage_version() || conversion::is_by_webhook(resource) {
        return value;
    }
    crate::convert::from_storage(resource, &crate::convert::to_storage(resource, &value))
}

/// Deeper objects are not stored: parsers give up at 128 levels, and lists and watches put objects into others. Bodies
/// cannot nest so deeply, but what patches and managed fields add can.
const MAX_NESTING: usize = 120;

/// How deeply a JSON document nests.
fn nesting(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut is_text) = (0_usize, 0, false);
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => is_text = !is_text,
            b'\\' => drop(bytes.next()),
            b'{' | b'[' if !is_text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !is_text => depth -= 1,
            _ => {}
        }
    }
    deepest
}

/// The whole key of an object.
fn store_key(resource: &Resource, key: &str) -> Bytes {
    Bytes::from(format!("{REGISTRY}{}/{key}", storage_path(resource)))
}

fn parse_stored(stored: Result<Stored, Unreadable>) -> Result<Current, Status> {
    let Stored { kv, is_stale } = stored.map_err(Status::internal)?;
    let (end, omitted) = cache::split(&kv.value).map_err(Status::internal)?;
    let mut value: Value = serde_json::from_slice(&kv.value[..end]).map_err(Status::internal)?;
    set_resource_version(&mut value, kv.mod_revision);
    Ok(Current { value, revision: kv.mod_revision, from_cache: false, is_stale, omitted })
}

/// Sets `metadata.resourceVersion`.
pub(crate) fn set_resource_version(value: &mut Value, revision: i64) {
    api::meta::metadata_mut(value).insert("resourceVersion".to_owned(), revision.to_string().into());
}

/// The options of a request, as webhooks and policies see them.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RequestOptions<'a> {
    /// There are none: the server changes something of its own, or the request only connects to something.
    None,
    Write(&'a WriteOptions),
    Delete(&'a DeleteOptions),
}

/// Who asks for a change, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller<'a> {
    pub(crate) identity: &'a Identity,
    pub(crate) dry_run: bool,
    pub(crate) options: RequestOptions<'a>,
    /// The subresource that the request is to, or nothing.
    pub(crate) subresource: &'a str,
    /// Who owns what the request changes; `None` where that is nobody or already written.
    pub(crate) writer: Option<Writer<'a>>,
    /// Where warnings about the object go; `None` where nobody reads them.
    pub(crate) warnings: Option<&'a Warnings>,
    /// Whether admission has seen the request already, in another form: as an eviction, or as a binding.
    pub(crate) is_admitted: bool,
    /// What is noted about the request for the audit log; `None` where there is no request.
    pub(crate) annotations: Option<&'a Annotations>,
}

impl<'a> Caller<'a> {
    /// Somebody who changes an object itself and owns nothing in it.
    pub(crate) fn of(identity: &'a Identity) -> Self {
        let options = RequestOptions::None;
        Self {
            identity,
            dry_run: false,
            options,
            subresource: "",
            writer: None,
            warnings: None,
            is_admitted: false,
            annotations: None,
        }
    }

    /// A part of this server, which writes objects of its own.
    pub(crate) fn server(identity: &'a Identity) -> Self {
        Self { writer: Some(Writer::SERVER), ..Self::of(identity) }
    }

    /// Tells the client something about an object that is accepted all the same.
    pub(crate) fn warn(&self, warning: String) {
        if let Some(warnings) = self.warnings {
            warnings.add(warning);
        }
    }
}

/// What a client is told beside the answer, whatever that is.
#[derive(Debug, Default)]
pub(crate) struct Warnings(std::sync::Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    warnings: Vec<String>,
    /// How many of them are about the request itself.
    kept: usize,
}

impl Warnings {
    fn lock(&self) -> std::sync::MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Forgets the warnings of an attempt that came to nothing.
    pub(crate) fn forget(&self) {
        let mut told = self.lock();
        let kept = told.kept;
        told.warnings.truncate(kept);
    }

    /// Adds warnings about the request, which every attempt deserves.
    pub(crate) fn keep(&self, warnings: Vec<String>) {
        warnings.into_iter().for_each(|warning| self.add(warning));
        let mut told = self.lock();
        told.kept = told.warnings.len();
    }

    /// Adds a warning, once.
    pub(crate) fn add(&self, warning: String) {
        let mut told = self.lock();
        if !told.warnings.contains(&warning) {
            told.warnings.push(warning);
        }
    }

    /// All that there are.
    pub(crate) fn all(&self) -> Vec<String> {
        self.lock().warnings.clone()
    }
}

/// How often a change is made again because another write came first.
pub(crate) const MAX_RETRIES: usize = 64;

impl Registry {
    /// [`Registry::current`] in the version of `resource`.
    pub(crate) async fn current_converted(&self, resource: &Resource, key: &str) -> Result<Option<Current>, Status> {
        let current = self.current(resource, key).await?;
        self.convert_current(resource, current).await
    }

    /// What the datastore has, in the version of `resource`, if the cache was behind it when it gave `seen`, or could
    /// not know that it has to be encrypted anew.
    pub(crate) async fn newer(
        &self,
        resource: &Resource,
        key: &str,
        seen: &Current,
    ) -> Result<Option<Option<Current>>, Status> {
        if !seen.from_cache {
            return Ok(None);
        }
        let stored = self.stored(resource, key).await?;
        if stored.as_ref().is_some_and(|stored| stored.revision == seen.revision && !stored.is_stale) {
            return Ok(None);
        }
        self.convert_current(resource, stored).await.map(Some)
    }

    /// What is stored, in the version of `resource`.
    pub(crate) async fn convert_current(
        &self,
        resource: &Resource,
        current: Option<Current>,
    ) -> Result<Option<Current>, Status> {
        let Some(current) = current else { return Ok(None) };
        if conversion::is_by_webhook(resource) {
            let values = self.converted(resource, &resource.api_version(), vec![current.value]).await?;
            let value = values.into_iter().next().unwrap_or_default();
            return Ok(Some(Current { value, ..current }));
        }
        Ok(Some(match crate::convert::is_needed(resource) {
            true => Current { value: crate::convert::from_storage(resource, &current.value), ..current },
            false => current,
        }))
    }

    /// An object of one row in the version of another that shows the same objects.
    pub(crate) async fn in_row(&self, from: &Resource, to: &Resource, value: Value) -> Result<Value, Status> {
        if conversion::is_by_webhook(from) {
            let values = self.converted(from, &to.api_version(), vec![value]).await?;
            return Ok(values.into_iter().next().unwrap_or_default());
        }
        let stored = if crate::convert::is_needed(from) { crate::convert::to_storage(from, &value) } else { value };
        Ok(if crate::convert::is_needed(to) { crate::convert::from_storage(to, &stored) } else { stored })
    }

    /// [`Registry::put`] of an object in the version of `resource`.
    pub(crate) async fn put_converted(&self, resource: &Resource, key: &str, write: Write<'_>) -> Result<Put, Status> {
        if conversion::is_by_webhook(resource) {
            let stored = self.converted(resource, &resource.storage_api_version(), vec![write.value.clone()]).await?;
            return self.put(resource, key, Write { value: stored.first().unwrap_or(write.value), ..write }).await;
        }
        match crate::convert::is_needed(resource) {
            true => {
                let value = &crate::convert::to_storage(resource, write.value);
                self.put(resource, key, Write { value, ..write }).await
            }
            false => self.put(resource, key, write).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::nesting;

    #[test]
    fn brackets_in_texts_do_not_nest() {
        for (json, expected) in
            [("1", 0), ("{}", 1), (r#"{"a":[{"b":[]}]}"#, 4), (r#"{"[{":"[\"[{"}"#, 1), (r#"[[],[[]],{"\\":[]}]"#, 3)]
        {
            assert_eq!(nesting(json.as_bytes()), expected, "{json}");
        }
    }
}
