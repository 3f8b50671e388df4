//! List: many objects of one moment, whole or in pages.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::kinds::Resource;
use api::status::Status;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use store::{RangeError, RangeRequest};
use tokio::time::Instant;

use super::{ReadVersion, Registry, Scope};
use crate::cache::{Object, REGISTRY, Selection, Snapshot, storage_path};
use crate::http::options::{ListOptions, VersionMatch};

/// The objects of a list, or of one page of it.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) objects: Vec<Arc<Object>>,
    pub(crate) revision: i64,
    pub(crate) continue_token: Option<String>,
    pub(crate) remaining: Option<usize>,
}

/// Where the next page begins.
#[derive(Serialize, Deserialize)]
struct Continue {
    #[serde(rename = "v")]
    version: String,
    /// The revision of the first page; -1 means whatever is current.
    #[serde(rename = "rv", default)]
    revision: i64,
    /// The first key that was not shown, or the first that may come next.
    #[serde(default)]
    start: String,
}

const CONTINUE_VERSION: &str = "meta.k8s.io/v1";

impl Continue {
    fn encode(revision: i64, start: &str) -> String {
        let token = Self { version: CONTINUE_VERSION.to_owned(), revision, start: start.to_owned() };
        BASE64_URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).expect("texts and numbers are JSON"))
    }

    fn decode(text: &str) -> Result<Self, Status> {
        let invalid =
            |why: &str| Status::bad_request(format!("invalid continue token: continue key is not valid: {why}"));
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|err| invalid(&err.to_string()))?;
        let token: Self = serde_json::from_slice(&bytes).map_err(|err| invalid(&err.to_string()))?;
        if token.version != CONTINUE_VERSION {
            let version = api::field::quote(&token.version);
            return Err(invalid(&format!("server does not recognize this encoded version {version}")));
        }
        if token.revision == 0 || token.start.is_empty() {
            return Err(invalid("incorrect encoded start resourceVersion (version meta.k8s.io/v1)"));
        }
        Ok(token)
    }
}

/// The snapshots of lists whose next page may still be asked for.
#[derive(Default)]
pub(super) struct Pages(Mutex<BTreeMap<PageKey, (Snapshot, Instant)>>);

/// Storage path and revision.
type PageKey = (String, i64);

/// How long a page may wait for its successor, as upstream's history of five minutes gives it.
const PAGE_LIFETIME: Duration = Duration::from_secs(300);

/// So many snapshots are kept, since each may hold on to objects that have changed since; older pages are read from the
/// datastore's history.
const MAX_PAGES: usize = 64;

impl Pages {
    fn keep(&self, resource: &Resource, snapshot: Snapshot) {
        let mut pages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        pages.retain(|_, (_, kept)| now.duration_since(*kept) < PAGE_LIFETIME);
        if pages.len() >= MAX_PAGES
            && let Some(oldest) = pages.iter().min_by_key(|(_, (_, kept))| *kept).map(|(key, _)| key.clone())
        {
            pages.remove(&oldest);
        }
        pages.insert((storage_path(resource), snapshot.revision), (snapshot, now));
    }

    fn find(&self, resource: &Resource, revision: i64) -> Option<Snapshot> {
        let pages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (snapshot, kept) = pages.get(&(storage_path(resource), revision))?;
        (kept.elapsed() < PAGE_LIFETIME).then(|| snapshot.clone())
    }
}

impl Registry {
    /// The objects that the options select.
    pub(crate) async fn list(&self, scope: Scope<'_>, options: &ListOptions) -> Result<Listed, Status> {
        check_field_selector(scope.resource, options)?;
        self.wait_for(1).await?;
        self.check_readable(scope)?;
        let (snapshot, start) = match &options.continue_token {
            Some(token) => self.continued(scope, options, token).await?,
            None => (self.first_page(scope, options).await?, None),
        };
        let selection = Selection {
            namespace: scope.namespace.map(str::to_owned),
            labels: options.labels.clone(),
            fields: options.fields.clone(),
        };
        let mut listed = select(&snapshot, &selection, start.as_deref(), options);
        if listed.continue_token.is_some() {
            self.pages.keep(scope.resource, snapshot);
        }
        listed.objects = self.in_version(scope.resource, listed.objects).await?;
        Ok(listed)
    }

    /// Fails where an object that may be asked for cannot be read: a list without it would say that it is gone.
    pub(super) fn check_readable(&self, scope: Scope<'_>) -> Result<(), Status> {
        match self.resource_cache(scope.resource)?.unreadable(scope.namespace) {
            Some(unreadable) => Err(Status::internal(unreadable)),
            None => Ok(()),
        }
    }

    async fn first_page(&self, scope: Scope<'_>, options: &ListOptions) -> Result<Snapshot, Status> {
        // Before there was a parameter for it, a limit meant that a version was meant exactly.
        let is_exact = match options.version_match {
            None => options.limit > 0,
            Some(version_match) => version_match == VersionMatch::Exact,
        };
        if let Some(revision) = options.resource_version.filter(|revision| is_exact && *revision > 0) {
            self.wait_for_version(ReadVersion::AtLeast(revision)).await?;
            return self
                .snapshot_at(scope.resource, revision)
                .await?
                .ok_or_else(|| Status::expired("The resourceVersion for the provided list is too old."));
        }
        self.wait_for_version(ReadVersion::from_parameter(options.resource_version)).await?;
        Ok(self.resource_cache(scope.resource)?.snapshot(self.cache.applied()))
    }

    async fn continued(
        &self,
        scope: Scope<'_>,
        options: &ListOptions,
        token: &str,
    ) -> Result<(Snapshot, Option<String>), Status> {
        let token = Continue::decode(token)?;
        if options.resource_version.is_some_and(|revision| revision != 0) {
            let why = "specifying resource version is not allowed when using continue";
            return Err(Status::bad_request(why));
        }
        if token.revision < 0 {
            self.wait_for_version(ReadVersion::Latest).await?;
            let snapshot = self.resource_cache(scope.resource)?.snapshot(self.cache.applied());
            return Ok((snapshot, Some(token.start)));
        }
        let found = self.pages.find(scope.resource, token.revision);
        let snapshot = match found {
            Some(snapshot) => Some(snapshot),
            None => self.snapshot_at(scope.resource, token.revision).await?,
        };
        match snapshot {
            Some(snapshot) => Ok((snapshot, Some(token.start))),
            None => Err(continue_expired()),
        }
    }

    /// The objects of a resource at a revision in the past: from the cache if nothing has changed since, else from
    /// the datastore's history. `None` if that was compacted.
    async fn snapshot_at(&self, resource: &Resource, revision: i64) -> Result<Option<Snapshot>, Status> {
        let cache = self.resource_cache(resource)?;
        let current = cache.snapshot(0);
        if current.revision <= revision {
            return Ok(Some(Snapshot { revision, ..current }));
        }
        let prefix = format!("{REGISTRY}{}/", storage_path(resource));
        let page = match self.storage.range(RangeRequest::prefix(prefix.clone()).at(revision)).await {
            Ok(page) => page,
            Err(RangeError::Compacted { .. }) => return Ok(None),
            Err(err) => return Err(Status::internal(err)),
        };
        let storage = cache.resource();
        let mut objects = imbl::OrdMap::new();
        for (_, stored) in page.objects {
            let kv = stored.map_err(Status::internal)?.kv;
            let key = String::from_utf8_lossy(&kv.key[prefix.len()..]).into_owned();
            let key: Arc<str> = key.into();
            let object = Object::load(&storage, key.clone(), &kv.value, kv.mod_revision).map_err(Status::internal)?;
            objects.insert(key, Arc::new(object));
        }
        Ok(Some(Snapshot { objects, revision }))
    }
}

/// The token with which a client may go on, without consistency, after its own has expired.
pub(crate) fn inconsistent_token(expired: &str) -> Option<String> {
    let token = Continue::decode(expired).ok()?;
    Some(Continue::encode(-1, &token.start))
}

fn continue_expired() -> Status {
    Status::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list \
         without the continue parameter, or use the continue token in this response to retrieve the remainder of the \
         results. Continuing with the provided token results in an inconsistent list - objects that were created, \
         modified, or deleted between the time the first chunk was returned and now may show up in the list.",
    )
}

fn select(snapshot: &Snapshot, selection: &Selection, start: Option<&str>, options: &ListOptions) -> Listed {
    let namespace = selection.namespace.as_deref();
    let candidates = match start {
        Some(start) => snapshot.after(start, namespace),
        None => snapshot.range(namespace),
    };
    let limit = if options.limit == 0 { usize::MAX } else { options.limit };
    let mut objects = Vec::new();
    let mut candidates = candidates;
    let mut next = None;
    for object in candidates.by_ref() {
        if !selection.matches(object) {
            continue;
        }
        if objects.len() == limit {
            next = Some(object.key.clone());
            break;
        }
        objects.push(object.clone());
    }
    // The object that begins the next page was taken from the candidates already.
    let remaining = next.as_ref().filter(|_| !options.is_filtered).map(|_| candidates.count() + 1);
    let continue_token = next.map(|next| Continue::encode(snapshot.revision, &next));
    Listed { objects, revision: snapshot.revision, continue_token, remaining }
}

/// Refuses selectors on fields that cannot be selected by.
pub(super) fn check_field_selector(resource: &Resource, options: &ListOptions) -> Result<(), Status> {
    let selectable = crate::cache::selectable(resource);
    let is_known = |field: &str| {
        field == "metadata.name"
            || (field == "metadata.namespace" && resource.namespaced)
            || selectable.iter().any(|each| each == field)
            || (resource.plural == "pods" && field == "status.podIPs")
    };
    match options.fields.terms().iter().find(|term| !is_known(&term.field)) {
        None => Ok(()),
        Some(term) if selectable.is_empty() && resource.custom.is_none() => Err(Status::bad_request(format!(
            "{} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
            api::field::quote(&term.field)
        ))),
        Some(term) => Err(Status::bad_request(format!("field label not supported: {}", term.field))),
    }
}
