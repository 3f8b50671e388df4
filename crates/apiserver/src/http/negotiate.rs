//! Media types: what a request's body is, and in which form its answer is wanted.

use api::status::Status;
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, Uri};

use crate::openapi::{Form, Version};

/// How an answer is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Json,
    /// JSON on many lines, for people.
    PrettyJson,
    Yaml,
    Protobuf,
}

impl Encoding {
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Json | Self::PrettyJson => "application/json",
            Self::Yaml => "application/yaml",
            Self::Protobuf => "application/vnd.kubernetes.protobuf",
        }
    }
}

/// How the events of a watch are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamEncoding {
    /// Lines.
    Json,
    /// Frames with their length before them.
    Protobuf,
}

impl StreamEncoding {
    /// The encoding of a watch, if there is one for objects that are encoded so.
    pub(crate) fn of(encoding: Encoding) -> Result<Self, Status> {
        match encoding {
            Encoding::Json | Encoding::PrettyJson => Ok(Self::Json),
            Encoding::Protobuf => Ok(Self::Protobuf),
            Encoding::Yaml => Err(Status::not_acceptable(&[
                "application/json;stream=watch",
                "application/vnd.kubernetes.protobuf;stream=watch",
            ])),
        }
    }

    /// The encoding of one object in an event.
    pub(crate) fn of_object(self) -> Encoding {
        match self {
            Self::Json => Encoding::Json,
            Self::Protobuf => Encoding::Protobuf,
        }
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
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

/// The media types named in refusals.
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

/// The encoding that a clause means. The router knows no `application/*`, but where it lets a request pass for another
/// clause, this one counts.
fn encoding(media: &str) -> Option<Encoding> {
    match media {
        "application/json" | "application/*" | "*/*" => Some(Encoding::Json),
        "application/yaml" => Some(Encoding::Yaml),
        "application/vnd.kubernetes.protobuf" => Some(Encoding::Protobuf),
        _ => None,
    }
}

/// The clauses that can be served, the best first, with what they ask for.
fn served<'a>(clauses: &'a [Clause<'a>], pretty: bool) -> impl Iterator<Item = Accepted> + 'a {
    clauses.iter().filter_map(move |clause| {
        let value = |name: &str| clause.parameters.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
        let encoding = match encoding(clause.media)? {
            Encoding::Json if pretty || value("pretty") == Some("1") => Encoding::PrettyJson,
            encoding => encoding,
        };
        let is_stream = value("stream").is_some_and(|stream| !stream.is_empty());
        if is_stream && (value("stream") != Some("watch") || encoding == Encoding::Yaml) {
            return None;
        }
        // Tables have no message.
        let shape = shape(&clause.parameters)
            .filter(|shape| !(matches!(shape, Shape::Table(_)) && encoding == Encoding::Protobuf))?;
        Some(Accepted { encoding, shape })
    })
}

fn accept(headers: &HeaderMap) -> &str {
    headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// The first form that the `Accept` header asks for and this server can give.
pub(crate) fn accepted(headers: &HeaderMap, uri: &Uri) -> Result<Accepted, Status> {
    let pretty = is_pretty(headers, uri);
    let header = accept(headers);
    if header.trim().is_empty() {
        return Ok(Accepted { encoding: json(headers, uri), shape: Shape::Object });
    }
    let clauses = clauses(header);
    if !clauses.iter().any(|clause| clause.media == "*/*" || MEDIA_TYPES.contains(&clause.media)) {
        // Before its negotiation is asked.
        return Err(unroutable());
    }
    served(&clauses, pretty).next().ok_or_else(|| Status::not_acceptable(&MEDIA_TYPES))
}

/// The same for custom resources: no router looks at their requests first, and they have no messages.
pub(crate) fn accepted_of_custom(headers: &HeaderMap, uri: &Uri) -> Result<Accepted, Status> {
    let header = accept(headers);
    if header.trim().is_empty() {
        return accepted(headers, uri);
    }
    let clauses = clauses(header);
    let has_form = |accepted: &Accepted| accepted.shape != Shape::Object || accepted.encoding != Encoding::Protobuf;
    let mut served = served(&clauses, is_pretty(headers, uri));
    served.find(has_form).ok_or_else(|| Status::not_acceptable(&MEDIA_TYPES))
}

/// Fails if a document that only JSON has is wanted in another form.
pub(crate) fn check_json(headers: &HeaderMap) -> Result<(), Status> {
    let clauses = clauses(accept(headers));
    match clauses.is_empty() || clauses.iter().any(|clause| matches!(clause.media, "*/*" | "application/json")) {
        true => Ok(()),
        false => Err(unroutable()),
    }
}

/// What upstream's router says to media types that nothing speaks.
fn unroutable() -> Status {
    let details = Some(api::status::Details::default());
    Status::custom(406, api::status::reason::NOT_ACCEPTABLE, "406: Not Acceptable", details)
}

/// JSON in the form in which the one who asks reads it.
pub(crate) fn json(headers: &HeaderMap, uri: &Uri) -> Encoding {
    if is_pretty(headers, uri) { Encoding::PrettyJson } else { Encoding::Json }
}

/// How a failure is told: as asked for if objects could be, else in JSON.
pub(crate) fn error_encoding(headers: &HeaderMap, uri: &Uri) -> Encoding {
    let clauses = clauses(accept(headers));
    let best = served(&clauses, is_pretty(headers, uri)).find(|accepted| accepted.shape == Shape::Object);
    best.map_or_else(|| json(headers, uri), |accepted| accepted.encoding)
}

/// Whether a person reads the answer: the query says so, or the program that asks is one of those that people use.
fn is_pretty(headers: &HeaderMap, uri: &Uri) -> bool {
    let mut query = uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    if let Some((_, wanted)) = query.find(|(key, value)| *key == "pretty" && !value.is_empty()) {
        return matches!(wanted, "1" | "t" | "T" | "true" | "TRUE" | "True");
    }
    let agent = headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    ["curl", "Wget", "Mozilla/5.0"].iter().any(|name| agent.starts_with(name))
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

/// The form in which a document of OpenAPI is wanted, if this server has one of those that the client takes.
pub(crate) fn openapi_form(headers: &HeaderMap, version: Version) -> Option<Form> {
    let header = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let header = if header.trim().is_empty() { "*/*" } else { header };
    let name = match version {
        Version::V2 => "v2",
        Version::V3 => "v3",
    };
    let is_protobuf = |media: &str| {
        // The form with `@` is no valid media type, but what old clients send.
        let rest = media.strip_prefix("application/com.github.proto-openapi.spec.").and_then(|r| r.strip_prefix(name));
        matches!(rest, Some("@v1.0+protobuf" | ".v1.0+protobuf"))
    };
    clauses(header).iter().find_map(|clause| match clause.media {
        "application/json" | "*/*" | "application/*" => Some(Form::Json),
        media => is_protobuf(media).then_some(Form::Protobuf),
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
    match content_type(headers).to_ascii_lowercase().as_str() {
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

/// The refusal of a body in protobuf for a kind that has no messages.
pub(crate) fn not_in_protobuf() -> Status {
    Status::unsupported_media_type(&MEDIA_TYPES[..2])
}

/// The kind of patch that the body is.
pub(crate) fn patch_type(headers: &HeaderMap, is_custom: bool) -> Result<PatchType, Status> {
    match content_type(headers) {
        "application/json-patch+json" => Ok(PatchType::Json),
        "application/merge-patch+json" => Ok(PatchType::Merge),
        "application/apply-patch+yaml" => Ok(PatchType::Apply),
        // Nobody says how the lists of custom resources are merged by a strategic patch, and no router knows better.
        _ if is_custom => Err(Status::unsupported_media_type(&[
            "application/json-patch+json",
            "application/merge-patch+json",
            "application/apply-patch+yaml",
        ])),
        "application/strategic-merge-patch+json" => Ok(PatchType::Strategic),
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
        let uri = Uri::from_static("/api/v1/pods");
        let result = accepted(&headers, &uri).map(|a| (a.encoding, a.shape)).map_err(|status| status.code);
        assert_eq!(result, expected, "{accept}");
    }

    #[test]
    fn the_best_form_that_is_spoken_wins() {
        use Encoding::{Json, PrettyJson, Protobuf, Yaml};
        const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
        check("*/*", Ok((Json, Shape::Object)));
        check("application/yaml;q=0.1,application/json;q=0.9", Ok((Json, Shape::Object)));
        check("application/yaml;q=0.9, application/xml", Ok((Yaml, Shape::Object)));
        check("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", Ok((Json, Shape::Table("v1"))));
        check("application/json;as=Foo;v=v1;g=meta.k8s.io,application/json", Ok((Json, Shape::Object)));
        check("application/json;pretty=1", Ok((PrettyJson, Shape::Object)));
        check("application/vnd.kubernetes.protobuf,application/json", Ok((Protobuf, Shape::Object)));
        check("application/json,application/vnd.kubernetes.protobuf", Ok((Json, Shape::Object)));
        check("application/*,application/yaml", Ok((Json, Shape::Object)));
        let partial = "as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
        check(&format!("{PROTOBUF};{partial}"), Ok((Protobuf, Shape::PartialObjectMetadata("v1"))));
        check(&format!("{PROTOBUF};as=Table;v=v1;g=meta.k8s.io,application/json"), Ok((Json, Shape::Object)));
        check(&format!("{PROTOBUF};as=Table;v=v1;g=meta.k8s.io"), Err(406));
        check(&format!("{PROTOBUF};stream=watch"), Ok((Protobuf, Shape::Object)));
        check("application/yaml;stream=watch", Err(406));
        check("application/json;stream=other", Err(406));
        check("application/json;as=Table;v=v1;g=example.com", Err(406));
        check("application/xml", Err(406));
        check("application/*", Err(406));
        check("application/cbor", Err(406));
    }

    #[track_caller]
    fn check_custom(accept: &str, expected: Result<(Encoding, Shape), &str>) {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().expect("a header"));
        let found = accepted_of_custom(&headers, &Uri::from_static("/apis/e.com/v1/things"));
        let found = found.map(|a| (a.encoding, a.shape)).map_err(|status| status.message);
        assert_eq!(found.as_ref().map_err(String::as_str), expected.as_ref().map_err(|message| *message), "{accept}");
    }

    #[test]
    fn custom_resources_have_no_messages_and_no_router() {
        use Encoding::{Json, Protobuf, Yaml};
        const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
        const PARTIAL: &str = "as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
        let none = "only the following media types are accepted: application/json, application/yaml, \
                    application/vnd.kubernetes.protobuf";
        check_custom("", Ok((Json, Shape::Object)));
        check_custom(&format!("{PROTOBUF},application/json"), Ok((Json, Shape::Object)));
        check_custom(&format!("{PROTOBUF},application/yaml"), Ok((Yaml, Shape::Object)));
        check_custom(&format!("{PROTOBUF};{PARTIAL}"), Ok((Protobuf, Shape::PartialObjectMetadata("v1"))));
        check_custom("application/*", Ok((Json, Shape::Object)));
        for refused in [PROTOBUF, "application/xml", "application/json;as=Table;v=v9;g=meta.k8s.io"] {
            check_custom(refused, Err(none));
        }
    }

    #[track_caller]
    fn check_error(accept: &str, agent: &str, path: &'static str, expected: Encoding) {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().expect("a header"));
        headers.insert(USER_AGENT, agent.parse().expect("a header"));
        assert_eq!(error_encoding(&headers, &Uri::from_static(path)), expected, "{accept} {agent} {path}");
    }

    #[test]
    fn failures_are_told_as_objects_are() {
        let kubectl = "kubectl/v1.35.0";
        check_error("application/vnd.kubernetes.protobuf,application/json", kubectl, "/", Encoding::Protobuf);
        check_error("application/json;as=Table;v=v1;g=meta.k8s.io,application/yaml", kubectl, "/", Encoding::Yaml);
        check_error("application/xml", kubectl, "/", Encoding::Json);
        check_error("", kubectl, "/?pretty=true", Encoding::PrettyJson);
        check_error("*/*", "curl/8.0", "/", Encoding::PrettyJson);
        check_error("*/*", "curl/8.0", "/?watch=1&pretty=false", Encoding::Json);
    }
}
