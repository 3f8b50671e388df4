//! `proxy` of pods, services and nodes: any request to what runs there, with links that lead back through here.

use api::status::Status;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;

use super::forward::{Destination, drop_cors_headers, exchange, host, is_upgrade, outgoing, passed, switched};
use super::location::{self, Location, Reference};
use super::url::Links;
use super::{Backend, Call, html};
use crate::http::body::{self, Body};

const FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");

pub(super) async fn handle(
    call: &Call<'_>,
    backend: Backend,
    mut request: Request<Body>,
) -> Result<Response<Body>, Status> {
    let Location { address, security } = locate(call, backend).await?;
    let (prefix, rest) = split(request.uri().path());
    let (prefix, rest) = (prefix.to_owned(), rest.to_owned());
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let is_switch = is_upgrade(request.headers());
    if rest.is_empty() && !is_switch && matches!(*request.method(), Method::GET | Method::HEAD) {
        // Relative links would otherwise begin one step too high.
        return moved(&format!("{prefix}/{query}"));
    }
    let rest = if rest.is_empty() { "/" } else { rest.as_str() };
    let destination = Destination { address, security, path: format!("{rest}{query}") };
    let client = is_switch.then(|| hyper::upgrade::on(&mut request));
    let (parts, body) = request.into_parts();
    let named = host(&parts);
    let mut request = outgoing(Request::from_parts(parts, body), &destination.path, &named)?;
    if client.is_none() {
        let uri = HeaderValue::try_from(format!("{prefix}{rest}")).map_err(Status::internal)?;
        request.headers_mut().insert(FORWARDED_URI, uri);
    }
    let answer = exchange(call.core, &destination, request).await;
    let Some(client) = client else {
        let answer =
            answer.map_err(|err| Status::service_unavailable(format!("error trying to reach service: {err}")))?;
        let links = Links { prefix: &prefix, backend: &address.to_string(), host: &named };
        return rewritten(answer, &links).await;
    };
    let answer = answer.map_err(|err| Status::unclassified(format!("error dialing backend: {err}")))?;
    Ok(switched(call.core, client, answer).await)
}

async fn locate(call: &Call<'_>, backend: Backend) -> Result<Location, Status> {
    let namespace = call.target.namespace.as_deref();
    match backend {
        Backend::Service => location::service(call.core, namespace, &Reference::parse(call.name, "service")?).await,
        Backend::Node => location::node(call.core, &Reference::parse(call.name, "node")?),
        Backend::Pod | Backend::Log | Backend::Stream => {
            location::pod(call.core, namespace, &Reference::parse(call.name, "pod")?).await
        }
    }
}

/// The path up to `proxy`, and what follows as it was written.
fn split(path: &str) -> (&str, &str) {
    const NAME: &str = "/proxy";
    // The first segments are fixed: /api/v1[/namespaces/<namespace>]/<plural>/<name>/proxy
    let segments = if path.starts_with("/api/v1/namespaces/") { 6 } else { 4 };
    let start = path.match_indices('/').nth(segments).map_or(path.len(), |(at, _)| at);
    path.split_at((start + NAME.len()).min(path.len()))
}

fn moved(to: &str) -> Result<Response<Body>, Status> {
    let mut response = Response::new(body::empty());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    response.headers_mut().insert(LOCATION, HeaderValue::try_from(to).map_err(Status::internal)?);
    Ok(response)
}

/// The answer with links that work from outside.
async fn rewritten(mut answer: Response<Incoming>, links: &Links<'_>) -> Result<Response<Body>, Status> {
    let headers = answer.headers_mut();
    drop_cors_headers(headers);
    if let Some(location) = headers.get(LOCATION).and_then(|location| location.to_str().ok()) {
        let location = HeaderValue::try_from(links.rewrite(location)).map_err(Status::internal)?;
        headers.insert(LOCATION, location);
        return Ok(passed(answer));
    }
    let answer = passed(answer);
    if !is_html(answer.headers()) {
        return Ok(answer);
    }
    let (mut parts, body) = answer.into_parts();
    let body = html::rewrite_body(body, &parts.headers, links).await?;
    parts.headers.remove(CONTENT_LENGTH);
    Ok(Response::from_parts(parts, body))
}

fn is_html(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim() == "text/html")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_proxy_stays_as_it_was_written() {
        #[track_caller]
        fn check(path: &str, expected: (&str, &str)) {
            assert_eq!(split(path), expected);
        }
        check("/api/v1/nodes/n/proxy", ("/api/v1/nodes/n/proxy", ""));
        check("/api/v1/nodes/n/proxy/", ("/api/v1/nodes/n/proxy", "/"));
        let service = "/api/v1/namespaces/proxy/services/proxy/proxy";
        check(&format!("{service}/a%2Fb//c/proxy/"), (service, "/a%2Fb//c/proxy/"));
    }
}
