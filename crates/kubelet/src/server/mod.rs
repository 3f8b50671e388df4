//! The node's HTTPS server: what the API server asks the kubelet, and whoever else may.

mod access;
mod cadvisor;
mod checkpoint;
mod configz;
mod healthz;
mod log_file;
mod log_query;
mod logs;
mod measured;
mod pods;
mod resource_metrics;
mod rotate;
mod rotated;
mod summary;
mod system_logs;
mod tail;
mod tunnel;

use std::net::{SocketAddr, TcpListener as StdListener};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state, map_response};
use axum::response::Response;
use axum::routing::{any, get, post};
use axum::{Extension, Router};
use base::{Drain, Env, Tasks};
use edge::{Client, ConnectionLimits, Edge};
use http::{HeaderValue, Request, header};
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tower::ServiceExt;

use crate::config::Config;
use crate::context::Shared;
use crate::metrics;
use access::Access;
pub use access::AccessSettings;
use access::Shown;

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
        let tls = edge::server_config(config.serving.clone(), &config.tls, env)?;
        let listener = StdListener::bind(address).map_err(error)?;
        listener.set_nonblocking(true).map_err(error)?;
        let address = listener.local_addr().map_err(error)?;
        Ok(Self { listener, address, tls, limits: config.connections.clone() })
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Serves until the drain signal.
    async fn serve(self, context: Shared, drain: Drain) {
        let listener = match TcpListener::from_std(self.listener) {
            Ok(listener) => listener,
            Err(err) => {
                tracing::error!(err = %err, "the kubelet's server cannot run");
                return;
            }
        };
        let access = Access::new(&context.config, context.client.clone(), context.env.clone());
        let router = router(Arc::clone(&context), Arc::new(access));
        let edge =
            Edge { listener, tls: Arc::new(self.tls), limits: self.limits, grace: GRACE, env: context.env.clone() };
        edge.serve(move |client| answerer(&router, &client), drain).await;
    }
}

/// Serves until the drain signal what is to be served; also rotates the logs that are.
pub async fn run(server: Option<Server>, context: Shared, drain: Drain) {
    let mut tasks = Tasks::new();
    tasks.spawn("log rotation", rotate::run(Arc::clone(&context), drain.clone()));
    tasks.spawn("health server", healthz::run(Arc::clone(&context), drain.clone()));
    if let Some(server) = server {
        tasks.spawn("server", server.serve(Arc::clone(&context), drain.clone()));
    }
    loop {
        tokio::select! {
            () = drain.drained() => break,
            Some((task, end)) = tasks.join_next(), if !tasks.is_empty() => {
                if let Err(err) = end {
                    tracing::warn!(task, err = %err, "part of the kubelet's server failed");
                }
                // A kubelet that should be reachable and is not has to end.
                if task == "server" {
                    break;
                }
            }
        }
    }
    for err in tasks.shutdown(GRACE).await {
        tracing::debug!(err = %err, "a part of the kubelet's server was cut off");
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
    let config = &context.config;
    let debugging =
        if config.debugging_handlers { debugging() } else { refusing(DEBUGGING, "Debug endpoints are disabled.\n") };
    let logs = match (config.debugging_handlers, config.system_logs) {
        (true, true) => {
            Router::new().route("/logs/", get(system_logs::root)).route("/logs/{*path}", get(system_logs::serve))
        }
        (false, _) => refusing(&["/logs"], "Debug endpoints are disabled.\n"),
        (true, false) => refusing(&["/logs"], "logs endpoint is disabled.\n"),
    };
    Router::new()
        .merge(healthz::routes())
        .route("/configz", get(configz::serve))
        .route("/pods", get(pods::list))
        .route("/checkpoint/{namespace}/{pod}/{container}", post(checkpoint::serve))
        .route("/stats/summary", get(summary::serve))
        .route("/metrics", get(metrics))
        .route("/metrics/cadvisor", get(cadvisor::serve))
        .route("/metrics/probes", get(probe_metrics))
        .route("/metrics/slis", get(health_metrics))
        .route("/metrics/resource", get(resource_metrics::serve))
        .merge(debugging)
        .merge(logs)
        .layer(from_fn_with_state(Arc::clone(&context), measure))
        .with_state(context)
        .layer(from_fn_with_state(access, access::check))
        .layer(map_response(nosniff))
}

/// What lets people into containers and at logs.
fn debugging() -> Router<Shared> {
    Router::new()
        .route("/runningpods/", get(pods::running_list))
        .route("/containerLogs/{namespace}/{pod}/{container}", get(logs::serve))
        .route("/exec/{namespace}/{pod}/{container}", any(tunnel::exec))
        .route("/exec/{namespace}/{pod}/{uid}/{container}", any(tunnel::exec))
        .route("/attach/{namespace}/{pod}/{container}", any(tunnel::attach))
        .route("/attach/{namespace}/{pod}/{uid}/{container}", any(tunnel::attach))
        .route("/portForward/{namespace}/{pod}", any(tunnel::port_forward))
        .route("/portForward/{namespace}/{pod}/{uid}", any(tunnel::port_forward))
}

/// Where that is, for a kubelet that does not do it.
const DEBUGGING: &[&str] = &["/exec", "/attach", "/portForward", "/containerLogs", "/runningpods"];

/// Refuses everything at and below some paths.
fn refusing(paths: &[&str], message: &'static str) -> Router<Shared> {
    let refuse = async move || (StatusCode::METHOD_NOT_ALLOWED, message);
    paths.iter().fold(Router::new(), |router, path| {
        router.route(&format!("{path}/"), any(refuse)).route(&format!("{path}/{{*rest}}"), any(refuse))
    })
}

/// `/metrics`.
async fn metrics(State(context): State<Shared>) -> Response {
    metrics::scrape(&context).await
}

/// `/metrics/probes`.
async fn probe_metrics(State(context): State<Shared>) -> Response {
    context.metrics.probes()
}

/// `/metrics/slis`.
async fn health_metrics(State(context): State<Shared>) -> Response {
    context.metrics.health.page()
}

/// What may last for as long as somebody wants.
const LONG: [&str; 4] = ["exec", "attach", "portForward", "containerLogs"];

/// What is answered at once; what has another one as its beginning comes before it.
const SHORT: &[&str] = &[
    "checkpoint",
    "configz",
    "healthz",
    "logs",
    "metrics/cadvisor",
    "metrics/probes",
    "metrics/resource",
    "metrics/slis",
    "metrics",
    "pods",
    "runningpods",
    "stats/summary",
];

/// Counts a request by its method and its path.
async fn measure(State(context): State<Shared>, request: Request<Body>, next: Next) -> Response {
    let method = request.method().to_string();
    let path = counted(request.uri().path());
    let began = context.env.instant();
    let response = next.run(request).await;
    context.metrics.answered(&method, path, LONG.contains(&path), began.elapsed());
    response
}

/// The name under which a path is counted: there are no more than these.
fn counted(path: &str) -> &'static str {
    let path = path.trim_matches('/');
    let is_it = |name: &&&str| path == **name || path.strip_prefix(**name).is_some_and(|rest| rest.starts_with('/'));
    LONG.iter().chain(SHORT).find(is_it).copied().unwrap_or("other")
}
