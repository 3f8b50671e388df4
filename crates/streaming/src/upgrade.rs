//! Switching a connection from HTTP to what the client speaks.

use ::spdy::tunnel::PREFIX;
use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderMap, HeaderName, Request, Response, StatusCode};
use http_body_util::Full;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::port_forward::spdy::PROTOCOL as PORT_FORWARDING;
use super::{Session, Streaming, channels, spdy};

/// Names what is spoken on the streams of SPDY.
const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");

/// Names what could have been.
const ACCEPTED_STREAM_PROTOCOLS: HeaderName = HeaderName::from_static("x-accepted-stream-protocol-versions");

/// What is spoken after the switch.
#[derive(Clone, Copy, Debug)]
pub(super) enum Protocol {
    WebSocket(channels::Version),
    Spdy(spdy::Version),
    /// SPDY in the messages of a WebSocket; only for ports.
    Tunnel,
}

type Answer = Response<Full<Bytes>>;

/// The answer to a request, and the session that begins with it.
pub(super) fn answer<B>(streaming: &Streaming, request: &Request<B>) -> (Answer, Option<(Session, Protocol)>) {
    let mut parts = request.uri().path().trim_start_matches('/').split('/');
    let (kind, token) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    match agree(kind, request.headers()) {
        Err(refusal) => (*refusal, None),
        Ok((response, protocol)) => match streaming.tokens.take(kind, token) {
            Some(session) => (response, Some((session, protocol))),
            None => (refused(StatusCode::NOT_FOUND, "unknown or used token\n"), None),
        },
    }
}

fn agree(kind: &str, headers: &HeaderMap) -> Result<(Answer, Protocol), Box<Answer>> {
    if has_token(headers, UPGRADE, "websocket") {
        return web_socket(kind, headers);
    }
    if has_token(headers, UPGRADE, "SPDY/3.1") {
        return spdy(kind, headers);
    }
    Err(Box::new(refused(StatusCode::BAD_REQUEST, "only WebSocket and SPDY/3.1 connections are served here\n")))
}

fn web_socket(kind: &str, headers: &HeaderMap) -> Result<(Answer, Protocol), Box<Answer>> {
    let bad = |text: String| Box::new(refused(StatusCode::BAD_REQUEST, text));
    let key = headers.get(SEC_WEBSOCKET_KEY).map(|key| derive_accept_key(key.as_bytes()));
    let key = key.ok_or_else(|| bad("Sec-WebSocket-Key is missing\n".to_owned()))?;
    let tunnel = Some(format!("{PREFIX}{PORT_FORWARDING}")).filter(|_| kind == "portforward");
    let tunnel = tunnel.filter(|name| has_token(headers, SEC_WEBSOCKET_PROTOCOL, name));
    let (name, protocol) = match tunnel {
        Some(name) => (Some(name), Protocol::Tunnel),
        None => {
            let chosen = channels::Version::choose(headers.get_all(SEC_WEBSOCKET_PROTOCOL));
            let (name, version) = chosen.ok_or_else(|| {
                let spoken = channels::Version::names().join(", ");
                bad(format!("no common subprotocol; those that are spoken here: {spoken}\n"))
            })?;
            (name.map(str::to_owned), Protocol::WebSocket(version))
        }
    };
    let mut response = switching("websocket");
    let answers = [(SEC_WEBSOCKET_PROTOCOL, name), (SEC_WEBSOCKET_ACCEPT, Some(key))];
    for (header, value) in answers.into_iter().filter_map(|(header, value)| Some((header, value?))) {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(header, value);
        }
    }
    Ok((response, protocol))
}

fn spdy(kind: &str, headers: &HeaderMap) -> Result<(Answer, Protocol), Box<Answer>> {
    // The versions are of remote commands; port forwarding has one.
    let spoken = if kind == "portforward" { &[(PORT_FORWARDING, spdy::Version::Text)] } else { spdy::SPOKEN };
    let mut response = switching("SPDY/3.1");
    if !headers.contains_key(STREAM_PROTOCOL) {
        // The oldest clients name none.
        return Ok((response, Protocol::Spdy(spdy::Version::Text)));
    }
    let Some((name, version)) = spdy::choose(headers.get_all(STREAM_PROTOCOL), spoken) else {
        let names: Vec<&str> = spoken.iter().map(|(name, _)| *name).collect();
        let text = format!("unable to negotiate protocol: server accepts {names:?}\n");
        let mut refusal = refused(StatusCode::FORBIDDEN, text);
        for name in names {
            refusal.headers_mut().append(ACCEPTED_STREAM_PROTOCOLS, HeaderValue::from_static(name));
        }
        return Err(Box::new(refusal));
    };
    response.headers_mut().insert(STREAM_PROTOCOL, HeaderValue::from_static(name));
    Ok((response, Protocol::Spdy(version)))
}

fn switching(protocol: &'static str) -> Answer {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    response.headers_mut().insert(UPGRADE, HeaderValue::from_static(protocol));
    response
}

fn refused(code: StatusCode, text: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = code;
    response
}

fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case(token))
}
