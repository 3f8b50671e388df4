//! Requests that an extension API server answers: they are passed on with the name of who asks, which it believes
//! because of the certificate that this server shows (upstream's authenticating proxy).

use std::net::SocketAddr;
use std::sync::Arc;

use api::status::Status;
use bytes::Bytes;
use http::header::{ACCEPT, HOST, HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH, LOCATION};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use rustls_pki_types::ServerName;

use super::remote::Remote;
use crate::access::Identity;
use crate::connect;
use crate::http::body::{self, Body};
use crate::http::output;
use crate::pipeline::Core;

const USER: HeaderName = HeaderName::from_static("x-remote-user");
const UID: HeaderName = HeaderName::from_static("x-remote-uid");
const GROUP: HeaderName = HeaderName::from_static("x-remote-group");
/// What an identity has beside these is in a header each.
const EXTRA: &str = "x-remote-extra-";

/// What is answered instead of a redirect.
const REDIRECTED: &str = "the backend attempted to redirect this request, which is not permitted";

/// The largest answer that this server takes for itself: documents of discovery and OpenAPI.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// Passes a request on, and the answer back.
pub(super) async fn forward(
    core: &Arc<Core>,
    remote: &Remote,
    identity: &Identity,
    mut request: Request<Body>,
) -> Result<Response<Body>, Status> {
    let Some(address) = remote.address(core).filter(|_| remote.api.is_available) else {
        return Ok(unavailable("service unavailable"));
    };
    let client = connect::is_upgrade(request.headers()).then(|| hyper::upgrade::on(&mut request));
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let mut request = connect::outgoing(request, &path, &remote.api.host())?;
    name(request.headers_mut(), identity);
    let mut answer = match exchange(core, remote, address, request).await {
        Ok(answer) => answer,
        Err(err) if client.is_some() => return Ok(unavailable(&format!("error dialing backend: {err}"))),
        Err(err) => return Ok(unavailable(&format!("error trying to reach service: {err}"))),
    };
    if answer.status().is_redirection() && answer.headers().contains_key(LOCATION) {
        // A client would take its credentials to wherever the extension API server likes.
        return Ok(output::text_response(StatusCode::BAD_GATEWAY, REDIRECTED));
    }
    connect::drop_cors_headers(answer.headers_mut());
    Ok(match client {
        Some(client) => connect::switched(core, client, answer).await,
        None => connect::passed(answer),
    })
}

/// The answer where nobody can be asked: upstream's is no `Status` here.
fn unavailable(why: &str) -> Response<Body> {
    output::text_response(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n"))
}

/// Asks for a document in this server's own name, if it is not the one with the tag; its status, headers and body.
pub(super) async fn ask(
    core: &Arc<Core>,
    remote: &Remote,
    address: SocketAddr,
    path: &str,
    tag: Option<&str>,
) -> Result<(StatusCode, HeaderMap, Bytes), String> {
    let mut request = Request::get(path).header(ACCEPT, "application/json").header(HOST, remote.api.host());
    if let Some(tag) = tag {
        request = request.header(IF_NONE_MATCH, tag);
    }
    let mut request = request.body(body::empty()).map_err(|err| err.to_string())?;
    name(request.headers_mut(), &Identity::new("system:kube-aggregator", &["system:masters"]));
    let (parts, body) = exchange(core, remote, address, request).await?.into_parts();
    let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|err| err.to_string())?.to_bytes();
    Ok((parts.status, parts.headers, body))
}

async fn exchange(
    core: &Arc<Core>,
    remote: &Remote,
    address: SocketAddr,
    request: Request<Body>,
) -> Result<Response<Incoming>, String> {
    let dial = async || {
        let connector = remote.connector.as_ref().map_err(Clone::clone)?;
        let host = ServerName::try_from(remote.api.host()).map_err(|err| err.to_string())?;
        connect::connect_to(address, connector, host).await
    };
    // A connection that is switched to another protocol is nobody else's.
    match connect::is_upgrade(request.headers()) {
        true => connect::exchange_over(core, dial().await?, request).await,
        false => remote.connections.exchange(core, address, dial, request).await,
    }
}

/// Says who asks, and that alone: what the client says itself in such headers is dropped.
fn name(headers: &mut HeaderMap, identity: &Identity) {
    let claimed: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with("x-remote-")).cloned().collect();
    for header in claimed {
        headers.remove(header);
    }
    let mut add = |header: HeaderName, value: &str| {
        // Names come from certificates and tokens: what cannot stand in a header has no business there.
        if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
            headers.append(header, value);
        }
    };
    add(USER, &identity.user);
    if let Some(uid) = &identity.uid {
        add(UID, uid);
    }
    for group in &identity.groups {
        add(GROUP.clone(), group);
    }
    for (key, values) in &identity.extra {
        let Ok(header) = format!("{EXTRA}{}", escape(key)).parse::<HeaderName>() else { continue };
        for value in values {
            add(header.clone(), value);
        }
    }
}

/// A key as it may stand in a header's name: all but token characters percent-encoded, as upstream reads it.
fn escape(key: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte);
    let mut escaped = String::with_capacity(key.len());
    for byte in key.bytes() {
        match plain(byte) {
            true => escaped.push(char::from(byte)),
            false => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_server_says_who_asks() {
        let mut headers = HeaderMap::new();
        headers.insert("X-Remote-User", HeaderValue::from_static("admin"));
        headers.insert("X-Remote-Extra-Scopes", HeaderValue::from_static("all"));
        let mut identity = Identity::new("jane", &["dev"]);
        identity.extra.insert("example.com/scope".to_owned(), vec!["a".to_owned()]);
        name(&mut headers, &identity);
        let values = |header: &str| -> Vec<&str> {
            headers.get_all(header).iter().map(|value| value.to_str().expect("text")).collect()
        };
        assert_eq!(values("x-remote-user"), ["jane"]);
        assert_eq!(values("x-remote-group"), ["dev", "system:authenticated"]);
        assert_eq!(values("x-remote-extra-example.com%2fscope"), ["a"]);
        assert!(values("x-remote-extra-scopes").is_empty());
    }
}
