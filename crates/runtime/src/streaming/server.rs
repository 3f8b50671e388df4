//! Accepting connections and switching them to WebSocket.

use std::convert::Infallible;
use std::sync::Arc;

use base::{Drain, Tasks};
use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::channels::Version;
use super::{Session, Streaming, attach, exec, port_forward};
use crate::engine::Engine;

/// A connection that speaks WebSocket.
pub(super) type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

/// Serves until `drain` fires; sessions are broken off then.
pub(crate) async fn serve(engine: Arc<Engine>, listener: TcpListener, drain: Drain) {
    let mut sessions = Tasks::new();
    loop {
        tokio::select! {
            () = drain.drained() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => sessions.spawn("streaming connection", connection(engine.clone(), stream)),
                Err(err) => tracing::warn!(%err, "cannot accept a streaming connection"),
            },
            Some((_, end)) = sessions.join_next(), if !sessions.is_empty() => {
                if let Err(err) = end {
                    tracing::warn!(%err, "a streaming connection failed");
                }
            }
        }
    }
}

async fn connection(engine: Arc<Engine>, stream: TcpStream) {
    let upgraded = Arc::new(std::sync::Mutex::new(None));
    let handed = upgraded.clone();
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        let (response, accepted) = answer(&engine.streaming, &mut request);
        if let Some(session) = accepted {
            *handed.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
                Some((session, hyper::upgrade::on(request)));
        }
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let served = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    if let Err(err) = served.with_upgrades().await {
        tracing::debug!(%err, "a streaming connection ended early");
        return;
    }
    let taken = upgraded.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    let Some(((session, version), upgrade)) = taken else { return };
    match upgrade.await {
        Ok(upgraded) => {
            let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
            run(session, version, socket).await;
        }
        Err(err) => tracing::debug!(%err, "a streaming connection was not upgraded"),
    }
}

async fn run(session: Session, version: Version, socket: Socket) {
    match session {
        Session::Exec { container, spec, stdout, stderr } => {
            exec::run(&container, &spec, (stdout, stderr), version, socket).await;
        }
        Session::Attach { container, stdin, stdout, stderr } => {
            attach::run(&container, attach::Wanted { stdin, stdout, stderr }, version, socket).await;
        }
        Session::PortForward { sandbox, ports } => port_forward::run(&sandbox, &ports, socket).await,
    }
}

type Accepted = (Session, Version);

fn answer(streaming: &Streaming, request: &mut Request<Incoming>) -> (Response<Full<Bytes>>, Option<Accepted>) {
    let refused = |code: StatusCode, text: &'static str| {
        let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
        *response.status_mut() = code;
        (response, None)
    };
    let headers = request.headers();
    if !has_token(headers, UPGRADE, "websocket") {
        return refused(StatusCode::BAD_REQUEST, "only WebSocket connections are served here\n");
    }
    let Some(key) = headers.get(SEC_WEBSOCKET_KEY).map(|key| derive_accept_key(key.as_bytes())) else {
        return refused(StatusCode::BAD_REQUEST, "Sec-WebSocket-Key is missing\n");
    };
    let Some((name, version)) = Version::choose(headers.get_all(SEC_WEBSOCKET_PROTOCOL)) else {
        return refused(
            StatusCode::BAD_REQUEST,
            "no common subprotocol; v5.channel.k8s.io and v4.channel.k8s.io are spoken here\n",
        );
    };
    let mut parts = request.uri().path().trim_start_matches('/').split('/');
    let (kind, token) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let Some(session) = streaming.tokens.take(kind, token) else {
        return refused(StatusCode::NOT_FOUND, "unknown or used token\n");
    };
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(name));
    if let Ok(key) = HeaderValue::from_str(&key) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, key);
    }
    (response, Some((session, version)))
}

fn has_token(headers: &HeaderMap, name: http::HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case(token))
}
