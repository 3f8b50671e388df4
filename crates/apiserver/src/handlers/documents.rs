//! The documents of OpenAPI over HTTP: forms, compression, and answers to clients that have a document already.

use std::sync::Arc;

use api::status::Status;
use http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, EXPIRES, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    LAST_MODIFIED, LOCATION, VARY,
};
use http::{HeaderMap, HeaderName, Response, StatusCode};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};

use super::resources::no_such_path;
use crate::http::body::{self, Body};
use crate::http::request_info::Query;
use crate::http::{gzip, negotiate};
use crate::kinds::Kinds;
use crate::openapi::{Document, Form, OpenApi, Version, hash_of, url_of};
use crate::pipeline::Core;

/// How long a client may keep a document that it asked for by its hash.
const FOR_GOOD: SignedDuration = SignedDuration::from_hours(365 * 24);

/// `/openapi/v2`.
pub(super) async fn v2(
    documents: Arc<OpenApi>,
    kinds: Arc<Kinds>,
    headers: &HeaderMap,
) -> Result<Response<Body>, Status> {
    let Some(form) = negotiate::openapi_form(headers, Version::V2) else { return Ok(not_acceptable()) };
    let document = apart(move || documents.v2(&kinds)).await?;
    answer(document, form, headers, media_type(form, Version::V2)).await
}

/// `/openapi/v3`: the index.
pub(super) async fn v3_index(
    documents: Arc<OpenApi>,
    kinds: Arc<Kinds>,
    headers: &HeaderMap,
) -> Result<Response<Body>, Status> {
    let index = apart(move || documents.index(&kinds)).await?;
    let mut response = Response::new(body::empty());
    set(&mut response, ETAG, &format!("\"{}\"", hash_of(&index)));
    if is_known(headers, response.headers()) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(response);
    }
    set(&mut response, CONTENT_TYPE, "application/json");
    *response.body_mut() = body::full(index);
    Ok(response)
}

/// `/openapi/v3/<key>`: one document. Asked for by its hash, it may be kept for good.
pub(super) async fn v3(
    core: &Core,
    kinds: Arc<Kinds>,
    key: &str,
    query: &Query,
    headers: &HeaderMap,
) -> Result<Response<Body>, Status> {
    let Some(form) = negotiate::openapi_form(headers, Version::V3) else { return Ok(not_acceptable()) };
    let (documents, wanted) = (core.documents.clone(), key.to_owned());
    let Some(document) = apart(move || documents.v3(&kinds, &wanted)).await? else { return Ok(no_such_path()) };
    let hash = query.get("hash").unwrap_or_default();
    if !hash.is_empty() && hash != document.hash {
        let mut response = Response::new(body::empty());
        *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
        set(&mut response, LOCATION, &url_of(key, &document));
        return Ok(response);
    }
    let mut response = answer(document, form, headers, media_type(form, Version::V3)).await?;
    if !hash.is_empty() {
        set(&mut response, CACHE_CONTROL, "public, immutable");
        set(
            &mut response,
            EXPIRES,
            &http_date(core.registry.env.now().saturating_add(FOR_GOOD).unwrap_or(Timestamp::MAX)),
        );
    }
    Ok(response)
}

/// Runs what may take long on a thread of its own.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> Result<T, Status> + Send + 'static) -> Result<T, Status> {
    tokio::task::spawn_blocking(work).await.map_err(Status::internal)?
}

fn media_type(form: Form, version: Version) -> &'static str {
    match (form, version) {
        (Form::Json, _) => "application/json",
        (Form::Protobuf, Version::V2) => "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
        (Form::Protobuf, Version::V3) => "application/com.github.proto-openapi.spec.v3.v1.0+protobuf",
    }
}

async fn answer(
    document: Arc<Document>,
    form: Form,
    headers: &HeaderMap,
    content_type: &str,
) -> Result<Response<Body>, Status> {
    let mut response = Response::new(body::empty());
    set(&mut response, VARY, "Accept");
    set(&mut response, ETAG, &format!("\"{}\"", document.hash));
    set(&mut response, LAST_MODIFIED, &http_date(document.modified));
    if is_known(headers, response.headers()) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(response);
    }
    set(&mut response, CONTENT_TYPE, content_type);
    response.headers_mut().append(VARY, HeaderValue::from_static("Accept-Encoding"));
    let is_compressed = gzip::is_accepted(headers);
    let compressed = apart(move || document.compressed(form)).await?;
    if is_compressed {
        set(&mut response, CONTENT_ENCODING, "gzip");
    }
    *response.body_mut() = if is_compressed { body::full(compressed) } else { gzip::plain(compressed) };
    Ok(response)
}

/// Whether the client has what would be answered: its tag counts, and only without one the time.
fn is_known(request: &HeaderMap, response: &HeaderMap) -> bool {
    let text = |headers: &HeaderMap, name: HeaderName| {
        headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    };
    if let Some(tags) = text(request, IF_NONE_MATCH) {
        let own = text(response, ETAG).unwrap_or_default();
        return tags.split(',').map(str::trim).any(|tag| tag == "*" || tag.trim_start_matches("W/") == own);
    }
    let since = text(request, IF_MODIFIED_SINCE);
    since.is_some() && since == text(response, LAST_MODIFIED)
}

fn not_acceptable() -> Response<Body> {
    let mut response = Response::new(body::empty());
    *response.status_mut() = StatusCode::NOT_ACCEPTABLE;
    response
}

fn set(response: &mut Response<Body>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

fn http_date(time: Timestamp) -> String {
    time.to_zoned(TimeZone::UTC).strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
