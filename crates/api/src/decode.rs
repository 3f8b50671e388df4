//! From bytes to documents: parsing, duplicate and unknown fields, types, and the form in which upstream writes objects.
//!
//! The API server calls [`decode_as`] for kinds of the table, [`decode_custom`] for others and [`decode_configuration`] for what is applied;
//! [`check_fields`] for what a patch has made; [`normalize`] before an object is stored. The findings of strict field
//! validation are texts as upstream words them; the caller makes warnings or, with [`strict_error`], a refusal of them.

mod check;
mod json;
mod normalize;
mod yaml;

use serde_json::Value;

use crate::schema::{self, FieldType};
use crate::status::Status;

pub use normalize::{Omitted, normalize, normalize_sent, settle};

/// In what form a document comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaType {
    /// JSON.
    Json,
    /// One YAML document.
    Yaml,
}

/// A document, and what strict field validation has to say about it.
#[derive(Debug)]
pub struct Decoded {
    /// The document, without unknown fields if its type is known.
    pub value: Value,
    /// Duplicate and unknown fields, worded as upstream does.
    pub findings: Vec<String>,
    /// Whether the findings are those of the YAML parser.
    yaml: bool,
}

/// Upstream reports no more findings than this.
const MAX_FINDINGS: usize = 100;

/// Parses a document of unknown type; only duplicate fields are found.
pub fn decode(bytes: &[u8], media: MediaType) -> Result<Decoded, Status> {
    match media {
        MediaType::Json => {
            let (value, findings) = json::read(bytes, None)
                .map_err(|err| json::told(bytes, &err))
                .map_err(|why| Status::bad_request(format!("couldn't get version/kind; json parse error: {why}")))?;
            Ok(Decoded { value, findings, yaml: false })
        }
        MediaType::Yaml => {
            let (value, findings) = yaml::read(bytes)
                .map_err(|err| Status::bad_request(format!("error converting YAML to JSON: {err}")))?;
            Ok(Decoded { value, findings, yaml: true })
        }
    }
}

/// Parses a document of a known type: finds duplicate and unknown fields, drops the unknown ones, checks types and
/// brings scalars into their usual form.
pub fn decode_as(bytes: &[u8], media: MediaType, type_name: &str) -> Result<Decoded, Status> {
    let ty = schema::type_by_name(type_name).map(|ty| FieldType::Ref(ty.name));
    let (kind, _) = kind_and_version(type_name);
    let mut decoded = object_of(bytes, media, kind, ty)?;
    let unknown = check_fields(&mut decoded.value, type_name)?;
    decoded.findings.extend(unknown);
    decoded.findings.truncate(MAX_FINDINGS);
    Ok(decoded)
}

/// Parses an applied configuration, which is YAML; only duplicate fields are found.
pub fn decode_configuration(bytes: &[u8]) -> Result<Decoded, Status> {
    let refuse = |why: String| Status::bad_request(format!("error decoding YAML: {why}"));
    let (value, findings) =
        yaml::read(bytes).map_err(|err| refuse(format!("error converting YAML to JSON: yaml: {err}")))?;
    let value = as_object(value).map_err(|what| {
        refuse(format!(
            "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {what} into Go value of type \
             map[string]interface {{}}"
        ))
    })?;
    Ok(Decoded { value, findings, yaml: true })
}

/// Parses JSON of unknown type, with findings about fields that are there twice; the error is worded as upstream's.
pub fn json_document(bytes: &[u8]) -> Result<(Value, Vec<String>), String> {
    json::read(bytes, None).map_err(|err| json::told(bytes, &err))
}

/// An object; nothing is one without fields. The error says what else the value is.
pub(crate) fn as_object(value: Value) -> Result<Value, &'static str> {
    match value {
        Value::Object(_) => Ok(value),
        Value::Null => Ok(Value::Object(serde_json::Map::new())),
        other => Err(json_type(&other)),
    }
}

/// What upstream's decoder calls a value in its messages.
pub(crate) fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Object(_) => "object",
        Value::Array(_) => "array",
        Value::String(_) => "string",
        Value::Number(_) => "number",
        Value::Bool(_) => "bool",
    }
}

/// Parses a custom resource of a kind; only duplicate fields are found.
pub fn decode_custom(bytes: &[u8], media: MediaType, kind: &str) -> Result<Decoded, Status> {
    object_of(bytes, media, kind, None)
}

/// Parses a document that must be an object.
fn object_of(bytes: &[u8], media: MediaType, kind: &str, ty: Option<FieldType>) -> Result<Decoded, Status> {
    let mut decoded = match media {
        MediaType::Json => {
            let (value, findings) = json::read(bytes, ty).map_err(|err| {
                let why = format!("couldn't get version/kind; json parse error: {}", json::told(bytes, &err));
                unrecognized(kind, &why, bytes)
            })?;
            Decoded { value, findings, yaml: false }
        }
        MediaType::Yaml => decode(bytes, media)?,
    };
    decoded.value = as_object(decoded.value).map_err(|what| {
        let why = format!(
            "couldn't get version/kind; json parse error: json: cannot unmarshal {what} into Go value of type \
             {GO_TYPE_META}"
        );
        unrecognized(kind, &why, bytes)
    })?;
    Ok(decoded)
}

/// How Go prints what it wants to read first of an object.
const GO_TYPE_META: &str =
    r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;

impl Decoded {
    /// The refusal that the findings mean under `fieldValidation=Strict`, if there are any.
    pub fn strict_error(&self, kind: &str, version: &str) -> Option<Status> {
        strict_error(kind, version, &self.strict_findings())
    }

    /// The findings as they stand in a refusal.
    pub fn strict_findings(&self) -> Vec<String> {
        let duplicates: Vec<&str> =
            self.findings.iter().map(String::as_str).filter(|text| self.yaml && text.starts_with("line ")).collect();
        if duplicates.is_empty() {
            return self.findings.clone();
        }
        let mut findings = vec![format!("yaml: unmarshal errors:\n  {}", duplicates.join("\n  "))];
        findings.extend(self.findings.iter().filter(|text| !text.starts_with("line ")).cloned());
        findings
    }
}

/// The refusal that findings mean under `fieldValidation=Strict`, if there are any.
pub fn strict_error(kind: &str, version: &str, findings: &[String]) -> Option<Status> {
    if findings.is_empty() {
        return None;
    }
    let why = format!("strict decoding error: {}", findings.join(", "));
    Some(cannot_be_handled(kind, version, &why))
}

/// The refusal of a document that is not of its type.
pub fn cannot_be_handled(kind: &str, version: &str, why: &str) -> Status {
    Status::bad_request(format!("{kind} in version \"{version}\" cannot be handled as a {kind}: {why}"))
}

/// The refusal of a body that is no document at all.
pub fn unrecognized(kind: &str, why: &str, body: &[u8]) -> Status {
    Status::bad_request(format!(
        "the object provided is unrecognized (must be of type {kind}): {why} ({})",
        summary(body)
    ))
}

/// Checks a document against its type: drops unknown fields and nulls, brings times and quantities into their usual
/// form. Answers the findings about unknown fields; a value of a wrong type is a refusal.
pub fn check_fields(value: &mut Value, type_name: &str) -> Result<Vec<String>, Status> {
    let mut unknown = Vec::new();
    if let Some(ty) = schema::type_by_name(type_name) {
        check::object(value, ty, "", &mut unknown).map_err(|err| {
            let (kind, version) = kind_and_version(type_name);
            cannot_be_handled(kind, version, &err.to_string())
        })?;
    }
    unknown.truncate(MAX_FINDINGS);
    Ok(unknown.iter().map(|path| unknown_field(path)).collect())
}

/// The finding about an unknown field.
pub fn unknown_field(path: &str) -> String {
    format!("unknown field \"{path}\"")
}

/// Brings metadata that stand at a path into the form in which upstream writes them: unknown fields are dropped, and
/// their paths are the answer. The error says which field is not of its type.
pub(crate) fn metadata(value: &mut Value, path: &str) -> Result<Vec<String>, String> {
    let Some(ty) = schema::type_by_name(schema::OBJECT_META) else { return Ok(Vec::new()) };
    if value.is_null() {
        *value = Value::Object(serde_json::Map::new());
    }
    let mut unknown = Vec::new();
    check::object(value, ty, path, &mut unknown).map_err(|err| err.to_string())?;
    normalize(value, schema::OBJECT_META);
    if let Value::Object(fields) = value {
        // Who has not been created has no such time.
        fields.retain(|_, value| !value.is_null());
    }
    Ok(unknown)
}

/// `io.k8s.api.apps.v1.Deployment` is of kind Deployment in version v1.
fn kind_and_version(type_name: &str) -> (&str, &str) {
    let mut parts = type_name.rsplit('.');
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}

/// The beginning of a body, for the message that it is not understood.
fn summary(bytes: &[u8]) -> String {
    const LENGTH: usize = 30;
    let shown = &bytes[..bytes.len().min(LENGTH)];
    let more = if bytes.len() > LENGTH { " ..." } else { "" };
    match bytes.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => format!("{}{more}", String::from_utf8_lossy(shown)),
        Some(_) => {
            let hex: String = shown.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{hex}{more}")
        }
    }
}

#[cfg(test)]
mod tests;
