//! Accepting connections and serving what they ask for.

use std::convert::Infallible;
use std::sync::Arc;

use base::{Drain, Tasks};
use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::idle::{Activity, Watched};
use super::session::{Client, Wanted};
use super::upgrade::{Protocol, answer};
use super::{Session, attach, exec, port_forward, spdy};
use crate::engine::Engine;

/// A connection that speaks WebSocket.
pub(super) type Socket = WebSocketStream<Watched<TokioIo<hyper::upgrade::Upgraded>>>;

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
    let idle_timeout = engine.streaming.idle_timeout;
    // Keystrokes go out one by one.
    let _ = stream.set_nodelay(true);
    let upgraded = Arc::new(std::sync::Mutex::new(None));
    let handed = upgraded.clone();
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let (response, accepted) = answer(&engine.streaming, &request);
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
            if let Session::PortForward { sandbox, ports } = session {
                return port_forward::websocket::run(&sandbox, &ports, socket, version).await;
            }
            run(session, Client::WebSocket(Box::new(socket), version)).await;
        }
        Protocol::Spdy(version) => {
            let (connection, driver) = ::spdy::Connection::new(upgraded, ::spdy::Role::Server);
            let work = async {
                if let Session::PortForward { sandbox, .. } = session {
                    port_forward::spdy::run(&sandbox, connection).await;
                } else if let Some(remote) = spdy::accept(connection, version, session.wanted()).await {
                    run(session, Client::Spdy(Box::new(remote))).await;
                }
            };
            if let ((), Err(err)) = tokio::join!(work, driver.run()) {
                tracing::debug!(%err, "a streaming connection broke");
            }
        }
    }
}

/// Serves a remote command.
async fn run(session: Session, client: Client) {
    let wanted = session.wanted();
    match session {
        Session::Exec { container, spec, .. } => exec::run(&container, &spec, wanted, client).await,
        Session::Attach { container, .. } => attach::run(&container, wanted, client).await,
        // Its clients are served before they come here.
        Session::PortForward { .. } => {}
    }
}

impl Session {
    fn wanted(&self) -> Wanted {
        match *self {
            Self::Exec { ref spec, stdout, stderr, .. } => Wanted { stdin: spec.stdin, stdout, stderr },
            Self::Attach { stdin, stdout, stderr, .. } => Wanted { stdin, stdout, stderr },
            Self::PortForward { .. } => Wanted { stdin: false, stdout: false, stderr: false },
        }
    }
}
