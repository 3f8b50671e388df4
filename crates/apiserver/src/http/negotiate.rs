//! Media types: what a request's body is, and in which form its answer is wanted.

use api::status::Status;
use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE};
use serde_json::Value;

/// How an answer is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Json,
    Yaml,
}

impl Encoding {
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
        }
    }
}

/// Into what an object is turned before it is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Object,
    /// `meta.k8s.io` Table of the given version.
    Table(&'static str),
    PartialObjectMetadata(&'static str),
    PartialObjectMetadataList(&'static str),
}

/// The form in which an answer is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) encoding: Encoding,
    pub(crate) shape: Shape,
}

impl Accepted {
    /// Plain JSON objects.
    pub(crate) const JSON: Self = Self { encoding: Encoding::Json, shape: Shape::Object };
}

/// The media types named in refusals. Protobuf is read, but answers are not written in it yet.
const MEDIA_TYPES: [&str; 3] = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];

/// One clause of a header: media type, parameters, quality.
struct Clause<'a> {
    media: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    quality: f32,
}

fn clauses(header: &str) -> Vec<Clause<'_>> {
    let mut clauses: Vec<Clause<'_>> = header
        .split(',')
        .filter(|clause| !clause.trim().is_empty())
        .map(|clause| {
            let mut parts = clause.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            let mut quality = 1.0;
            let mut parameters = Vec::new();
            for part in parts {
                match part.split_once('=') {
                    Some(("q", value)) => quality = value.parse().unwrap_or(0.0),
                    Some((key, value)) => parameters.push((key, value)),
                    None => {}
                }
            }
            Clause { media, parameters, quality }
        })
        .collect();
    // Stable: clauses of equal quality keep their order.
    clauses.sort_by(|a, b| b.quality.total_cmp(&a.quality));
    clauses
}

/// The first form that the `Accept` header asks for and this server can give.
pub(crate) fn accepted(headers: &HeaderMap) -> Result<Accepted, Status> {
    let header = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if header.trim().is_empty() {
        return Ok(Accepted::JSON);
    }
    let clauses = clauses(header);
    let mut is_known = false;
    for clause in &clauses {
        let encoding = match clause.media {
            "application/json" | "*/*" => Encoding::Json,
            "application/yaml" => Encoding::Yaml,
            other => {
                is_known |= MEDIA_TYPES.contains(&other);
                continue;
            }
        };
        is_known = true;
        if let Some(shape) = shape(&clause.parameters) {
            return Ok(Accepted { encoding, shape });
        }
    }
    if is_known {
        return Err(Status::not_acceptable(&MEDIA_TYPES));
    }
    // Upstream's router refuses media types that nothing speaks before its negotiation is asked.
    let details = Some(api::status::Details::default());
    Err(Status::custom(406, api::status::reason::NOT_ACCEPTABLE, "406: Not Acceptable", details))
}

fn shape(parameters: &[(&str, &str)]) -> Option<Shape> {
    let value = |name: &str| parameters.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
    let Some(kind) = value("as") else {
        return Some(Shape::Object);
    };
    if value("g") != Some("meta.k8s.io") {
        return None;
    }
    let version = match value("v")? {
        "v1" => "v1",
        "v1beta1" => "v1beta1",
        _ => return None,
    };
    match kind {
        "Table" => Some(Shape::Table(version)),
        "PartialObjectMetadata" => Some(Shape::PartialObjectMetadata(version)),
        "PartialObjectMetadataList" => Some(Shape::PartialObjectMetadataList(version)),
        _ => None,
    }
}

/// Whether the client asks for the aggregated discovery documents (`g=apidiscovery.k8s.io`), and in which version.
pub(crate) fn wants_aggregated_discovery(headers: &HeaderMap) -> Option<&'static str> {
    let header = headers.get(ACCEPT)?.to_str().ok()?;
    clauses(header).iter().find_map(|clause| {
        let value = |name: &str| clause.parameters.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
        if clause.media != "application/json" || value("g") != Some("apidiscovery.k8s.io") {
            return None;
        }
        match (value("as"), value("v")) {
            (Some("APIGroupDiscoveryList"), Some("v2")) => Some("v2"),
            (Some("APIGroupDiscoveryList"), Some("v2beta1")) => Some("v2beta1"),
            _ => None,
        }
    })
}

/// The media type of a request's body without parameters.
fn content_type(headers: &HeaderMap) -> &str {
    let header = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    header.split(';').next().unwrap_or_default().trim()
}

/// How a body that holds an object is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyEncoding {
    Json,
    Yaml,
    Protobuf,
}

/// How the request's body is written.
pub(crate) fn body_encoding(headers: &HeaderMap) -> Result<BodyEncoding, Status> {
    match content_type(headers) {
        "" | "application/json" => Ok(BodyEncoding::Json),
        "application/yaml" => Ok(BodyEncoding::Yaml),
        "application/vnd.kubernetes.protobuf" => Ok(BodyEncoding::Protobuf),
        _ => Err(Status::unsupported_media_type(&MEDIA_TYPES)),
    }
}

/// The kinds of patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PatchType {
    Json,
    Merge,
    Strategic,
    /// A configuration, applied by the server.
    Apply,
}

impl PatchType {
    /// The document with a patch; `schema` is the name of its type.
    pub(crate) fn apply(self, document: Value, patch: &Value, schema: &str) -> Result<Value, Status> {
        match self {
            PatchType::Json => api::patch::json::apply(document, patch),
            PatchType::Merge => api::patch::merge::apply(document, patch.clone()),
            PatchType::Strategic => api::patch::strategic::apply(document, patch.clone(), schema),
            // A configuration is no change by itself: who owns what decides, which is known elsewhere.
            PatchType::Apply => Err(Status::unsupported_media_type(&["application/apply-patch+yaml"])),
        }
    }
}

/// The kind of patch that the body is.
pub(crate) fn patch_type(headers: &HeaderMap) -> Result<PatchType, Status> {
    match content_type(headers) {
        "application/json-patch+json" => Ok(PatchType::Json),
        "application/merge-patch+json" => Ok(PatchType::Merge),
        "application/strategic-merge-patch+json" => Ok(PatchType::Strategic),
        "application/apply-patch+yaml" => Ok(PatchType::Apply),
        // Known, but no client sends it to a server that does not offer CBOR.
        "application/apply-patch+cbor" => Err(Status::unsupported_media_type(&[
            "application/json-patch+json",
            "application/merge-patch+json",
            "application/strategic-merge-patch+json",
            "application/apply-patch+yaml",
        ])),
        _ => {
            let details = Some(api::status::Details::default());
            let reason = api::status::reason::UNSUPPORTED_MEDIA_TYPE;
            Err(Status::custom(415, reason, "415: Unsupported Media Type", details))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(accept: &str, expected: Result<(Encoding, Shape), u16>) {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().expect("a header"));
        let result = accepted(&headers).map(|a| (a.encoding, a.shape)).map_err(|status| status.code);
        assert_eq!(result, expected, "{accept}");
    }

    #[test]
    fn the_best_form_that_is_spoken_wins() {
        use Encoding::{Json, Yaml};
        check("*/*", Ok((Json, Shape::Object)));
        check("application/yaml;q=0.1,application/json;q=0.9", Ok((Json, Shape::Object)));
        check("application/yaml;q=0.9, application/xml", Ok((Yaml, Shape::Object)));
        check("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", Ok((Json, Shape::Table("v1"))));
        check("application/json;as=Foo;v=v1;g=meta.k8s.io,application/json", Ok((Json, Shape::Object)));
        check("application/vnd.kubernetes.protobuf,application/json", Ok((Json, Shape::Object)));
        check("application/json;as=Table;v=v1;g=example.com", Err(406));
        check("application/xml", Err(406));
        check("application/*", Err(406));
    }
}
