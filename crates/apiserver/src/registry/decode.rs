//! From a request's body to an object.

use api::custom::Custom;
use api::decode::{self, MediaType, Omitted};
use api::kinds::Resource;
use api::protobuf;
use api::status::Status;
use api::structural::Malformed;
use http::HeaderMap;
use serde_json::{Map, Value};

use crate::http::negotiate::{self, BodyEncoding};
use crate::http::options::{DeleteOptions, FieldValidation};
use crate::http::request_info::Query;
use crate::strategy;

/// An object out of a body, and the warnings that go with the answer.
#[derive(Debug)]
pub(crate) struct Decoded {
    pub(crate) value: Value,
    pub(crate) warnings: Vec<String>,
}

/// A configuration out of a body.
#[derive(Debug)]
pub(crate) struct Configuration {
    pub(crate) value: Value,
    pub(crate) warnings: Vec<String>,
    /// What strict validation says to it, once it could be applied.
    pub(crate) refusal: Option<Status>,
}

/// The type that a body must have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected<'a> {
    pub(crate) group: &'a str,
    pub(crate) version: &'a str,
    pub(crate) kind: &'a str,
    /// The name of the type in the schema.
    pub(crate) schema: &'a str,
    /// What the definition of a custom resource says.
    pub(crate) custom: Option<&'a Custom>,
}

impl<'a> Expected<'a> {
    pub(crate) fn of(resource: &'a Resource) -> Self {
        Self {
            group: &resource.group,
            version: &resource.version,
            kind: &resource.kind,
            schema: resource.schema,
            custom: resource.custom.as_ref(),
        }
    }
}

impl Expected<'_> {
    fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    /// Whether this is an older version that is no longer served and yet read, since it differs in nothing.
    fn is_older(&self, api_version: &str) -> bool {
        self.kind == "Eviction" && self.group == "policy" && api_version == "policy/v1beta1"
    }
}

/// Reads a body of a type; the second part is the refusal that strict validation makes of what it found.
fn parse(
    body: &[u8],
    encoding: BodyEncoding,
    expected: Expected<'_>,
) -> Result<(Value, Vec<String>, Option<Status>), Status> {
    let media = match encoding {
        BodyEncoding::Json => MediaType::Json,
        BodyEncoding::Yaml => MediaType::Yaml,
        BodyEncoding::Protobuf if expected.custom.is_some() => return Err(negotiate::not_in_protobuf()),
        BodyEncoding::Protobuf => return Ok((parse_protobuf(body, expected)?, Vec::new(), None)),
    };
    let mut decoded = match expected.custom {
        None => decode::decode_as(body, media, expected.schema)?,
        Some(_) => decode::decode_custom(body, media, expected.kind)?,
    };
    if let Some(custom) = expected.custom {
        check_is_typed(expected, &decoded.value, body)?;
        decoded.findings.extend(conform(expected, custom, &mut decoded.value)?);
    }
    let strict = decoded.strict_error(expected.kind, expected.version);
    Ok((decoded.value, decoded.findings, strict))
}

/// A custom resource says what it is; nothing stands in for that.
fn check_is_typed(expected: Expected<'_>, value: &Value, body: &[u8]) -> Result<(), Status> {
    let api_version = api::meta::api_version(value);
    if api::meta::kind(value).is_empty() {
        let version =
            if api_version.is_empty() { expected.version } else { api::meta::split_api_version(api_version).1 };
        let why = format!("Object 'Kind' is missing in '{}'", String::from_utf8_lossy(body));
        return Err(decode::cannot_be_handled(expected.kind, version, &why));
    }
    if api_version.is_empty() { Err(other_version("", &expected.api_version())) } else { Ok(()) }
}

fn other_version(found: &str, wanted: &str) -> Status {
    Status::bad_request(format!(
        "the API version in the data ({found}) does not match the expected API version ({wanted})"
    ))
}

/// Brings a custom resource into the form that its schema says; answers the findings about unknown fields. What is of
/// another kind or version stays as it is, to be refused.
pub(super) fn conform(expected: Expected<'_>, custom: &Custom, value: &mut Value) -> Result<Vec<String>, Status> {
    if api::meta::kind(value) != expected.kind || api::meta::api_version(value) != expected.api_version() {
        return Ok(Vec::new());
    }
    let unknown = custom.version().structural.conform(value, Malformed::Refuse);
    let unknown =
        unknown.map_err(|error| decode::cannot_be_handled(expected.kind, expected.version, &error.to_string()))?;
    Ok(unknown.iter().map(|path| decode::unknown_field(path)).collect())
}

/// Reads a body in protobuf, of which there are no fields to complain about: those of newer clients are skipped.
fn parse_protobuf(body: &[u8], expected: Expected<'_>) -> Result<Value, Status> {
    let envelope = protobuf::open(body).map_err(|err| decode::unrecognized(expected.kind, &err.to_string(), body))?;
    let mut value = Value::Object(Map::new());
    // Of other kinds there is nothing to read: their name is enough for the refusal.
    if envelope.kind.is_empty() || envelope.kind == expected.kind {
        let handled = |why: &str| decode::cannot_be_handled(expected.kind, expected.version, why);
        if !protobuf::has_message(expected.schema) {
            return Err(handled(protobuf::NO_MESSAGE));
        }
        value = protobuf::decode(envelope.message, expected.schema).map_err(|err| handled(&err.to_string()))?;
    }
    for (member, text) in [("apiVersion", envelope.api_version), ("kind", envelope.kind)] {
        if !text.is_empty() {
            value[member] = text.into();
        }
    }
    Ok(value)
}

/// Decodes an object of the expected type.
pub(crate) fn decode_body(
    expected: Expected<'_>,
    body: &[u8],
    encoding: BodyEncoding,
    validation: FieldValidation,
) -> Result<Decoded, Status> {
    let (mut value, found, strict) = parse(body, encoding, expected)?;
    check_type(expected, &mut value)?;
    let warnings = findings(validation, found, strict)?;
    Ok(Decoded { value, warnings })
}

/// Decodes an applied configuration, of which unknown fields are for [`api::managed`] to refuse.
pub(crate) fn decode_config(
    expected: Expected<'_>,
    body: &[u8],
    validation: FieldValidation,
) -> Result<Configuration, Status> {
    let decoded = decode::decode_configuration(body)?;
    let found = (api::meta::api_version(&decoded.value), api::meta::kind(&decoded.value));
    if found != (&*expected.api_version(), expected.kind) {
        return Err(Status::bad_request(format!("invalid object type: {}", api::meta::full_kind(&decoded.value))));
    }
    let strict =
        decoded.strict_findings().into_iter().next().map(|why| {
            Status::bad_request(format!("error strict decoding YAML: error converting YAML to JSON: {why}"))
        });
    let (warnings, refusal) = match findings(validation, decoded.findings, strict) {
        Ok(warnings) => (warnings, None),
        Err(refusal) => (Vec::new(), Some(refusal)),
    };
    Ok(Configuration { value: decoded.value, warnings, refusal })
}

pub(super) fn findings(
    validation: FieldValidation,
    found: Vec<String>,
    strict: Option<Status>,
) -> Result<Vec<String>, Status> {
    match validation {
        FieldValidation::Ignore => Ok(Vec::new()),
        FieldValidation::Warn => Ok(found),
        FieldValidation::Strict => strict.map_or(Ok(Vec::new()), Err),
    }
}

/// The type in the body, if there is one, must be the expected one; then it is set.
pub(super) fn check_type(expected: Expected<'_>, value: &mut Value) -> Result<(), Status> {
    let Some(object) = value.as_object_mut() else {
        return Err(Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {})",
            expected.kind
        )));
    };
    let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let wanted = expected.api_version();
    // Validation refuses custom resources of another kind.
    if !kind.is_empty() && kind != expected.kind && expected.custom.is_none() {
        let (_, version) = api::meta::split_api_version(if api_version.is_empty() { &wanted } else { &api_version });
        return Err(Status::bad_request(format!(
            "{kind} in version {version:?} cannot be handled as a {}: converting ({version}.{kind}) to ({}): unknown \
             conversion",
            expected.kind, expected.kind
        )));
    }
    if !api_version.is_empty() && api_version != wanted && !expected.is_older(&api_version) {
        let is_known = |api_version: &str| {
            let (group, version) = api::meta::split_api_version(api_version);
            api::kinds::find_kind(group, version, expected.kind).is_some()
        };
        if is_known(&wanted) && !is_known(&api_version) {
            let (_, version) = api::meta::split_api_version(&api_version);
            return Err(Status::bad_request(format!(
                "{0} in version {version:?} cannot be handled as a {0}: no kind {0:?} is registered for version \
                 {api_version:?} in scheme",
                expected.kind
            )));
        }
        return Err(other_version(&api_version, &wanted));
    }
    object.insert("apiVersion".to_owned(), wanted.into());
    if expected.custom.is_none() {
        object.insert("kind".to_owned(), expected.kind.into());
    }
    Ok(())
}

/// The options of a deletion: from the body if there is one, else from the query.
pub(crate) fn decode_delete_options(body: &[u8], headers: &HeaderMap, query: &Query) -> Result<DeleteOptions, Status> {
    if body.is_empty() {
        return DeleteOptions::parse(query, None);
    }
    let encoding = negotiate::body_encoding(headers)?;
    // Upstream does not classify what is wrong with these.
    let unclassified = |status: Status| match status.message.split_once("couldn't get version/kind") {
        Some((_, rest)) => Status::unclassified(format!("couldn't get version/kind{rest}")),
        None => Status::unclassified(status.message),
    };
    let (options, _, _) = parse(body, encoding, DELETE_OPTIONS).map_err(unclassified)?;
    let kind = api::meta::kind(&options);
    if !["", "DeleteOptions"].contains(&kind) {
        let version = api::meta::api_version(&options);
        return Err(Status::unclassified(format!("no kind {kind:?} is registered for version {version:?} in scheme")));
    }
    DeleteOptions::parse(query, Some(&options))
}

const DELETE_OPTIONS: Expected<'static> = Expected {
    group: "",
    version: "v1",
    kind: "DeleteOptions",
    schema: "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions",
    custom: None,
};

/// Brings an applied configuration's result into the form of its type.
pub(crate) fn check_applied(resource: &Resource, value: &mut Value) -> Result<(), Status> {
    let found = match &resource.custom {
        Some(custom) => conform(Expected::of(resource), custom, value),
        None => decode::check_fields(value, resource.schema),
    };
    found.map(drop)
}

/// Brings an object into upstream's form and gives it its defaults. Custom resources have been given theirs when they
/// were checked.
pub(crate) fn complete(resource: &Resource, value: &mut Value) {
    if resource.custom.is_some() {
        return;
    }
    let omitted = take_omitted(resource, value);
    decode::normalize_sent(value, resource.schema);
    api::defaults::apply(resource, value);
    // Until it has been compared with what is there.
    omitted.restore(value);
}

/// Takes the empty fields out of an object that its JSON does not show, if its kind has use for them.
pub(super) fn take_omitted(resource: &Resource, value: &mut Value) -> Omitted {
    match strategy::compares_exactly(resource) {
        true => Omitted::take(value, resource.schema),
        false => Omitted::default(),
    }
}
