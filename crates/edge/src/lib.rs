//! The HTTPS edge of a server, before it knows who its clients are: TLS with optional client certificates, HTTP/1.1 and
//! HTTP/2, graceful end, and what bounds what a client can take.

mod activity;
mod answers;
mod connection;
mod crowd;
mod limits;
mod stall;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base::{Drain, Env, Tasks};
use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use rustls_pki_types::CertificateDer;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use connection::Accepted;
pub use crowd::{Crowd, Place};
pub use limits::ConnectionLimits;
pub use tls::{TlsSettings, TlsSettingsError, server_config};

/// How long to wait when the system has no descriptors left for connections.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Any error.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Who has connected.
#[derive(Debug)]
pub struct Client {
    /// Where the connection comes from.
    pub address: SocketAddr,
    /// The certificates that were shown for it, its own first; nothing says yet that they are good.
    pub certificates: Vec<CertificateDer<'static>>,
}

/// Marks an answer, as an extension of it, that passes on what somebody else has to say: its reader may stand still for
/// as long as it likes, and whoever speaks waits.
#[derive(Clone, Copy, Debug)]
pub struct PassedOn;

/// A listener with all that bounds its clients.
pub struct Edge {
    /// Where clients connect.
    pub listener: TcpListener,
    /// What [`server_config`] has made.
    pub tls: Arc<rustls::ServerConfig>,
    /// What clients get.
    pub limits: ConnectionLimits,
    /// How long requests in flight may take after the drain signal.
    pub grace: Duration,
    /// The clock.
    pub env: Env,
}

impl Edge {
    /// Accepts connections until `drain`, then lets requests in flight end. `welcome` is called for each client, and
    /// what it returns for each of that one's requests.
    pub async fn serve<W, S, A, B>(self, welcome: W, drain: Drain)
    where
        W: Fn(Client) -> S + Clone + Send + 'static,
        S: Fn(Request<Incoming>) -> A + Send + 'static,
        A: Future<Output = Response<B>> + Send + 'static,
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        let Self { listener, tls, limits, grace, env } = self;
        let acceptor = TlsAcceptor::from(tls);
        let crowd = Crowd::new(limits.connections);
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
                        let accepted = Accepted { stream, address, acceptor: acceptor.clone(), limits: limits.clone() };
                        let serving = accepted.serve(welcome.clone(), drain.clone());
                        connections.spawn(format!("connection from {address}"), async move {
                            tokio::select! {
                                () = place.lost() => tracing::debug!(%address, "connection made room for another"),
                                () = serving => {}
                            }
                        });
                    }
                    Err(err) => {
                        tracing::warn!(%err, "connection could not be accepted");
                        env.sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        }
        drop(listener);
        for failure in connections.shutdown(grace).await {
            tracing::debug!(err = %failure, "connection was cut off at shutdown");
        }
    }
}
