//! The HTTPS edge: TLS with optional client certificates, HTTP/1.1 and HTTP/2, graceful end, and what bounds what a
//! client can take.

mod activity;
mod crowd;
mod limits;
mod stall;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base::{Drain, Tasks};
use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

pub use limits::ConnectionLimits;
pub use tls::TlsError;
pub(crate) use tls::server_config;

use crate::access::{Peer, ShownCertificates};
use crate::http::gzip::AsIs;
use crate::pipeline::Core;
use activity::{Activity, Answered};
use crowd::{Crowd, Place};
use stall::{Patience, Stalling};

/// Where a request comes from, as an extension of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientAddress(pub(crate) SocketAddr);

/// Larger heads are refused: upstream's limit, 1 MB, is Go's.
const MAX_HEADER_BYTES: usize = 1024 * 1024;

/// So many headers a request may have. A front proxy names each group of a user in one of its own.
const MAX_HEADERS: usize = 256;

/// Silent HTTP/2 connections are asked whether they are alive, and closed without an answer.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(15);

/// How long to wait when the system has no descriptors left for connections.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What HTTP/2 is called in the handshake.
const HTTP2: &[u8] = b"h2";

/// Accepts connections until `drain`, then lets requests in flight end within `grace`.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    core: Arc<Core>,
    drain: Drain,
    grace: Duration,
) {
    let acceptor = TlsAcceptor::from(tls);
    let crowd = Crowd::new(core.config.connections.connections);
    let mut connections = Tasks::new();
    loop {
        tokio::select! {
            () = drain.drained() => break,
            ended = connections.join_next(), if !connections.is_empty() => {
                if let Some((_, Err(failure))) = ended {
                    tracing::error!(err = %failure, "connection task failed");
                }
            }
            accepted = listener.accept() => match accepted {
                Ok((stream, address)) => {
                    // Who gets no place finds the connection closed.
                    let Some(place) = crowd.join(address.ip()) else { continue };
                    let accepted = Accepted { stream, address, place };
                    let task = connection(accepted, acceptor.clone(), core.clone(), drain.clone());
                    connections.spawn(format!("connection from {address}"), task);
                }
                Err(err) => {
                    tracing::warn!(%err, "connection could not be accepted");
                    core.registry.env.sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
    drop(listener);
    for failure in connections.shutdown(grace).await {
        tracing::debug!(err = %failure, "connection was cut off at shutdown");
    }
}

/// A connection that has a place.
struct Accepted {
    stream: TcpStream,
    address: SocketAddr,
    place: Place,
}

async fn connection(accepted: Accepted, acceptor: TlsAcceptor, core: Arc<Core>, drain: Drain) {
    let Accepted { stream, address, place } = accepted;
    tokio::select! {
        () = place.lost() => tracing::debug!(%address, "connection made room for another"),
        () = serve_connection((stream, address), acceptor, core, drain) => {}
    }
}

async fn serve_connection(
    (stream, address): (TcpStream, SocketAddr),
    acceptor: TlsAcceptor,
    core: Arc<Core>,
    drain: Drain,
) {
    let limits = core.config.connections.clone();
    // Watches send small pieces that must not wait for each other.
    let _ = stream.set_nodelay(true);
    let stream = match tokio::time::timeout(limits.handshake, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(err)) => {
            tracing::debug!(%err, "TLS handshake failed");
            return;
        }
        Err(_) => return,
    };
    let tls = stream.get_ref().1;
    let peer = Peer::Tls(Arc::new(ShownCertificates::new(tls.peer_certificates().unwrap_or_default())));
    let builder = protocol(tls.alpn_protocol() == Some(HTTP2), &limits);
    let activity = Arc::new(Activity::default());
    let patience = Patience::default();
    let (requests, patient) = (activity.clone(), patience.clone());
    let service = service_fn(move |request: Request<Incoming>| {
        let ongoing = requests.begin();
        let mut request = request.map(crate::http::body::boxed);
        request.extensions_mut().insert(peer.clone());
        request.extensions_mut().insert(ClientAddress(address));
        let answer = core.clone().handle(request);
        let patient = patient.clone();
        async move {
            let answer = answer.await;
            if answer.extensions().get::<AsIs>().is_some() || answer.status() == StatusCode::SWITCHING_PROTOCOLS {
                patient.have();
            }
            Ok::<_, std::convert::Infallible>(answer.map(|body| Answered::new(body, ongoing)))
        }
    });
    let stream = TokioIo::new(Stalling::new(stream, limits.stalled, patience));
    let serving = builder.serve_connection_with_upgrades(stream, service);
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = activity.idle(limits.head, limits.idle) => {
            if activity.is_new() {
                return;
            }
            serving.as_mut().graceful_shutdown();
            serving.as_mut().await
        }
        () = drain.drained() => {
            serving.as_mut().graceful_shutdown();
            serving.as_mut().await
        }
    };
    if let Err(err) = ended {
        tracing::debug!(%err, "connection ended with an error");
    }
}

/// How a connection is spoken to. The handshake has said which protocol it is: nobody waits for what comes first.
fn protocol(is_http2: bool, limits: &ConnectionLimits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(MAX_HEADER_BYTES)
        .max_headers(MAX_HEADERS)
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(u32::try_from(MAX_HEADER_BYTES).unwrap_or(u32::MAX))
        .adaptive_window(true)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    match is_http2 {
        true => builder.http2_only(),
        false => builder.http1_only(),
    }
}
