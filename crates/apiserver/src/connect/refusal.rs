//! A command that cannot be run, told as newer clients expect it: on the stream for errors of a WebSocket that was
//! accepted, not by refusing the WebSocket, upon which they would ask again by SPDY.

use std::sync::Arc;

use api::status::Status;
use futures::{SinkExt, StreamExt};
use http::Response;
use http::header::{HeaderMap, HeaderValue, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};

use super::forward::join;
use super::tunnel::switching;
use crate::http::body::Body;
use crate::pipeline::Core;

/// The subprotocol of clients that are told so.
const PROTOCOL: &str = "v5.channel.k8s.io";

/// Its stream for how the command ended.
const ERROR_STREAM: u8 = 3;

/// The longest reason that is passed on, in bytes.
const LONGEST: usize = 64 * 1024;

/// A client that can be told on a stream.
pub(super) struct Listener(HeaderValue);

/// The client of a request, if it speaks the protocol.
pub(super) fn listener(headers: &HeaderMap) -> Option<Listener> {
    let key = headers.get(SEC_WEBSOCKET_KEY)?;
    let offered = headers.get_all(SEC_WEBSOCKET_PROTOCOL).into_iter().filter_map(|value| value.to_str().ok());
    offered.flat_map(|value| value.split(',')).find(|name| name.trim() == PROTOCOL)?;
    HeaderValue::try_from(derive_accept_key(key.as_bytes())).ok().map(Listener)
}

impl Listener {
    /// Accepts the WebSocket, and says on it what the kubelet answered instead of switching.
    pub(super) async fn tell(
        self,
        core: &Arc<Core>,
        client: OnUpgrade,
        answer: Response<Incoming>,
    ) -> Result<Response<Body>, Status> {
        let text = match Limited::new(answer.into_body(), LONGEST).collect().await {
            Ok(body) => body.to_bytes(),
            Err(err) => return Err(Status::unclassified(format!("error dialing backend: {err}"))),
        };
        let text = String::from_utf8_lossy(&text);
        let status = Status::internal(format!("unable to upgrade connection: {}", text.trim()));
        let mut message = vec![ERROR_STREAM];
        message.extend(status.to_json().to_string().into_bytes());
        join(core, async move {
            let Ok(client) = client.await else { return };
            let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(client), Role::Server, None).await;
            // The client may be gone.
            let _ = socket.send(Message::from(message)).await;
            let close = CloseFrame { code: CloseCode::Normal, reason: "".into() };
            let _ = socket.close(Some(close)).await;
            // What it still sends would reset the connection before it has read this.
            while let Some(Ok(_)) = socket.next().await {}
        })
        .await;
        Ok(switching(self.0, Some(HeaderValue::from_static(PROTOCOL))))
    }
}
