//! Answers: objects, lists and Status in the form that was asked for.

use std::borrow::Cow;

use api::kinds::Resource;
use api::protobuf;
use api::status::Status;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, WARNING, X_CONTENT_TYPE_OPTIONS};
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::body::{self, Body};
use super::lists::{self, List};
use super::negotiate::{Accepted, Encoding, Shape};
use crate::cache::Object;
use crate::printers::Printer;
use crate::registry::{Expected, Listed, Warnings};

/// What every answer to a request for objects needs to know.
#[derive(Clone, Copy)]
pub(crate) struct Output<'a> {
    pub(crate) accepted: Accepted,
    pub(crate) resource: &'a Resource,
    /// `includeObject` of tables.
    pub(crate) include_object: IncludeObject,
    pub(crate) warnings: Option<&'a Warnings>,
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
                let path = api::field::Path::new("includeObject");
                let why = "must be 'Metadata', 'Object', 'None', or empty";
                let error = api::field::FieldError::invalid(&path, other, why);
                Err(Status::bad_request(format!("Unable to convert to Table as requested: {error}")))
            }
        }
    }
}

impl Output<'_> {
    /// An object from the cache.
    pub(crate) fn cached(&self, object: &Object) -> Result<Response<Body>, Status> {
        let is_stored = self.accepted.shape == Shape::Object && object.is_in(self.resource);
        match self.accepted.encoding {
            Encoding::Json if is_stored => Ok(self.response(StatusCode::OK, object.json())),
            Encoding::Protobuf if is_stored && protobuf::has_message(self.resource.schema) => {
                let (api_version, kind) = (self.resource.api_version(), &self.resource.kind);
                let body = protobuf::wrap(&api_version, kind, object.message(self.resource));
                Ok(self.response(StatusCode::OK, body.into()))
            }
            _ if self.accepted.shape == Shape::Object => self.object(StatusCode::OK, &shown(self.resource, object)),
            _ => self.reduced(StatusCode::OK, &cached(self.resource, object), Expected::of(self.resource)),
        }
    }

    /// An object as a document in the version of the resource.
    pub(crate) fn object(&self, status: StatusCode, object: &Value) -> Result<Response<Body>, Status> {
        self.typed(status, object, Expected::of(self.resource))
    }

    /// An object of a type, which is another one than the resource's where a subresource has its own.
    pub(crate) fn typed(&self, status: StatusCode, object: &Value, ty: Expected<'_>) -> Result<Response<Body>, Status> {
        match self.accepted.shape {
            Shape::Object => self.document(status, object, ty.schema),
            _ => self.reduced(status, &kept(self.resource, object), ty),
        }
    }

    /// What is asked for of an object that is [`kept`].
    fn reduced(&self, status: StatusCode, kept: &Value, ty: Expected<'_>) -> Result<Response<Body>, Status> {
        match self.accepted.shape {
            Shape::PartialObjectMetadata(version) => {
                self.document(status, &partial(kept, version), protobuf::PARTIAL_OBJECT_METADATA)
            }
            Shape::Table(version) => {
                let revision = api::meta::resource_version(kept).unwrap_or_default();
                let metadata = json!({"resourceVersion": revision});
                let table = self.rows(Printer::of(ty), version, std::slice::from_ref(kept), metadata, true);
                self.document(status, &table, "")
            }
            Shape::Object | Shape::PartialObjectMetadataList(_) => {
                let why = "you requested PartialObjectMetadataList, but the requested object is not a list";
                Err(not_acceptable(why))
            }
        }
    }

    /// Any document, encoded as asked for; the name of its type is for the encodings that need it.
    pub(crate) fn document(
        &self,
        status: StatusCode,
        document: &Value,
        type_name: &str,
    ) -> Result<Response<Body>, Status> {
        Ok(self.response(status, encode(self.accepted.encoding, document, type_name)?))
    }

    /// That a request has done what it should.
    pub(crate) fn success(&self, status: StatusCode) -> Result<Response<Body>, Status> {
        let code = status.as_u16();
        let success = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": code});
        self.document(status, &success, protobuf::STATUS)
    }

    /// The answer with its warnings: one if the version is deprecated, and those that the request deserves.
    pub(crate) fn with_warnings(&self, response: Response<Body>) -> Response<Body> {
        match self.warnings {
            Some(warnings) => with_warnings(response, warnings_of(self.resource, warnings)),
            None => response,
        }
    }

    fn response(&self, status: StatusCode, bytes: Bytes) -> Response<Body> {
        self.with_warnings(response(status, self.accepted.encoding, body::full(bytes)))
    }

    /// A list.
    pub(crate) fn list(&self, listed: &Listed) -> Result<Response<Body>, Status> {
        let mut metadata = json!({"resourceVersion": listed.revision.to_string()});
        // Lists of custom resources are written with the token even where there is none, and their items with a type.
        let is_custom = self.resource.custom.is_some();
        let token = listed.continue_token.clone().or_else(|| is_custom.then(String::new));
        if let Some(token) = token.filter(|token| !token.is_empty() || self.accepted.shape == Shape::Object) {
            metadata["continue"] = token.into();
        }
        if let Some(remaining) = listed.remaining {
            metadata["remainingItemCount"] = remaining.into();
        }
        match (self.accepted.shape, self.accepted.encoding) {
            (Shape::Object, Encoding::Json) => Ok(self.pieces(lists::json(self.resource, &metadata, &listed.objects))),
            (Shape::Object, Encoding::Protobuf) => {
                Ok(self.pieces(lists::protobuf(self.resource, &metadata, &listed.objects)?))
            }
            (Shape::Object, _) => {
                let documents = listed.objects.iter().map(|object| shown(self.resource, object)).collect();
                self.documents(documents, metadata)
            }
            _ => {
                let kept = listed.objects.iter().map(|object| cached(self.resource, object)).collect();
                self.reduced_list(kept, metadata)
            }
        }
    }

    /// A list of documents in the version of the resource.
    pub(crate) fn documents(&self, documents: Vec<Value>, metadata: Value) -> Result<Response<Body>, Status> {
        if self.accepted.shape != Shape::Object {
            let kept = documents.iter().map(|object| kept(self.resource, object).into_owned()).collect();
            return self.reduced_list(kept, metadata);
        }
        let strip = |item| if self.resource.custom.is_some() { item } else { without_type(item) };
        let items: Vec<Value> = documents.into_iter().map(strip).collect();
        let document = json!({
            "kind": self.resource.list_kind, "apiVersion": self.resource.api_version(),
            "metadata": metadata, "items": items,
        });
        self.document(StatusCode::OK, &document, &format!("{}List", self.resource.schema))
    }

    /// What is asked for of objects that are [`kept`].
    fn reduced_list(&self, mut kept: Vec<Value>, metadata: Value) -> Result<Response<Body>, Status> {
        match self.accepted.shape {
            Shape::PartialObjectMetadataList(version) => {
                let items: Vec<Value> = kept.iter().map(|object| partial(object, version)).collect();
                let document = json!({
                    "kind": "PartialObjectMetadataList", "apiVersion": format!("meta.k8s.io/{version}"),
                    "metadata": metadata, "items": items,
                });
                self.document(StatusCode::OK, &document, protobuf::PARTIAL_OBJECT_METADATA_LIST)
            }
            Shape::Table(version) => {
                api::table::sort(&self.resource.group, &self.resource.kind, &mut kept);
                self.document(StatusCode::OK, &self.table(version, &kept, metadata, true), "")
            }
            Shape::Object | Shape::PartialObjectMetadata(_) => {
                Err(not_acceptable("you requested PartialObjectMetadata, but the requested object is a list"))
            }
        }
    }

    /// A list that is put together while it is sent.
    fn pieces(&self, list: List) -> Response<Body> {
        let body = body::pieces(list.length(), list);
        self.with_warnings(response(StatusCode::OK, self.accepted.encoding, body))
    }

    /// Objects that are [`kept`] as a table.
    pub(crate) fn table(&self, version: &str, objects: &[Value], metadata: Value, with_columns: bool) -> Value {
        self.rows(Printer::of(Expected::of(self.resource)), version, objects, metadata, with_columns)
    }

    fn rows(
        &self,
        printer: Printer<'_>,
        version: &str,
        objects: &[Value],
        metadata: Value,
        with_columns: bool,
    ) -> Value {
        let columns = if with_columns { printer.columns() } else { Vec::new() };
        let rows: Vec<Value> = objects
            .iter()
            .map(|object| {
                let mut row = printer.row(object, self.now);
                row["object"] = match self.include_object {
                    IncludeObject::None => Value::Null,
                    IncludeObject::Metadata => partial(object, version),
                    IncludeObject::Object if is_stored_otherwise(self.resource, object) => {
                        crate::convert::from_storage(self.resource, object)
                    }
                    IncludeObject::Object => object.clone(),
                };
                row
            })
            .collect();
        json!({
            "kind": "Table", "apiVersion": format!("meta.k8s.io/{version}"), "metadata": metadata,
            "columnDefinitions": columns, "rows": rows,
        })
    }
}

/// What metadata and tables are made of: the object behind its versions. What a version keeps in annotations for want
/// of fields is in neither, and an old version's table has all that the new one's has.
fn kept<'a>(resource: &Resource, object: &'a Value) -> Cow<'a, Value> {
    match is_stored_otherwise(resource, object) {
        true => Cow::Owned(crate::convert::to_storage(resource, object)),
        false => Cow::Borrowed(object),
    }
}

/// Whether an object is of a built-in resource that is stored in another version.
fn is_stored_otherwise(resource: &Resource, object: &Value) -> bool {
    resource.custom.is_none() && crate::convert::is_needed(resource) && api::meta::kind(object) == resource.kind
}

/// The same of a cached object. Custom resources are made of what their version shows.
pub(crate) fn cached(resource: &Resource, object: &Object) -> Value {
    if resource.custom.is_some() { shown(resource, object) } else { object.value() }
}

/// The document of a cached object in the version of the resource.
pub(crate) fn shown(resource: &Resource, object: &Object) -> Value {
    let value = object.value();
    if object.is_in(resource) { value } else { crate::convert::from_storage(resource, &value) }
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

pub(super) fn without_type(mut object: Value) -> Value {
    if let Some(object) = object.as_object_mut() {
        object.remove("kind");
        object.remove("apiVersion");
    }
    object
}

pub(crate) fn not_acceptable(why: &str) -> Status {
    Status::custom(406, api::status::reason::NOT_ACCEPTABLE, why, None)
}

/// Encodes a document; the name of its type is for protobuf.
pub(crate) fn encode(encoding: Encoding, document: &Value, type_name: &str) -> Result<Bytes, Status> {
    match encoding {
        Encoding::Protobuf if !protobuf::has_message(type_name) => Err(not_acceptable(protobuf::NO_MESSAGE)),
        Encoding::Protobuf => Ok(protobuf::body(document, type_name).into()),
        encoding => Ok(text(encoding, document)),
    }
}

fn text(encoding: Encoding, document: &Value) -> Bytes {
    let json = || Bytes::from(document.to_string());
    match encoding {
        Encoding::PrettyJson => Bytes::from(format!("{document:#}\n")),
        // Only types without a YAML form can fail, and a JSON value has none of them.
        Encoding::Yaml => serde_saphyr::to_string(document).map_or_else(|_| json(), Bytes::from),
        Encoding::Json | Encoding::Protobuf => json(),
    }
}

/// An answer with a body in some encoding.
pub(crate) fn response(status: StatusCode, encoding: Encoding, body: Body) -> Response<Body> {
    typed_response(status, encoding.content_type(), body)
}

/// An answer with a body of some type.
pub(crate) fn typed_response(status: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// An answer that nobody may take for something else than it says it is: it has in it what came from outside, and a
/// browser could find a page in that.
pub(crate) fn as_declared(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// An answer in plain text.
pub(crate) fn text_response(status: StatusCode, text: impl Into<String>) -> Response<Body> {
    let mut response = Response::new(body::full(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    as_declared(response)
}

/// A failure.
pub(crate) fn failure(encoding: Encoding, status: &Status) -> Response<Body> {
    failure_with(encoding, status, None)
}

/// A failure; `continue_token` goes into its metadata.
pub(crate) fn failure_with(encoding: Encoding, status: &Status, continue_token: Option<String>) -> Response<Body> {
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut document = status.to_json();
    if let Some(token) = continue_token {
        document["metadata"]["continue"] = token.into();
    }
    let body = match encoding {
        Encoding::Protobuf => protobuf::body(&document, protobuf::STATUS).into(),
        encoding => text(encoding, &document),
    };
    let mut response = response(code, encoding, body::full(body));
    let retry = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    if retry > 0 {
        response.headers_mut().insert(http::header::RETRY_AFTER, HeaderValue::from(retry));
    }
    response
}

/// The warnings that an answer deserves: one if the version is deprecated, and those of the request.
pub(crate) fn warnings_of(resource: &Resource, warnings: &Warnings) -> impl Iterator<Item = String> {
    resource.deprecation().map(str::to_owned).into_iter().chain(warnings.all())
}

/// An answer with warnings.
pub(crate) fn with_warnings<S: AsRef<str>>(
    mut response: Response<Body>,
    warnings: impl IntoIterator<Item = S>,
) -> Response<Body> {
    for warning in warnings {
        let text = format!("299 - {}", api::field::quote(warning.as_ref()));
        if let Ok(value) = HeaderValue::from_str(&text) {
            response.headers_mut().append(WARNING, value);
        }
    }
    response
}
