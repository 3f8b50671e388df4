//! The HTTPS edge: TLS with optional client certificates, HTTP/1.1 and HTTP/2, graceful end.

mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base::{Drain, Tasks};
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

pub use tls::TlsError;
pub(crate) use tls::server_config;

use crate::access::{Peer, ShownCertificates};
use crate::pipeline::Core;

/// Where a request comes from, as an extension of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientAddress(pub(crate) SocketAddr);

/// How long a client may take for its handshake, and for the head of a request.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// Larger heads are refused: upstream's limit, 1 MB, is Go's.
const MAX_HEADER_BYTES: usize = 1024 * 1024;

/// Requests that one HTTP/2 connection may have open at once; client-go puts a process's watches on one connection.
const MAX_STREAMS: u32 = 1000;

/// Silent HTTP/2 connections are asked whether they are alive, and closed without an answer.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(15);

/// How long to wait when the system has no descriptors left for connections.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections until `drain`, then lets requests in flight end within `grace`.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    core: Arc<Core>,
    drain: Drain,
    grace: Duration,
) {
    let acceptor = TlsAcceptor::from(tls);
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
                    let task = connection((stream, address), acceptor.clone(), core.clone(), drain.clone());
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

async fn connection((stream, address): (TcpStream, SocketAddr), acceptor: TlsAcceptor, core: Arc<Core>, drain: Drain) {
    // Watches send small pieces that must not wait for each other.
    let _ = stream.set_nodelay(true);
    let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(err)) => {
            tracing::debug!(%err, "TLS handshake failed");
            return;
        }
        Err(_) => return,
    };
    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let peer = Peer::Tls(Arc::new(ShownCertificates::new(certificates)));
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(crate::http::body::boxed);
        request.extensions_mut().insert(peer.clone());
        request.extensions_mut().insert(ClientAddress(address));
        let core = core.clone();
        async move { Ok::<_, std::convert::Infallible>(core.handle(request).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEADER_BYTES)
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(u32::try_from(MAX_HEADER_BYTES).unwrap_or(u32::MAX))
        .adaptive_window(true)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    let serving = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = drain.drained() => {
            serving.as_mut().graceful_shutdown();
            serving.as_mut().await
        }
    };
    if let Err(err) = ended {
        tracing::debug!(%err, "connection ended with an error");
    }
}
