//! An API server of a few verbs, for tests of clients: it stores any kind as given, and fails on demand.
//!
//! It knows create, get, list, update, merge patch, delete (with finalizers), status, and watch with streaming
//! lists; resource versions and optimistic concurrency; no selectors, defaults, validation or graceful deletion.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use base::Env;
use bytes::Bytes;
use futures::StreamExt;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use jiff::SignedDuration;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::watch;

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// The server. Cheap to clone; all clones are the same server.
#[derive(Clone)]
pub struct MemoryApi(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    /// Counts changes, for watches to wait on.
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    version: u64,
    /// Watches that began earlier than this are ended.
    epoch: u64,
    compacted: u64,
    failures: usize,
    refuse_watches: bool,
    allowed_group: String,
    objects: BTreeMap<Key, Value>,
    log: Vec<(u64, &'static str, Key, Value)>,
    requests: Vec<String>,
    /// By which clock tokens of service accounts expire; none are given without.
    token_clock: Option<Env>,
    token_requests: Vec<Value>,
}

/// Group and version path, plural, namespace, name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    collection: (String, String),
    namespace: String,
    name: String,
}

/// What a request's path names.
struct Target {
    collection: (String, String),
    namespace: Option<String>,
    name: Option<String>,
}

impl Default for MemoryApi {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryApi {
    /// An empty server.
    pub fn new() -> Self {
        Self(Arc::new(Inner { state: Mutex::default(), changes: watch::channel(0).0 }))
    }

    /// A client of it. Must be called inside a tokio runtime.
    pub fn client(&self) -> kube::Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(api.answer(request).await) }
        });
        kube::Client::new(service, "default")
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the next requests fail with 503.
    pub fn fail_requests(&self, count: usize) {
        self.state().failures = count;
    }

    /// Ends all watches and refuses new ones, or allows them again.
    pub fn refuse_watches(&self, refuse: bool) {
        self.state().refuse_watches = refuse;
        self.drop_watches();
    }

    /// Answers SubjectAccessReviews: the members of a group may do everything, all others nothing.
    pub fn allow_group(&self, group: &str) {
        group.clone_into(&mut self.state().allowed_group);
    }

    /// Gives tokens of service accounts from now on: `token-1`, `token-2`, which expire by a clock.
    pub fn issue_tokens(&self, clock: Env) {
        self.state().token_clock = Some(clock);
    }

    /// The TokenRequests so far.
    pub fn token_requests(&self) -> Vec<Value> {
        self.state().token_requests.clone()
    }

    /// Ends all watches, as a restart of the server would.
    pub fn drop_watches(&self) {
        self.state().epoch += 1;
        self.0.changes.send_modify(|changes| *changes += 1);
    }

    /// Forgets the history: watches from before are answered with 410.
    pub fn compact(&self) {
        let mut state = self.state();
        state.compacted = state.version;
        state.log.clear();
    }

    /// The requests so far, `GET /api/v1/pods?watch=true`.
    pub fn requests(&self) -> Vec<String> {
        self.state().requests.clone()
    }

    async fn answer(&self, request: Request<Body>) -> Answer {
        let (parts, body) = request.into_parts();
        let bytes = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let body: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        {
            let mut state = self.state();
            state.requests.push(format!("{} {}", parts.method, parts.uri));
            if state.failures > 0 {
                state.failures -= 1;
                return status(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable");
            }
        }
        let query: HashMap<&str, &str> =
            parts.uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('=')).collect();
        let target = Target::parse(parts.uri.path());
        if query.contains_key("watch") {
            if self.state().refuse_watches {
                return status(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable");
            }
            return self.watch(target, &query);
        }
        let answer = match (parts.method, target.name) {
            (Method::GET, None) => Ok(self.list(&target.collection, target.namespace.as_deref())),
            (Method::POST, None) => self.create(target.collection, target.namespace, body),
            (Method::DELETE, None) => Ok(self.delete_all(&target.collection, query.get("fieldSelector").copied())),
            (Method::POST, Some(_)) if parts.uri.path().ends_with("/token") => self.issue_token(body),
            (method, Some(name)) => {
                let namespace = target.namespace.unwrap_or_default();
                self.one(&method, Key { collection: target.collection, namespace, name }, body)
            }
            _ => Err((StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed")),
        };
        match answer {
            Ok(value) => respond(StatusCode::OK, Full::from(value.to_string())),
            Err((code, reason)) => status(code, reason),
        }
    }

    fn one(&self, method: &Method, key: Key, body: Value) -> Result<Value, (StatusCode, &'static str)> {
        let mut state = self.state();
        let old = state.objects.get(&key).cloned().ok_or((StatusCode::NOT_FOUND, "NotFound"))?;
        let new = match *method {
            Method::GET => return Ok(old),
            Method::PUT => {
                let wanted = body["metadata"]["resourceVersion"].as_str().unwrap_or_default();
                if !wanted.is_empty() && old["metadata"]["resourceVersion"] != wanted {
                    return Err((StatusCode::CONFLICT, "Conflict"));
                }
                body
            }
            Method::PATCH => {
                let mut new = old.clone();
                merge(&mut new, &body);
                new
            }
            Method::DELETE => {
                let wanted = &body["preconditions"]["uid"];
                if wanted.is_string() && *wanted != old["metadata"]["uid"] {
                    return Err((StatusCode::CONFLICT, "Conflict"));
                }
                let mut new = old.clone();
                new["metadata"]["deletionTimestamp"] = json!("2023-11-14T22:13:20Z");
                new
            }
            _ => return Err((StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed")),
        };
        let gone = new["metadata"]["deletionTimestamp"].is_string()
            && new["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty);
        let stored = state.write(if gone { "DELETED" } else { "MODIFIED" }, key, new);
        drop(state);
        self.0.changes.send_modify(|changes| *changes += 1);
        Ok(stored)
    }

    /// Deletes the objects of a collection that have what a selector says in their fields.
    fn delete_all(&self, collection: &(String, String), selector: Option<&str>) -> Value {
        let selector = selector.unwrap_or_default().replace("%3D", "=").replace("%2C", ",");
        let terms: Vec<(&str, &str)> = selector.split(',').filter_map(|term| term.split_once('=')).collect();
        let selects = |object: &Value| {
            terms.iter().all(|(path, value)| {
                object.pointer(&format!("/{}", path.replace('.', "/"))).and_then(Value::as_str) == Some(*value)
            })
        };
        let mut state = self.state();
        let found: Vec<(Key, Value)> = (state.objects.iter())
            .filter(|(key, object)| key.collection == *collection && selects(object))
            .map(|(key, object)| (key.clone(), object.clone()))
            .collect();
        for (key, object) in found {
            state.write("DELETED", key, object);
        }
        drop(state);
        self.0.changes.send_modify(|changes| *changes += 1);
        json!({"kind": "Status", "apiVersion": "v1", "status": "Success"})
    }

    fn issue_token(&self, mut body: Value) -> Result<Value, (StatusCode, &'static str)> {
        let mut state = self.state();
        let now = state.token_clock.as_ref().map(Env::now).ok_or((StatusCode::NOT_FOUND, "NotFound"))?;
        state.token_requests.push(body.clone());
        let seconds = body["spec"]["expirationSeconds"].as_i64().unwrap_or(3600);
        let expires = now.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(now);
        let token = format!("token-{}", state.token_requests.len());
        body["status"] = json!({"token": token, "expirationTimestamp": expires.to_string()});
        Ok(body)
    }

    fn create(
        &self,
        collection: (String, String),
        namespace: Option<String>,
        mut body: Value,
    ) -> Result<Value, (StatusCode, &'static str)> {
        let mut state = self.state();
        if collection.1 == "subjectaccessreviews" {
            let groups = body["spec"]["groups"].as_array();
            let allowed = groups.is_some_and(|groups| groups.iter().any(|group| *group == state.allowed_group));
            body["status"] = json!({ "allowed": allowed });
            return Ok(body);
        }
        let meta = &mut body["metadata"];
        if !meta["name"].is_string() {
            let prefix = meta["generateName"].as_str().unwrap_or_default().to_owned();
            meta["name"] = json!(format!("{prefix}{}", state.version + 1));
        }
        if !meta["uid"].is_string() {
            meta["uid"] = json!(format!("uid-{}", state.version + 1));
        }
        if let Some(namespace) = &namespace {
            meta["namespace"] = json!(namespace);
        }
        let name = meta["name"].as_str().unwrap_or_default().to_owned();
        let key = Key { collection, namespace: namespace.unwrap_or_default(), name };
        if state.objects.contains_key(&key) {
            return Err((StatusCode::CONFLICT, "AlreadyExists"));
        }
        let stored = state.write("ADDED", key, body);
        drop(state);
        self.0.changes.send_modify(|changes| *changes += 1);
        Ok(stored)
    }

    fn list(&self, collection: &(String, String), namespace: Option<&str>) -> Value {
        let state = self.state();
        let items: Vec<&Value> = state.matching(collection, namespace).map(|(_, value)| value).collect();
        json!({ "metadata": { "resourceVersion": state.version.to_string() }, "items": items })
    }

    fn watch(&self, target: Target, query: &HashMap<&str, &str>) -> Answer {
        let state = self.state();
        let mut first = Vec::new();
        let mut from: u64 = query.get("resourceVersion").and_then(|version| version.parse().ok()).unwrap_or_default();
        if query.get("sendInitialEvents") == Some(&"true") {
            for (_, object) in state.matching(&target.collection, target.namespace.as_deref()) {
                first.push(json!({ "type": "ADDED", "object": object }));
            }
            from = state.version;
            first.push(json!({ "type": "BOOKMARK", "object": {
                "kind": "Any", "apiVersion": "v1",
                "metadata": {
                    "resourceVersion": from.to_string(),
                    "annotations": { "k8s.io/initial-events-end": "true" },
                },
            } }));
        } else if from < state.compacted {
            first.push(json!({ "type": "ERROR", "object": {
                "status": "Failure", "code": 410, "reason": "Expired", "message": "too old",
            } }));
        }
        let watcher = (self.clone(), target, from, state.epoch, self.0.changes.subscribe());
        drop(state);
        let rest = futures::stream::unfold(watcher, |(api, target, mut from, epoch, mut changes)| async move {
            loop {
                {
                    let state = api.state();
                    if state.epoch != epoch {
                        return None;
                    }
                    let next = state.log.iter().find(|(version, _, key, _)| {
                        *version > from
                            && key.collection == target.collection
                            && target.namespace.as_ref().is_none_or(|namespace| *namespace == key.namespace)
                    });
                    if let Some((version, kind, _, object)) = next {
                        from = *version;
                        let event = json!({ "type": kind, "object": object });
                        drop(state);
                        return Some((event, (api, target, from, epoch, changes)));
                    }
                }
                changes.changed().await.ok()?;
            }
        });
        let lines = futures::stream::iter(first)
            .chain(rest)
            .map(|event| Ok::<_, Infallible>(http_body::Frame::data(Bytes::from(format!("{event}\n")))));
        respond(StatusCode::OK, StreamBody::new(lines))
    }
}

impl State {
    fn matching(&self, collection: &(String, String), namespace: Option<&str>) -> impl Iterator<Item = (&Key, &Value)> {
        let wanted = move |key: &Key| {
            key.collection == *collection && namespace.is_none_or(|namespace| namespace == key.namespace)
        };
        self.objects.iter().filter(move |(key, _)| wanted(key))
    }

    fn write(&mut self, kind: &'static str, key: Key, mut value: Value) -> Value {
        self.version += 1;
        value["metadata"]["resourceVersion"] = json!(self.version.to_string());
        match kind {
            "DELETED" => self.objects.remove(&key),
            _ => self.objects.insert(key.clone(), value.clone()),
        };
        self.log.push((self.version, kind, key, value.clone()));
        value
    }
}

impl Target {
    fn parse(path: &str) -> Self {
        let mut parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let version = if parts.first() == Some(&"api") { 2 } else { 3 };
        let rest = parts.split_off(version.min(parts.len()));
        let (namespace, rest) = match rest.as_slice() {
            ["namespaces", namespace, rest @ ..]
                if !rest.is_empty() && *rest != ["status"] && *rest != ["finalize"] =>
            {
                (Some((*namespace).to_owned()), rest.to_vec())
            }
            rest => (None, rest.to_vec()),
        };
        let plural = rest.first().copied().unwrap_or_default().to_owned();
        Self { collection: (parts.join("/"), plural), namespace, name: rest.get(1).map(|name| (*name).to_owned()) }
    }
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            target.as_object_mut().expect("made an object above").remove(key);
        } else {
            merge(&mut target[key], value);
        }
    }
}

fn status(code: StatusCode, reason: &str) -> Answer {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure",
        "code": code.as_u16(), "reason": reason, "message": reason,
    });
    respond(code, Full::from(body.to_string()))
}

fn respond<B>(code: StatusCode, body: B) -> Answer
where
    B: http_body::Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = code;
    response
}
