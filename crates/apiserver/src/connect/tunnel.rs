//! Port forwarding as newer kubectl asks for it: the bytes of a SPDY connection in the binary messages of a WebSocket,
//! which ends here.

use std::sync::Arc;

use http::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use spdy::tunnel::{PREFIX, carry};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::forward::{join, passed};
use crate::http::body::{self, Body};
use crate::pipeline::Core;

/// Behind the name of the protocol that is spoken on SPDY's streams.
const SUFFIX: &str = ".k8s.io";

const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");

/// A tunnel that a client asks for.
pub(super) struct Tunnel {
    accept: HeaderValue,
    /// What may be spoken on SPDY's streams.
    protocols: Vec<String>,
}

/// The tunnel that a request asks for, if it does.
pub(super) fn wanted(headers: &HeaderMap) -> Option<Tunnel> {
    let key = headers.get(SEC_WEBSOCKET_KEY)?;
    let accept = HeaderValue::try_from(derive_accept_key(key.as_bytes())).ok()?;
    let offered = headers.get_all(SEC_WEBSOCKET_PROTOCOL).into_iter().filter_map(|value| value.to_str().ok());
    let tunneled = offered.flat_map(|value| value.split(',')).filter_map(|name| name.trim().strip_prefix(PREFIX));
    let protocols: Vec<String> = tunneled.filter(|name| name.ends_with(SUFFIX)).map(str::to_owned).collect();
    (!protocols.is_empty()).then_some(Tunnel { accept, protocols })
}

impl Tunnel {
    /// The request for SPDY that was in the request for a WebSocket.
    pub(super) fn unwrapped(&self, mut request: Request<Body>) -> Request<Body> {
        *request.method_mut() = Method::POST;
        let headers = request.headers_mut();
        drop_web_socket_headers(headers);
        headers.insert(UPGRADE, HeaderValue::from_static("SPDY/3.1"));
        headers.remove(STREAM_PROTOCOL);
        for protocol in &self.protocols {
            if let Ok(protocol) = HeaderValue::try_from(protocol) {
                headers.append(STREAM_PROTOCOL, protocol);
            }
        }
        request
    }

    /// The answer for the client; where the kubelet speaks SPDY, both are joined.
    pub(super) async fn switched(
        self,
        core: &Arc<Core>,
        client: OnUpgrade,
        mut answer: Response<Incoming>,
    ) -> Response<Body> {
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return passed(answer);
        }
        let chosen = answer.headers().get(STREAM_PROTOCOL).and_then(|name| name.to_str().ok());
        let chosen = chosen.and_then(|name| HeaderValue::try_from(format!("{PREFIX}{name}")).ok());
        let response = switching(self.accept, chosen);
        let server = hyper::upgrade::on(&mut answer);
        join(core, async move {
            let (Ok(client), Ok(server)) = (client.await, server.await) else { return };
            let client = WebSocketStream::from_raw_socket(TokioIo::new(client), Role::Server, None).await;
            carry(client, TokioIo::new(server)).await;
        })
        .await;
        response
    }
}

/// Takes out of a request what asks for a WebSocket.
pub(super) fn drop_web_socket_headers(headers: &mut HeaderMap) {
    for name in [SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, SEC_WEBSOCKET_EXTENSIONS] {
        headers.remove(name);
    }
}

/// The answer with which a WebSocket begins.
pub(super) fn switching(accept: HeaderValue, protocol: Option<HeaderValue>) -> Response<Body> {
    let mut response = Response::new(body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    if let Some(protocol) = protocol {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    response
}
