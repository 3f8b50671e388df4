//! A body that a client wants to read over a WebSocket: each piece of it is a message.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http::header::{HeaderMap, HeaderValue, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::forward::{is_upgrade, join};
use super::tunnel;
use crate::http::body::Body;
use crate::http::output;
use crate::pipeline::Core;

/// The protocols, and whether each carries the bytes in base64. A client may also name none.
const PROTOCOLS: [(&str, bool); 2] = [("binary.k8s.io", false), ("base64.binary.k8s.io", true)];

/// A WebSocket that a client asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reader {
    accept: HeaderValue,
    protocol: Option<&'static str>,
    in_base64: bool,
}

/// The client speaks none of the protocols.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unsupported;

impl From<Unsupported> for Response<Body> {
    fn from(_: Unsupported) -> Self {
        output::text_response(StatusCode::FORBIDDEN, "")
    }
}

/// The WebSocket that a request asks for, if it does.
pub(super) fn wanted(headers: &HeaderMap) -> Option<Result<Reader, Unsupported>> {
    let is_web_socket = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"websocket");
    if !is_upgrade(headers) || !headers.get(UPGRADE).is_some_and(is_web_socket) {
        return None;
    }
    let key = headers.get(SEC_WEBSOCKET_KEY)?;
    let accept = HeaderValue::try_from(derive_accept_key(key.as_bytes())).ok()?;
    let offered = headers.get_all(SEC_WEBSOCKET_PROTOCOL).into_iter().filter_map(|value| value.to_str().ok());
    let offered: Vec<&str> = offered.flat_map(|value| value.split(',')).map(str::trim).collect();
    if offered.is_empty() {
        return Some(Ok(Reader { accept, protocol: None, in_base64: false }));
    }
    let chosen = offered.iter().find_map(|name| PROTOCOLS.iter().find(|(known, _)| known == name));
    Some(match chosen {
        Some((name, in_base64)) => Ok(Reader { accept, protocol: Some(name), in_base64: *in_base64 }),
        None => Err(Unsupported),
    })
}

/// The request as it is without the WebSocket.
pub(super) fn unwrapped(mut request: Request<Body>) -> Request<Body> {
    request.headers_mut().remove(UPGRADE);
    tunnel::drop_web_socket_headers(request.headers_mut());
    request
}

impl Reader {
    /// The answer for the client, which then reads the body of `answer`.
    pub(super) async fn switched(
        self,
        core: &Arc<Core>,
        client: OnUpgrade,
        answer: Response<Incoming>,
    ) -> Response<Body> {
        let response = tunnel::switching(self.accept, self.protocol.map(HeaderValue::from_static));
        let in_base64 = self.in_base64;
        join(core, async move {
            let Ok(client) = client.await else { return };
            let client = WebSocketStream::from_raw_socket(TokioIo::new(client), Role::Server, None).await;
            carry(client, answer.into_body(), in_base64).await;
        })
        .await;
        response
    }
}

/// Sends the body until its end, or until the client leaves; what the client says meanwhile is nothing to anybody.
async fn carry(client: WebSocketStream<TokioIo<Upgraded>>, mut body: Incoming, in_base64: bool) {
    let (mut sink, mut source) = client.split();
    let message = |data: Bytes| match in_base64 {
        true => Message::text(STANDARD.encode(data)),
        false => Message::Binary(data),
    };
    let send = async {
        // An empty message says that the connection stands, however long the first piece takes.
        let mut sent = sink.send(message(Bytes::new())).await;
        while sent.is_ok()
            && let Some(Ok(frame)) = body.frame().await
        {
            // What is no data is trailers.
            if let Ok(data) = frame.into_data() {
                sent = sink.send(message(data)).await;
            }
        }
        // The client may be gone.
        let _ = sink.close().await;
    };
    let leaves = async { while source.next().await.is_some_and(|message| message.is_ok_and(|m| !m.is_close())) {} };
    tokio::select! {
        () = send => {}
        () = leaves => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(protocols: &[&'static str], expected: Result<(Option<&'static str>, bool), Unsupported>) {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::CONNECTION, HeaderValue::from_static("keep-alive, Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("WebSocket"));
        headers.insert(SEC_WEBSOCKET_KEY, HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="));
        for protocol in protocols {
            headers.append(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
        }
        let found = wanted(&headers).expect("it is asked for");
        assert_eq!(found.map(|reader| (reader.protocol, reader.in_base64)), expected, "{protocols:?}");
    }

    #[test]
    fn the_first_known_protocol_is_spoken() {
        check(&[], Ok((None, false)));
        check(&["binary.k8s.io"], Ok((Some("binary.k8s.io"), false)));
        check(&["other, base64.binary.k8s.io", "binary.k8s.io"], Ok((Some("base64.binary.k8s.io"), true)));
        check(&["v4.channel.k8s.io"], Err(Unsupported));
        assert_eq!(wanted(&HeaderMap::new()), None);
    }
}
