//! Answers: objects, lists and Status in the form that was asked for.

use std::sync::Arc;

use api::kinds::Resource;
use api::status::Status;
use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderValue, WARNING};
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::body::{self, Body};
use super::negotiate::{Accepted, Encoding, Shape};
use crate::cache::Object;
use crate::printers;
use crate::registry::Listed;

/// What every answer to a request for objects needs to know.
#[derive(Clone, Copy)]
pub(crate) struct Output<'a> {
    pub(crate) accepted: Accepted,
    pub(crate) resource: &'a Resource,
    /// `includeObject` of tables.
    pub(crate) include_object: IncludeObject,
    pub(crate) warnings: &'a [String],
    pub(crate) now: jiff::Timestamp,
}

/// How much of each object a table carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IncludeObject {
    None,
    Metadata,
    Object,
}

impl IncludeObject {
    pub(crate) fn parse(parameter: Option<&str>) -> Result<Self, Status> {
        match parameter {
            None | Some("" | "Metadata") => Ok(Self::Metadata),
            Some("None") => Ok(Self::None),
            Some("Object") => Ok(Self::Object),
            Some(other) => {
                Err(Status::bad_request(format!("unrecognized includeObject value: {}", api::field::quote(other))))
            }
        }
    }
}

impl Output<'_> {
    /// An object from the cache.
    pub(crate) fn cached(&self, object: &Object) -> Result<Response<Body>, Status> {
        let is_plain = self.accepted == Accepted::JSON && !crate::convert::is_needed(self.resource);
        if is_plain {
            return Ok(self.response(StatusCode::OK, object.json().clone()));
        }
        self.object(StatusCode::OK, &shown(self.resource, object))
    }

    /// An object as a document in the version of the resource.
    pub(crate) fn object(&self, status: StatusCode, object: &Value) -> Result<Response<Body>, Status> {
        let document = match self.accepted.shape {
            Shape::Object => return Ok(self.document(status, object)),
            Shape::PartialObjectMetadata(version) => partial(object, version),
            Shape::PartialObjectMetadataList(_) => {
                let why = "you requested PartialObjectMetadataList, but the requested object is not a list";
                return Err(not_acceptable(why));
            }
            Shape::Table(version) => {
                let revision = api::meta::resource_version(object).unwrap_or_default();
                self.table(version, std::slice::from_ref(object), json!({"resourceVersion": revision}), true)
            }
        };
        Ok(self.document(status, &document))
    }

    /// Any document, encoded as asked for.
    pub(crate) fn document(&self, status: StatusCode, document: &Value) -> Response<Body> {
        self.response(status, encode(self.accepted.encoding, document))
    }

    fn response(&self, status: StatusCode, bytes: Bytes) -> Response<Body> {
        with_warnings(response(status, self.accepted.encoding, body::full(bytes)), self.warnings)
    }

    /// A list.
    pub(crate) fn list(&self, listed: &Listed) -> Result<Response<Body>, Status> {
        let mut metadata = json!({"resourceVersion": listed.revision.to_string()});
        if let Some(token) = &listed.continue_token {
            metadata["continue"] = token.clone().into();
        }
        if let Some(remaining) = listed.remaining {
            metadata["remainingItemCount"] = remaining.into();
        }
        let documents = || -> Vec<Value> { listed.objects.iter().map(|object| shown(self.resource, object)).collect() };
        let document = match self.accepted.shape {
            Shape::Object if self.accepted.encoding == Encoding::Json => {
                let pieces = list_pieces(self.resource, &metadata, &listed.objects);
                let body = match <[Bytes; 1]>::try_from(pieces) {
                    Ok([only]) => body::full(only),
                    Err(pieces) => body::pieces(pieces),
                };
                return Ok(with_warnings(response(StatusCode::OK, Encoding::Json, body), self.warnings));
            }
            Shape::Object => {
                let items: Vec<Value> = documents().into_iter().map(without_type).collect();
                json!({
                    "kind": self.resource.list_kind, "apiVersion": self.resource.api_version(),
                    "metadata": metadata, "items": items,
                })
            }
            Shape::PartialObjectMetadataList(version) => {
                let items: Vec<Value> = documents().iter().map(|object| partial(object, version)).collect();
                json!({
                    "kind": "PartialObjectMetadataList", "apiVersion": format!("meta.k8s.io/{version}"),
                    "metadata": metadata, "items": items,
                })
            }
            Shape::PartialObjectMetadata(_) => {
                return Err(not_acceptable("you requested PartialObjectMetadata, but the requested object is a list"));
            }
            Shape::Table(version) => self.table(version, &documents(), metadata, true),
        };
        Ok(self.document(StatusCode::OK, &document))
    }

    /// Objects as a table.
    pub(crate) fn table(&self, version: &str, objects: &[Value], metadata: Value, with_columns: bool) -> Value {
        let columns: Vec<Value> = match with_columns {
            true => printers::columns(self.resource),
            false => Vec::new(),
        };
        let rows: Vec<Value> = objects
            .iter()
            .map(|object| {
                let mut row = printers::row(self.resource, object, self.now);
                match self.include_object {
                    IncludeObject::None => row["object"] = Value::Null,
                    IncludeObject::Metadata => row["object"] = partial(object, version),
                    IncludeObject::Object => row["object"] = object.clone(),
                }
                row
            })
            .collect();
        json!({
            "kind": "Table", "apiVersion": format!("meta.k8s.io/{version}"), "metadata": metadata,
            "columnDefinitions": columns, "rows": rows,
        })
    }
}

/// The document of a cached object in the version of the resource.
pub(crate) fn shown(resource: &Resource, object: &Object) -> Value {
    let value = object.value();
    if crate::convert::is_needed(resource) { crate::convert::from_storage(resource, &value) } else { value }
}

/// The metadata of an object.
pub(crate) fn partial(object: &Value, version: &str) -> Value {
    let mut metadata = object.get("metadata").cloned().unwrap_or_else(|| json!({}));
    if api::meta::kind(object) == "DaemonSet" {
        hide_template_generation(&mut metadata);
    }
    json!({
        "kind": "PartialObjectMetadata", "apiVersion": format!("meta.k8s.io/{version}"), "metadata": metadata,
    })
}

/// The count of templates is a field that upstream shows as an annotation only in whole daemon sets.
fn hide_template_generation(metadata: &mut Value) {
    let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) else { return };
    annotations.remove(crate::strategy::TEMPLATE_GENERATION);
    if annotations.is_empty()
        && let Some(metadata) = metadata.as_object_mut()
    {
        metadata.remove("annotations");
    }
}

fn without_type(mut object: Value) -> Value {
    if let Some(object) = object.as_object_mut() {
        object.remove("kind");
        object.remove("apiVersion");
    }
    object
}

fn not_acceptable(why: &str) -> Status {
    Status::custom(406, api::status::reason::NOT_ACCEPTABLE, why, None)
}

/// Pieces of a list are about this large: small ones cost more than they carry.
const PIECE: usize = 64 * 1024;

/// A list, put together from the bytes of its objects.
fn list_pieces(resource: &Resource, metadata: &Value, objects: &[Arc<Object>]) -> Vec<Bytes> {
    let mut pieces = Vec::new();
    let head = format!(
        r#"{{"kind":"{}","apiVersion":"{}","metadata":{metadata},"items":["#,
        resource.list_kind,
        resource.api_version()
    );
    let mut piece = BytesMut::from(head.as_bytes());
    for (index, object) in objects.iter().enumerate() {
        if index > 0 {
            piece.put_u8(b',');
        }
        if crate::convert::is_needed(resource) {
            let item = without_type(shown(resource, object));
            piece.extend_from_slice(item.to_string().as_bytes());
        } else {
            piece.put_u8(b'{');
            piece.extend_from_slice(&object.json_without_type());
        }
        if piece.len() >= PIECE {
            pieces.push(piece.split().freeze());
        }
    }
    piece.extend_from_slice(b"]}");
    pieces.push(piece.freeze());
    pieces
}

/// Encodes a document.
pub(crate) fn encode(encoding: Encoding, document: &Value) -> Bytes {
    match encoding {
        Encoding::Json => Bytes::from(document.to_string()),
        Encoding::Yaml => {
            let text = serde_saphyr::to_string(document);
            // Only types without a YAML form can fail, and a JSON value has none of them.
            Bytes::from(text.unwrap_or_else(|_| document.to_string()))
        }
    }
}

/// An answer with a body in some encoding.
pub(crate) fn response(status: StatusCode, encoding: Encoding, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(encoding.content_type()));
    response
}

/// A JSON answer.
pub(crate) fn json_response(status: StatusCode, document: &Value) -> Response<Body> {
    response(status, Encoding::Json, body::full(document.to_string()))
}

/// An answer in plain text.
pub(crate) fn text_response(status: StatusCode, text: impl Into<String>) -> Response<Body> {
    let mut response = Response::new(body::full(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// A failure.
pub(crate) fn status_response(status: &Status) -> Response<Body> {
    status_response_with(status, None)
}

/// A failure; `continue_token` goes into its metadata.
pub(crate) fn status_response_with(status: &Status, continue_token: Option<String>) -> Response<Body> {
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut document = status.to_json();
    if let Some(token) = continue_token {
        document["metadata"]["continue"] = token.into();
    }
    let mut response = json_response(code, &document);
    let retry = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    if retry > 0 && matches!(status.code, 429 | 500 | 503 | 504) {
        response.headers_mut().insert(http::header::RETRY_AFTER, HeaderValue::from(retry));
    }
    response
}

fn with_warnings(mut response: Response<Body>, warnings: &[String]) -> Response<Body> {
    for warning in warnings {
        let text = format!("299 - {}", api::field::quote(warning));
        if let Ok(value) = HeaderValue::from_str(&text) {
            response.headers_mut().append(WARNING, value);
        }
    }
    response
}
