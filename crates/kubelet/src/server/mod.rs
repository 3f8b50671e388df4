//! The node's HTTPS server: what the API server asks the kubelet, and whoever else may.

mod access;
mod configz;
mod log_file;
mod logs;
mod node_stats;
mod pods;
mod rotate;
mod stats;
mod tail;
mod tunnel;

use std::net::{SocketAddr, TcpListener as StdListener};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::Response;
use axum::routing::{any, get};
use axum::{Extension, Router};
use base::{Drain, Env, Tasks};
use edge::{Client, ConnectionLimits, Edge};
use http::{HeaderValue, Request, header};
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tower::ServiceExt;

use crate::config::Config;
use crate::context::Shared;
use access::{Access, Shown};

pub use rotate::RunningLogs;

/// How long what is being answered may take when the kubelet ends.
const GRACE: Duration = Duration::from_secs(2);

/// The server, its port taken.
pub struct Server {
    listener: StdListener,
    address: SocketAddr,
    tls: rustls::ServerConfig,
    limits: ConnectionLimits,
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
    pub fn bind(config: &Config, env: &Env) -> Result<Self, ServerError> {
        let address = SocketAddr::new(config.bind_address, config.port);
        let error = |source| ServerError::Bind { address, source };
        let tls = edge::server_config(config.serving.clone(), env)?;
        let listener = StdListener::bind(address).map_err(error)?;
        listener.set_nonblocking(true).map_err(error)?;
        let address = listener.local_addr().map_err(error)?;
        Ok(Self { listener, address, tls, limits: config.connections.clone() })
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
        let edge =
            Edge { listener, tls: Arc::new(self.tls), limits: self.limits, grace: GRACE, env: context.env.clone() };
        let serving = edge.serve(move |client| answerer(&router, &client), drain);
        tokio::pin!(serving);
        loop {
            tokio::select! {
                () = serving.as_mut() => break,
                Some((task, end)) = tasks.join_next(), if !tasks.is_empty() => {
                    if let Err(err) = end {
                        tracing::warn!(task, err = %err, "part of the kubelet's server failed");
                    }
                }
            }
        }
        for err in tasks.shutdown(GRACE).await {
            tracing::debug!(err = %err, "log rotation was cut off");
        }
    }
}

/// What answers the requests of a client.
fn answerer(router: &Router, client: &Client) -> impl Fn(Request<Incoming>) -> Answer + use<> {
    let router = router.clone().layer(Extension(Shown::new(&client.certificates)));
    move |request| {
        let answer = router.clone().oneshot(request.map(Body::new));
        Box::pin(async move { answer.await.unwrap_or_else(|never| match never {}) })
    }
}

type Answer = Pin<Box<dyn Future<Output = Response> + Send>>;

/// Nothing that containers write is to be taken for a page or a script.
async fn nosniff(mut response: Response) -> Response {
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// All that the server answers.
fn router(context: Shared, access: Arc<Access>) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok"))
        .route("/configz", get(configz::serve))
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
        .layer(map_response(nosniff))
}
