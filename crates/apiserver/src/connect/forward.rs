//! Sending a request on, and joining both connections where it switches to another protocol.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use api::status::Status;
use edge::PassedOn;
use http::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue, UPGRADE};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::dial::{Security, Transport};
use crate::http::body::{self, Body};
use crate::https::ClientAddress;
use crate::metrics::LongRunning;
use crate::pipeline::Core;

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Destination {
    pub(super) address: SocketAddr,
    pub(super) security: Security,
    /// Path and query.
    pub(super) path: String,
}

/// Headers that belong to one connection.
const HOP_HEADERS: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What a backend says about other sites' scripts does not hold for this server.
const CORS_HEADERS: [&str; 4] = [
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
];

/// Whether the client wants to switch to another protocol.
pub(crate) fn is_upgrade(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(CONNECTION).into_iter().filter_map(|value| value.to_str().ok());
    values.any(|value| value.to_ascii_lowercase().contains("upgrade"))
}

/// The host that a client means, by whichever version of HTTP.
pub(super) fn host(parts: &Parts) -> String {
    let named = parts.headers.get(http::header::HOST).and_then(|host| host.to_str().ok());
    named.or(parts.uri.authority().map(|authority| authority.as_str())).unwrap_or_default().to_owned()
}

/// A request for somebody else, without what is between the client and this server. `host` is whom it names.
pub(crate) fn outgoing(request: Request<Body>, path: &str, host: &str) -> Result<Request<Body>, Status> {
    let (mut parts, body) = request.into_parts();
    let switches_to = parts.headers.get(UPGRADE).cloned().filter(|_| is_upgrade(&parts.headers));
    let path: PathAndQuery = path.parse().map_err(|_| Status::bad_request("the request's path cannot be forwarded"))?;
    parts.uri = Uri::from(path);
    parts.version = http::Version::HTTP_11;
    drop_hop_headers(&mut parts.headers);
    // They say to this server who the client is.
    parts.headers.remove(http::header::AUTHORIZATION);
    let impersonating: Vec<HeaderName> =
        parts.headers.keys().filter(|name| name.as_str().starts_with("impersonate-")).cloned().collect();
    for name in impersonating {
        parts.headers.remove(name);
    }
    if let Some(ClientAddress(client)) = parts.extensions.get() {
        append_forwarded_for(&mut parts.headers, *client);
    }
    parts.extensions = http::Extensions::new();
    parts.headers.insert(http::header::HOST, HeaderValue::try_from(host).map_err(Status::internal)?);
    let Some(protocol) = switches_to else { return Ok(Request::from_parts(parts, body)) };
    parts.headers.insert(UPGRADE, protocol);
    parts.headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    // Whatever comes behind the head of an upgrade belongs to the other protocol.
    Ok(Request::from_parts(parts, body::empty()))
}

fn append_forwarded_for(headers: &mut HeaderMap, client: SocketAddr) {
    let name = HeaderName::from_static("x-forwarded-for");
    let before: Vec<&str> = headers.get_all(&name).iter().filter_map(|value| value.to_str().ok()).collect();
    let client = client.ip().to_string();
    let all = before.into_iter().chain([client.as_str()]).collect::<Vec<_>>().join(", ");
    if let Ok(all) = HeaderValue::try_from(all) {
        headers.insert(name, all);
    }
}

fn drop_hop_headers(headers: &mut HeaderMap) {
    // A connection may name further headers of its own.
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in HOP_HEADERS {
        headers.remove(name);
    }
}

/// Drops what a backend says about other sites' scripts.
pub(crate) fn drop_cors_headers(headers: &mut HeaderMap) {
    for name in CORS_HEADERS {
        headers.remove(name);
    }
}

/// The answer of the destination, or why there is none.
pub(super) async fn exchange(
    core: &Arc<Core>,
    destination: &Destination,
    request: Request<Body>,
) -> Result<Response<Incoming>, String> {
    let transport = core.dialer.connect(destination.address, destination.security).await?;
    exchange_over(core, transport, request).await
}

/// The answer that comes over a connection.
pub(crate) async fn exchange_over(
    core: &Arc<Core>,
    transport: Box<dyn Transport>,
    request: Request<Body>,
) -> Result<Response<Incoming>, String> {
    open(core, transport).await?.send_request(request).await.map_err(|err| err.to_string())
}

/// Begins to speak HTTP over a connection.
pub(super) async fn open(core: &Arc<Core>, transport: Box<dyn Transport>) -> Result<SendRequest<Body>, String> {
    let (sender, connection) = http1::handshake(TokioIo::new(transport)).await.map_err(|err| err.to_string())?;
    // The connection lives as long as the tunnel or body that uses it; its end is theirs.
    let drain = core.registry.drain.clone();
    let connection: Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>> = Box::pin(connection.with_upgrades());
    let driver = async move {
        let _ = drain.until(connection).await;
    };
    core.spawn("connection of a proxied request", driver).await;
    Ok(sender)
}

/// An answer to pass back as it is.
pub(crate) fn passed(answer: Response<Incoming>) -> Response<Body> {
    let (mut parts, body) = answer.into_parts();
    drop_hop_headers(&mut parts.headers);
    parts.extensions = http::Extensions::new();
    parts.extensions.insert(PassedOn);
    Response::from_parts(parts, body::boxed(body))
}

/// The answer to a request to switch protocols: where both sides do, their connections are joined.
pub(crate) async fn switched(core: &Arc<Core>, client: OnUpgrade, mut answer: Response<Incoming>) -> Response<Body> {
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return passed(answer);
    }
    let server = hyper::upgrade::on(&mut answer);
    join(core, async move {
        let (Ok(client), Ok(server)) = (client.await, server.await) else { return };
        copy(TokioIo::new(client), TokioIo::new(server)).await;
    })
    .await;
    let (parts, _) = answer.into_parts();
    Response::from_parts(parts, body::empty())
}

/// Lets a conversation go on until its end, or the server's.
pub(super) async fn join(core: &Arc<Core>, conversation: impl Future<Output = ()> + Send + 'static) {
    let drain = core.registry.drain.clone();
    let request = LongRunning::current();
    core.spawn("tunnel", async move {
        let _ = drain.until(conversation).await;
        drop(request);
    })
    .await;
}

/// Carries bytes both ways until both ends have said all.
pub(super) async fn copy(mut one: impl AsyncRead + AsyncWrite + Unpin, mut other: impl AsyncRead + AsyncWrite + Unpin) {
    // Either side may close at any time; there is nobody left to tell.
    let _ = tokio::io::copy_bidirectional(&mut one, &mut other).await;
}
