//! Accepting connections and serving what they ask for.

use std::convert::Infallible;
use std::sync::Arc;

use ::spdy::tunnel::carry;
use base::{Drain, Tasks};
use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::idle::{Activity, Watched};
use super::session::{Client, Command};
use super::upgrade::{Protocol, answer};
use super::{Session, Streaming, Streams, port_forward, session, spdy};

/// A connection that speaks WebSocket.
pub(super) type Socket = WebSocketStream<Watched<TokioIo<hyper::upgrade::Upgraded>>>;

/// Serves until `drain` fires; sessions are broken off then.
pub async fn serve(streaming: Streaming, listener: TcpListener, drain: Drain) {
    let mut sessions = Tasks::new();
    loop {
        tokio::select! {
            () = drain.drained() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => sessions.spawn("streaming connection", connection(streaming.clone(), stream)),
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

async fn connection(streaming: Streaming, stream: TcpStream) {
    let idle_timeout = streaming.idle_timeout;
    // Keystrokes go out one by one.
    let _ = stream.set_nodelay(true);
    let upgraded = Arc::new(std::sync::Mutex::new(None));
    let handed = upgraded.clone();
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let (response, accepted) = answer(&streaming, &request);
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
    let Some(((session, protocol), upgrade)) = taken else { return };
    let activity = Activity::begin();
    let upgraded = match upgrade.await {
        Ok(upgraded) => Watched::new(TokioIo::new(upgraded), activity.clone()),
        Err(err) => return tracing::debug!(%err, "a streaming connection was not upgraded"),
    };
    tokio::select! {
        () = serve_session(session, protocol, upgraded) => {}
        () = activity.idle(idle_timeout) => tracing::debug!("a streaming connection was not used any more"),
    }
}

async fn serve_session(session: Session, protocol: Protocol, upgraded: Watched<TokioIo<hyper::upgrade::Upgraded>>) {
    match protocol {
        Protocol::WebSocket(version) => {
            let socket = WebSocketStream::from_raw_socket(upgraded, Role::Server, None).await;
            match session {
                Session::PortForward(forward) => port_forward::websocket::run(&forward, socket, version).await,
                Session::Exec(command) | Session::Attach(command) => {
                    run(command, Client::WebSocket(Box::new(socket), version)).await;
                }
            }
        }
        Protocol::Spdy(version) => serve_spdy(session, version, upgraded).await,
        Protocol::Tunnel => {
            let socket = WebSocketStream::from_raw_socket(upgraded, Role::Server, None).await;
            let (inner, outer) = tokio::io::duplex(TUNNEL);
            // Either end takes the other along.
            tokio::join!(carry(socket, outer), serve_spdy(session, spdy::Version::Text, inner));
        }
    }
}

/// How much may be on its way in a tunnel.
const TUNNEL: usize = 64 * 1024;

async fn serve_spdy<T: AsyncRead + AsyncWrite>(session: Session, version: spdy::Version, transport: T) {
    let (connection, driver) = ::spdy::Connection::new(transport, ::spdy::Role::Server);
    let work = async {
        match session {
            Session::PortForward(forward) => port_forward::spdy::run(forward, connection).await,
            Session::Exec(command) | Session::Attach(command) => {
                if let Some(remote) = spdy::accept(connection, version, command.wanted).await {
                    run(command, Client::Spdy(Box::new(remote))).await;
                }
            }
        }
    };
    if let ((), Err(err)) = tokio::join!(work, driver.run()) {
        tracing::debug!(%err, "a streaming connection broke");
    }
}

/// Serves a remote command.
async fn run(command: Command, client: Client) {
    match command.start.await {
        Ok(process) => {
            session::run(client, process.streams, process.end).await;
            drop(process.keep);
        }
        Err(status) => session::run(client, Streams::default(), std::future::ready(status)).await,
    }
}
