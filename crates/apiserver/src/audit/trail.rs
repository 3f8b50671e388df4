//! The filter: what is kept of a request while it is served.

use std::any::Any;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api::status::{Status, reason};
use bytes::Bytes;
use futures::FutureExt;
use http::header::{ACCEPT_ENCODING, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, Response, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::event::{Event, ObjectRef, user};
use super::policy::{Level, Stage, Verdict};
use super::{Annotations, Audit};
use crate::access::Identity;
use crate::access::attributes::{Attributes, ResourceAttributes};
use crate::filters::{AUDIT_ID, Answer, Exchange, Next, is_long_running};
use crate::http::body::{self, Body};
use crate::http::request_info::{RequestInfo, Target};
use crate::https::ClientAddress;

/// What is kept of one request.
pub(crate) struct Trail {
    audit: Arc<Audit>,
    verdict: Verdict,
    annotations: Annotations,
    event: Mutex<Event>,
}

/// Failures up to this size are read for their Status.
const SMALL: u64 = 64 * 1024;

/// Keeps what the policy says of a request.
pub(crate) fn filter(mut exchange: Exchange, next: Next) -> Answer {
    let Some(trail) = Trail::begin(&exchange) else { return next.run(exchange) };
    let trail = Arc::new(trail);
    exchange.audit = Some(trail.clone());
    if trail.verdict.level == Level::RequestResponse {
        // The answer is read here before it is sent.
        exchange.request.headers_mut().remove(ACCEPT_ENCODING);
    }
    let lasts = is_long_running(&exchange.info);
    Box::pin(async move {
        trail.write(Stage::RequestReceived);
        let given_up = Ending { trail: Some(trail.clone()) };
        match AssertUnwindSafe(async { next.run(exchange).await }).catch_unwind().await {
            Ok(response) => given_up.end(response, lasts).await,
            Err(panic) => {
                given_up.panicked(&*panic);
                resume_unwind(panic)
            }
        }
    })
}

/// Notes a request whose sender could not prove who he is.
pub(crate) fn refused(exchange: &Exchange, status: &Status) {
    if let Some(trail) = Trail::begin(exchange) {
        let mut failure = json!({"metadata": {}, "code": status.code});
        failure["message"] = "authentication failed".into();
        trail.event().response_status = Some(failure);
        trail.write(Stage::ResponseStarted);
    }
}

/// Writes the last event of a request, also when it is given up before it is answered.
struct Ending {
    trail: Option<Arc<Trail>>,
}

impl Ending {
    async fn end(mut self, response: Response<Body>, lasts: bool) -> Response<Body> {
        let Some(trail) = self.trail.take() else { return response };
        let code = response.status().as_u16();
        trail.event().response_status = Some(json!({"metadata": {}, "code": code}));
        if lasts && response.status().as_u16() < 400 {
            trail.write(Stage::ResponseStarted);
            return response.map(|body| body::guarded(body, Completion(trail)));
        }
        let response = trail.read_answer(response).await;
        trail.write(Stage::ResponseComplete);
        response
    }

    fn panicked(mut self, panic: &(dyn Any + Send)) {
        let Some(trail) = self.trail.take() else { return };
        let said = panic.downcast_ref::<&str>().copied();
        let said = said.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text");
        let message = format!("APIServer panic'd: {said}");
        trail.event().response_status = Some(json!({
            "metadata": {}, "status": "Failure", "message": message, "reason": reason::INTERNAL_ERROR, "code": 500,
        }));
        trail.write(Stage::Panic);
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let Some(trail) = self.trail.take() else { return };
        let message = "the request was given up before it was answered";
        trail.event().response_status =
            Some(json!({"metadata": {}, "status": "Failure", "message": message, "code": 504}));
        trail.write(Stage::ResponseComplete);
    }
}

/// Writes the last event of a request that lasts, when it ends.
struct Completion(Arc<Trail>);

impl Drop for Completion {
    fn drop(&mut self) {
        self.0.write(Stage::ResponseComplete);
    }
}

impl Trail {
    /// What is kept of a request; nothing if the policy says so.
    fn begin(exchange: &Exchange) -> Option<Self> {
        let audit = exchange.core.audit.as_ref()?;
        let method = exchange.request.method().as_str().to_ascii_lowercase();
        let attributes = Attributes::of_request(&exchange.identity, &exchange.info, &method);
        let verdict = audit.judge(&attributes)?;
        let headers = exchange.request.headers();
        let text = |name| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let now = api::meta::format_micro_time(audit.env.now());
        let event = Event {
            kind: "Event",
            api_version: "audit.k8s.io/v1",
            level: verdict.level,
            audit_id: text(AUDIT_ID).unwrap_or_default(),
            stage: Stage::RequestReceived,
            request_uri: exchange.request.uri().path_and_query().map(ToString::to_string).unwrap_or_default(),
            verb: attributes.verb.to_owned(),
            user: user(&exchange.identity),
            impersonated_user: None,
            source_ips: source_ips(headers, exchange.request.extensions().get()),
            user_agent: text(USER_AGENT).unwrap_or_default(),
            object_ref: object_ref(&exchange.info),
            response_status: None,
            request_object: None,
            response_object: None,
            request_received_timestamp: now.clone(),
            stage_timestamp: now,
            annotations: Default::default(),
        };
        let annotations = Annotations::new(verdict.level);
        for (key, value) in &exchange.remarks.annotations {
            annotations.add(*key, value.as_str());
        }
        Some(Self { audit: audit.clone(), verdict, annotations, event: Mutex::new(event) })
    }

    /// Where the parts of the server note what they find.
    pub(crate) fn annotations(&self) -> &Annotations {
        &self.annotations
    }

    fn event(&self) -> MutexGuard<'_, Event> {
        self.event.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The request is made as somebody else.
    pub(crate) fn impersonates(&self, identity: &Identity) {
        self.event().impersonated_user = Some(user(identity));
    }

    /// Keeps the body of a request.
    pub(crate) fn request_body(&self, headers: &HeaderMap, body: &Bytes) {
        if body.is_empty() {
            return;
        }
        let Some(mut document) = read(headers, body) else { return };
        let mut event = self.event();
        if let Some(object) = &mut event.object_ref {
            let metadata = &document["metadata"];
            let fill = |field: &mut String, name: &str| {
                if field.is_empty() {
                    *field = metadata[name].as_str().unwrap_or_default().to_owned();
                }
            };
            fill(&mut object.namespace, "namespace");
            fill(&mut object.name, "name");
            fill(&mut object.uid, "uid");
            fill(&mut object.resource_version, "resourceVersion");
        }
        if self.verdict.level >= Level::Request {
            self.strip(&mut document);
            event.request_object = Some(document);
        }
    }

    /// Keeps what an answer says.
    async fn read_answer(&self, response: Response<Body>) -> Response<Body> {
        let failed = response.status().as_u16() >= 400;
        let is_small = response.body().size_hint().exact().is_some_and(|size| size <= SMALL);
        let is_kept = self.verdict.level == Level::RequestResponse && self.event().object_ref.is_some();
        // A connection that is switched has no end.
        let is_switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if is_switched || !(is_kept || (failed && is_small)) {
            return response;
        }
        let (parts, body) = response.into_parts();
        let bytes = match body.collect().await {
            Ok(collected) => collected.to_bytes(),
            Err(err) => {
                tracing::debug!(%err, "an answer broke off while it was read for the audit log");
                Bytes::new()
            }
        };
        if let Some(mut document) = read(&parts.headers, &bytes) {
            let mut event = self.event();
            if document["kind"] == "Status" {
                let code = parts.status.as_u16();
                let mut status = json!({"metadata": {}});
                for field in ["status", "message", "reason", "details"] {
                    if let Some(value) = document.get(field).filter(|value| !value.is_null()) {
                        status[field] = value.clone();
                    }
                }
                status["code"] = code.into();
                event.response_status = Some(status);
            }
            if is_kept {
                self.strip(&mut document);
                event.response_object = Some(document);
            }
        }
        Response::from_parts(parts, body::full(bytes))
    }

    fn strip(&self, document: &mut Value) {
        if !self.verdict.omit_managed_fields {
            return;
        }
        let forget = |object: &mut Value| {
            if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
                metadata.remove("managedFields");
            }
        };
        forget(document);
        if let Some(items) = document.get_mut("items").and_then(Value::as_array_mut) {
            items.iter_mut().for_each(forget);
        }
    }

    fn write(&self, stage: Stage) {
        if self.verdict.omit_stages.contains(&stage) {
            return;
        }
        let mut event = self.event();
        event.stage = stage;
        if stage != Stage::RequestReceived {
            event.stage_timestamp = api::meta::format_micro_time(self.audit.env.now());
        }
        event.annotations = self.annotations.all();
        self.audit.write(&event);
    }
}

/// A body as a document; nothing if it is in no form that can be read without its type.
fn read(headers: &HeaderMap, body: &[u8]) -> Option<Value> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media = content_type.split(';').next().unwrap_or_default().trim();
    match media {
        "application/yaml" | "application/apply-patch+yaml" => serde_saphyr::from_slice(body).ok(),
        "application/vnd.kubernetes.protobuf" => read_protobuf(body),
        _ => serde_json::from_slice(body).ok(),
    }
}

fn read_protobuf(body: &[u8]) -> Option<Value> {
    let envelope = api::protobuf::open(body).ok()?;
    let (group, version) = envelope.api_version.split_once('/').unwrap_or(("", envelope.api_version));
    let schema = match envelope.kind {
        "Status" => api::protobuf::STATUS.to_owned(),
        kind => match api::kinds::find_kind(group, version, kind) {
            Some(resource) => resource.schema.to_owned(),
            None => format!("{}List", api::kinds::find_kind(group, version, kind.strip_suffix("List")?)?.schema),
        },
    };
    let mut document = api::protobuf::decode(envelope.message, &schema).ok()?;
    document["apiVersion"] = envelope.api_version.into();
    document["kind"] = envelope.kind.into();
    Some(document)
}

fn object_ref(info: &RequestInfo) -> Option<ObjectRef> {
    let Target::Resource(request) = &info.target else { return None };
    let resource = ResourceAttributes::of_request(request);
    Some(ObjectRef {
        resource: resource.resource.to_owned(),
        namespace: resource.namespace.to_owned(),
        name: resource.name.to_owned(),
        api_group: resource.group.to_owned(),
        api_version: request.version.clone(),
        subresource: resource.subresource.to_owned(),
        ..ObjectRef::default()
    })
}

/// The addresses that a request came through, as it says, and last the one that the connection is from.
fn source_ips(headers: &HeaderMap, address: Option<&ClientAddress>) -> Vec<String> {
    let said = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
    let said = said.flat_map(|value| value.split(',')).filter_map(|part| part.trim().parse::<IpAddr>().ok());
    let mut ips: Vec<String> = said.map(|ip| ip.to_string()).collect();
    if ips.is_empty() {
        let real = headers.get("x-real-ip").and_then(|value| value.to_str().ok());
        ips.extend(real.and_then(|real| real.trim().parse::<IpAddr>().ok()).map(|ip| ip.to_string()));
    }
    if let Some(ClientAddress(address)) = address {
        let ip = address.ip().to_canonical().to_string();
        if ips.last() != Some(&ip) {
            ips.push(ip);
        }
    }
    ips
}
