//! List: many objects of one moment, whole or in pages.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::kinds::Resource;
use api::status::Status;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use base64::{DecodeError, Engine};
use serde::{Deserialize, Serialize};
use store::{KeyRange, RangeError, RangeRequest};
use tokio::time::Instant;

use super::read::{Reached, too_large};
use super::{ReadVersion, Registry, Scope};
use crate::cache::{Object, REGISTRY, Selection, Snapshot, field_selector, storage_path};
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
    /// The first key that may come next, right behind the last that was shown.
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
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|err| {
            let at = match err {
                DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol(at, _) => at,
                DecodeError::InvalidLength(_) | DecodeError::InvalidPadding => text.len().saturating_sub(1),
            };
            invalid(&format!("illegal base64 data at input byte {at}"))
        })?;
        let (token, _) = api::decode::json_document(&bytes).map_err(|err| invalid(&err))?;
        let token: Self = serde_json::from_value(token).map_err(|err| invalid(&err.to_string()))?;
        if token.version != CONTINUE_VERSION {
            let version = api::field::quote(&token.version);
            return Err(invalid(&format!("server does not recognize this encoded version {version}")));
        }
        if token.revision == 0 || token.start.is_empty() {
            return Err(invalid("incorrect encoded start resourceVersion (version meta.k8s.io/v1)"));
        }
        Ok(token)
    }

    /// The token of a request, which may ask for no version beside it.
    fn of(options: &ListOptions, token: &str) -> Result<Self, Status> {
        let token = Self::decode(token)?;
        match options.resource_version.is_some_and(|revision| revision != 0) {
            true => Err(Status::bad_request("specifying resource version is not allowed when using continue")),
            false => Ok(token),
        }
    }
}

/// What a list is made of.
struct Source {
    snapshot: Snapshot,
    /// The key at which it begins.
    start: Option<String>,
    /// How many objects there are behind those of the snapshot.
    left_out: usize,
}

impl Source {
    /// A snapshot of all that there is.
    fn whole(snapshot: Snapshot) -> Self {
        Self { snapshot, start: None, left_out: 0 }
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
        let fields = field_selector(scope.resource, &options.fields)?;
        let source = match self.ready().await {
            Ok(()) => {
                self.check_readable(scope)?;
                self.source(scope, options).await?
            }
            Err(initializing) => self.stored_source(scope, options, initializing).await?,
        };
        let selection =
            Selection { namespace: scope.namespace.map(str::to_owned), labels: options.labels.clone(), fields };
        let mut listed = select(&source, &selection, options);
        if listed.continue_token.is_some() && source.left_out == 0 {
            self.pages.keep(scope.resource, source.snapshot);
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

    /// What a list is made of where the cache is ready.
    async fn source(&self, scope: Scope<'_>, options: &ListOptions) -> Result<Source, Status> {
        if let Some(token) = &options.continue_token {
            return self.continued(scope, Continue::of(options, token)?).await;
        }
        if let Some(revision) = exact(options) {
            if let Reached::Behind(status) = self.reached(ReadVersion::AtLeast(revision)).await? {
                return Err(status);
            }
            let snapshot = self.snapshot_at(scope.resource, revision).await?;
            return Ok(Source::whole(snapshot.ok_or_else(list_expired)?));
        }
        let version = ReadVersion::from_parameter(options.resource_version);
        match self.reached(version).await? {
            Reached::Yes => Ok(Source::whole(self.resource_cache(scope.resource)?.snapshot(self.cache.applied()))),
            Reached::Behind(_) if version == ReadVersion::Latest => self.latest(scope).await,
            Reached::Behind(status) => Err(status),
        }
    }

    /// Everything that the datastore has now, for a reader who cannot wait for the cache.
    async fn latest(&self, scope: Scope<'_>) -> Result<Source, Status> {
        let read =
            self.stored_objects(scope.resource, &Wanted { namespace: scope.namespace, ..Wanted::default() }).await;
        read.map(|(snapshot, _)| Source::whole(snapshot)).map_err(|failed| failed.into_status(list_expired))
    }

    async fn continued(&self, scope: Scope<'_>, token: Continue) -> Result<Source, Status> {
        if token.revision < 0 {
            let source = match self.reached(ReadVersion::Latest).await? {
                Reached::Yes => Source::whole(self.resource_cache(scope.resource)?.snapshot(self.cache.applied())),
                Reached::Behind(_) => self.latest(scope).await?,
            };
            return Ok(Source { start: Some(token.start), ..source });
        }
        let found = self.pages.find(scope.resource, token.revision);
        let snapshot = match found {
            Some(snapshot) => Some(snapshot),
            None => self.snapshot_at(scope.resource, token.revision).await?,
        };
        Ok(Source { start: Some(token.start), ..Source::whole(snapshot.ok_or_else(continue_expired)?) })
    }

    /// What a list is made of while the cache is being filled: what was, and pages, are read from the datastore; whatever
    /// would read all that there is fails.
    async fn stored_source(
        &self,
        scope: Scope<'_>,
        options: &ListOptions,
        initializing: Status,
    ) -> Result<Source, Status> {
        let token = match &options.continue_token {
            Some(token) => Some(Continue::of(options, token)?),
            None => None,
        };
        let revision = match &token {
            Some(token) => Some(token.revision).filter(|revision| *revision > 0),
            None => exact(options),
        };
        let is_page = options.limit > 0 && !options.is_filtered;
        if token.is_none() && revision.is_none() && !is_page {
            return Err(initializing);
        }
        let start = token.map(|token| token.start);
        let is_continued = start.is_some();
        let wanted = Wanted {
            namespace: scope.namespace,
            start: start.as_deref(),
            revision,
            // One more tells where the next page begins.
            limit: if is_page { options.limit + 1 } else { 0 },
        };
        let read = self.stored_objects(scope.resource, &wanted).await;
        let expired = if is_continued { continue_expired } else { list_expired };
        let (snapshot, left_out) = read.map_err(|failed| failed.into_status(expired))?;
        if let Some(at_least) = options.resource_version.filter(|at_least| *at_least > snapshot.revision) {
            return Err(too_large(at_least, snapshot.revision));
        }
        Ok(Source { snapshot, start, left_out })
    }

    /// The objects of a resource at a revision in the past: from the cache if nothing has changed since, else from
    /// the datastore's history. `None` if that was compacted.
    async fn snapshot_at(&self, resource: &Resource, revision: i64) -> Result<Option<Snapshot>, Status> {
        if self.cache.applied() >= revision {
            let current = self.resource_cache(resource)?.snapshot(0);
            if current.revision <= revision {
                return Ok(Some(Snapshot { revision, ..current }));
            }
        }
        match self.stored_objects(resource, &Wanted { revision: Some(revision), ..Wanted::default() }).await {
            Ok((snapshot, _)) => Ok(Some(snapshot)),
            Err(Unread::Range(RangeError::Compacted { .. })) => Ok(None),
            Err(failed) => Err(failed.into_status(list_expired)),
        }
    }

    /// Objects as the datastore has them, and how many more it has of what is wanted.
    async fn stored_objects(&self, resource: &Resource, wanted: &Wanted<'_>) -> Result<(Snapshot, usize), Unread> {
        let storage = self.resource_cache(resource).map_err(Unread::Status)?.resource();
        let prefix = format!("{REGISTRY}{}/", storage_path(resource));
        let mut range = match wanted.namespace {
            Some(namespace) => KeyRange::prefix(format!("{prefix}{namespace}/")),
            None => KeyRange::prefix(prefix.clone()),
        };
        if let Some(start) = wanted.start {
            range.start = range.start.max(format!("{prefix}{start}").into());
        }
        let request = RangeRequest { revision: wanted.revision, ..RangeRequest::new(range) };
        let page = self.storage.range(request.limit(wanted.limit)).await.map_err(Unread::Range)?;
        let left_out = page.count.saturating_sub(page.objects.len());
        let mut objects = imbl::OrdMap::new();
        for (_, stored) in page.objects {
            let kv = stored.map_err(|err| Unread::Status(Status::internal(err)))?.kv;
            let key: Arc<str> = String::from_utf8_lossy(&kv.key[prefix.len()..]).into();
            let object = Object::load(&storage, key.clone(), &kv.value, kv.mod_revision);
            objects.insert(key, Arc::new(object.map_err(|err| Unread::Status(Status::internal(err)))?));
        }
        Ok((Snapshot { objects, revision: wanted.revision.unwrap_or(page.revision) }, left_out))
    }
}

/// Which objects of a resource to read from the datastore.
#[derive(Default)]
struct Wanted<'a> {
    namespace: Option<&'a str>,
    /// Where to begin.
    start: Option<&'a str>,
    /// When; `None` is now.
    revision: Option<i64>,
    /// The most to read; 0 is no limit.
    limit: usize,
}

/// Why objects could not be read from the datastore.
enum Unread {
    Range(RangeError),
    Status(Status),
}

impl Unread {
    /// The failure of a list; `expired` says that what it asked for was compacted.
    fn into_status(self, expired: fn() -> Status) -> Status {
        match self {
            Self::Range(RangeError::Compacted { .. }) => expired(),
            Self::Range(RangeError::FutureRevision { requested, current }) => too_large(requested, current),
            Self::Range(err) => Status::internal(err),
            Self::Status(status) => status,
        }
    }
}

/// The revision that a list wants exactly.
fn exact(options: &ListOptions) -> Option<i64> {
    // Before there was a parameter for it, a limit meant that a version was meant exactly.
    let is_exact = match options.version_match {
        None => options.limit > 0,
        Some(version_match) => version_match == VersionMatch::Exact,
    };
    options.resource_version.filter(|revision| is_exact && *revision > 0)
}

/// The token with which a client may go on, without consistency, after its own has expired.
pub(crate) fn inconsistent_token(expired: &str) -> Option<String> {
    let token = Continue::decode(expired).ok()?;
    Some(Continue::encode(-1, &token.start))
}

fn list_expired() -> Status {
    Status::expired("The resourceVersion for the provided list is too old.")
}

fn continue_expired() -> Status {
    Status::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list \
         without the continue parameter, or use the continue token in this response to retrieve the remainder of the \
         results. Continuing with the provided token results in an inconsistent list - objects that were created, \
         modified, or deleted between the time the first chunk was returned and now may show up in the list.",
    )
}

fn select(source: &Source, selection: &Selection, options: &ListOptions) -> Listed {
    let namespace = selection.namespace.as_deref();
    let snapshot = &source.snapshot;
    let candidates = match source.start.as_deref() {
        Some(start) => snapshot.after(start, namespace),
        None => snapshot.range(namespace),
    };
    let limit = if options.limit == 0 { usize::MAX } else { options.limit };
    let mut objects: Vec<Arc<Object>> = Vec::new();
    let mut candidates = candidates;
    let mut has_more = false;
    for object in candidates.by_ref() {
        if !selection.matches(object) {
            continue;
        }
        if objects.len() == limit {
            has_more = true;
            break;
        }
        objects.push(object.clone());
    }
    // The object that begins the next page was taken from the candidates already.
    let remaining = (has_more && !options.is_filtered).then(|| candidates.count() + 1 + source.left_out);
    let last = objects.last().filter(|_| has_more);
    // Not where the next page begins now: who goes on later without consistency sees what was made before that.
    let continue_token = last.map(|last| Continue::encode(snapshot.revision, &format!("{}\0", last.key)));
    Listed { objects, revision: snapshot.revision, continue_token, remaining }
}
