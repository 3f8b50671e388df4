//! The node's HTTPS server: what the API server asks the kubelet, and whoever else may.

mod access;
mod log_file;
mod logs;
mod pods;
mod rotate;
mod stats;
mod tail;
mod tls;
mod tunnel;

use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use axum::middleware::from_fn_with_state;
use axum::routing::{any, get};
use axum::{Extension, Router};
use base::{Drain, Tasks};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::config::Config;
use crate::context::Shared;
use access::{Access, Shown};

/// How long a client may take for the TLS handshake.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// After an error of accept (out of file descriptors), before the next attempt.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// The server, its port taken.
pub struct Server {
    listener: StdListener,
    address: SocketAddr,
    acceptor: TlsAcceptor,
}

/// The server cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The port cannot be taken.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// TLS cannot be set up.
    #[error("cannot serve TLS: {0}")]
    Tls(#[from] rustls::Error),
}

impl Server {
    /// Takes the port.
    pub fn bind(config: &Config) -> Result<Self, ServerError> {
        let address = SocketAddr::new(config.bind_address, config.port);
        let error = |source| ServerError::Bind { address, source };
        let acceptor = tls::acceptor(config.serving.clone())?;
        let listener = StdListener::bind(address).map_err(error)?;
        listener.set_nonblocking(true).map_err(error)?;
        let address = listener.local_addr().map_err(error)?;
        Ok(Self { listener, address, acceptor })
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Serves until the drain signal; also rotates the logs that it serves.
    pub async fn run(self, context: Shared, drain: Drain) {
        let listener = match TcpListener::from_std(self.listener) {
            Ok(listener) => listener,
            Err(err) => {
                tracing::error!(err = %err, "the kubelet's server cannot run");
                return;
            }
        };
        let access = Access::new(&context.config, context.client.clone(), context.env.clone());
        let router = router(Arc::clone(&context), Arc::new(access));
        let mut tasks = Tasks::new();
        tasks.spawn("log rotation", rotate::run(Arc::clone(&context), drain.clone()));
        loop {
            tokio::select! {
                () = drain.drained() => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let (acceptor, router, drain) = (self.acceptor.clone(), router.clone(), drain.clone());
                        tasks.spawn("kubelet connection", serve(stream, acceptor, router, drain));
                    }
                    Err(err) => {
                        tracing::warn!(err = %err, "connection cannot be accepted");
                        context.env.sleep(ACCEPT_RETRY).await;
                    }
                },
                Some((_, end)) = tasks.join_next(), if !tasks.is_empty() => {
                    if let Err(err) = end {
                        tracing::warn!(err = %err, "connection failed");
                    }
                }
            }
        }
        for err in tasks.shutdown(Duration::from_secs(2)).await {
            tracing::debug!(err = %err, "connection was cut");
        }
    }
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, router: Router, drain: Drain) {
    // A small answer should not wait for a larger one.
    let _ = stream.set_nodelay(true);
    let stream = match tokio::time::timeout(HANDSHAKE_LIMIT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(err)) => {
            tracing::debug!(err = %err, "TLS handshake failed");
            return;
        }
        Err(_) => return,
    };
    let router = router.layer(Extension(Shown::new(stream.get_ref().1.peer_certificates().unwrap_or_default())));
    let builder = auto::Builder::new(TokioExecutor::new());
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(router));
    // An idle connection ends with the drain; a log that is followed ends with its client.
    if let Some(Err(err)) = drain.until(connection).await {
        tracing::debug!(err = %err, "connection ended");
    }
}

/// All that the server answers.
fn router(context: Shared, access: Arc<Access>) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok"))
        .route("/pods", get(pods::list))
        .route("/containerLogs/{namespace}/{pod}/{container}", get(logs::serve))
        .route("/exec/{namespace}/{pod}/{container}", any(tunnel::exec))
        .route("/exec/{namespace}/{pod}/{uid}/{container}", any(tunnel::exec))
        .route("/attach/{namespace}/{pod}/{container}", any(tunnel::attach))
        .route("/attach/{namespace}/{pod}/{uid}/{container}", any(tunnel::attach))
        .route("/portForward/{namespace}/{pod}", any(tunnel::port_forward))
        .route("/portForward/{namespace}/{pod}/{uid}", any(tunnel::port_forward))
        .route("/stats/summary", get(stats::summary))
        .route("/metrics/resource", get(stats::resource_metrics))
        .with_state(context)
        .layer(from_fn_with_state(access, access::check))
}
