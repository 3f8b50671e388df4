//! `pods/log`: a container's log, from its node's kubelet.

use api::field::{ErrorList, FieldError, Path};
use api::status::{Details, Status, reason};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};

use super::dial::Security;
use super::forward::{Destination, exchange, outgoing, passed};
use super::{Call, kubelet, location, reader};
use crate::http::body::{self, Body};
use crate::http::output;
use crate::http::request_info::Query;

/// How much of a kubelet's error is read.
const MAX_ERROR: usize = 50_000;

/// Which streams of a log can be asked for.
const STREAMS: [&str; 3] = ["All", "Stderr", "Stdout"];

/// What is for this server alone.
const OWN_PARAMETERS: [&str; 2] = ["container", "insecureSkipTLSVerifyBackend"];

pub(super) async fn handle(call: &Call<'_>, mut request: Request<Body>) -> Result<Response<Body>, Status> {
    let query = &call.info.query;
    let errors = validate(query)?;
    if !errors.is_empty() {
        return Err(Status::invalid("", "PodLogOptions", call.name, errors));
    }
    let pod = location::object(call.core, "pods", call.target.namespace.as_deref(), call.name).await?;
    let container = kubelet::container(&pod, query.get("container").unwrap_or_default())?;
    let Some(node) = kubelet::node_of(&pod) else {
        // Nothing was logged yet.
        return Ok(output::text_response(StatusCode::OK, ""));
    };
    let address = location::kubelet(call.core, node)?;
    let namespace = api::meta::namespace(&pod).unwrap_or_default();
    let rest = kubelet::query_without(request.uri().query(), &OWN_PARAMETERS);
    let path = format!("/containerLogs/{namespace}/{}/{container}{rest}", call.name);
    let security = Security::Kubelet { insecure: query.flag("insecureSkipTLSVerifyBackend") };
    let destination = Destination { address, security, path };
    let mut reader = None;
    match reader::wanted(request.headers()) {
        Some(Ok(wanted)) => {
            reader = Some((wanted, hyper::upgrade::on(&mut request)));
            request = reader::unwrapped(request);
        }
        Some(Err(unsupported)) => return Ok(unsupported.into()),
        None => {}
    }
    let request = outgoing(request, &destination.path, &address.to_string())?;
    let answer = exchange(call.core, &destination, request).await;
    let answer =
        answer.map_err(|err| Status::unclassified(format!("Get \"https://{address}{}\": {err}", destination.path)))?;
    if answer.status().is_success() {
        if let Some((reader, client)) = reader {
            return Ok(reader.switched(call.core, client, answer).await);
        }
        let mut answer = passed(answer);
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        return Ok(answer);
    }
    let code = answer.status().as_u16();
    // What cannot be read is left out.
    let text = Limited::new(body::boxed(answer.into_body()), MAX_ERROR).collect().await;
    let text = text.map(|text| String::from_utf8_lossy(&text.to_bytes()).into_owned()).unwrap_or_default();
    Err(match code {
        400 => Status::bad_request(text),
        500 => Status::internal(text),
        404 => not_found(call.name),
        _ => Status::unclassified(text),
    })
}

fn not_found(pod: &str) -> Status {
    let details = Details { kind: "pods/log".into(), name: pod.to_owned(), ..Details::default() };
    let message = format!("the server could not find the requested resource ( pods/log {pod})");
    Status::custom(404, reason::NOT_FOUND, message, Some(details))
}

/// What is wrong with the parameters; those that cannot be read at all are a bad request.
fn validate(query: &Query) -> Result<ErrorList, Status> {
    let mut errors = ErrorList::new();
    let number = |name: &str| -> Result<Option<i64>, Status> {
        let Some(text) = query.get(name).filter(|text| !text.is_empty()) else { return Ok(None) };
        let invalid =
            |_| Status::bad_request(format!("strconv.ParseInt: parsing {}: invalid syntax", api::field::quote(text)));
        text.parse().map(Some).map_err(invalid)
    };
    if let Some(lines) = number("tailLines")?.filter(|lines| *lines < 0) {
        errors.push(FieldError::invalid(&Path::new("tailLines"), lines, "must be greater than or equal to 0"));
    }
    if let Some(bytes) = number("limitBytes")?.filter(|bytes| *bytes < 1) {
        errors.push(FieldError::invalid(&Path::new("limitBytes"), bytes, "must be greater than 0"));
    }
    let since = number("sinceSeconds")?;
    let time = query.get("sinceTime").filter(|time| !time.is_empty());
    if let Some(time) = time
        && time.parse::<jiff::Timestamp>().is_err()
    {
        let quoted = api::field::quote(time);
        let why = format!("parsing time {quoted} as \"2006-01-02T15:04:05Z07:00\": cannot parse {quoted} as \"2006\"");
        return Err(Status::bad_request(why));
    }
    match (since, time) {
        (Some(_), Some(_)) => {
            let why = "at most one of `sinceTime` or `sinceSeconds` may be specified";
            errors.push(FieldError::forbidden(&Path::nameless(), why));
        }
        (Some(seconds), None) if seconds < 1 => {
            errors.push(FieldError::invalid(&Path::new("sinceSeconds"), seconds, "must be greater than 0"));
        }
        _ => {}
    }
    if let Some(stream) = query.get("stream").filter(|stream| !stream.is_empty()) {
        if !STREAMS.contains(&stream) {
            errors.push(FieldError::not_supported(&Path::new("stream"), stream, &STREAMS));
        }
        if stream != "All" && query.get("tailLines").is_some() {
            let why = "`tailLines` and specific `stream` are mutually exclusive for now";
            errors.push(FieldError::forbidden(&Path::nameless(), why));
        }
    }
    Ok(errors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(query: &str, expected: Result<&[&str], &str>) {
        let found = validate(&Query::parse(Some(query)));
        let found = found.map(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>());
        let expected = expected.map(|texts| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        assert_eq!(found.map_err(|status| status.message.clone()), expected.map_err(str::to_owned), "{query}");
    }

    #[test]
    fn parameters_are_checked_as_upstream_does() {
        check("follow=true&tailLines=5&limitBytes=9&sinceSeconds=1&stream=All", Ok(&[]));
        check("stream=Stdout", Ok(&[]));
        check("tailLines=-1", Ok(&["tailLines: Invalid value: -1: must be greater than or equal to 0"]));
        check("limitBytes=0", Ok(&["limitBytes: Invalid value: 0: must be greater than 0"]));
        check("sinceSeconds=0", Ok(&["sinceSeconds: Invalid value: 0: must be greater than 0"]));
        check("tailLines=x", Err("strconv.ParseInt: parsing \"x\": invalid syntax"));
        check("stream=x", Ok(&["stream: Unsupported value: \"x\": supported values: \"All\", \"Stderr\", \"Stdout\""]));
    }
}
