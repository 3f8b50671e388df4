//! The constructors of clients.

use std::path::PathBuf;

use base::Env;
use bytes::Bytes;
use http::header::USER_AGENT;
use http::{HeaderValue, Request, Response};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Service, ServiceExt};

use crate::kubeconfig::{Taken, follow};
use crate::stack::over_https;

/// The API server's service as in-process clients call it: no socket, no TLS. The identity of the caller is attached
/// by the API server when it hands the service out.
pub type InProcessService = BoxCloneSyncService<Request<Body>, Response<UnsyncBoxBody<Bytes, BoxError>>, BoxError>;

/// Where the API server is.
pub enum Source {
    /// Behind the current context of a kubeconfig file, which is followed when it changes.
    Kubeconfig(PathBuf),
    /// At the address and with the credentials of a kubeconfig that was already read.
    Loaded(Box<Kubeconfig>),
}

/// Any tower service that speaks the Kubernetes API, as clients call it.
pub fn in_process_service<S, B>(service: S) -> InProcessService
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let service = service
        .map_response(|response: Response<B>| response.map(|body| body.map_err(Into::into).boxed_unsync()))
        .map_err(Into::into);
    BoxCloneSyncService::new(service)
}

/// A client that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig file cannot be read or parsed.
    #[error("cannot read kubeconfig {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<KubeconfigError>,
    },
    /// The kubeconfig names no usable cluster, user or context.
    #[error("kubeconfig cannot be used")]
    Use(#[source] Box<KubeconfigError>),
    /// The TLS or authentication layer cannot be set up.
    #[error("cannot set up a client")]
    Setup(#[source] Box<kube::Error>),
}

/// Makes a client for a component that comes by HTTPS. No request is sent: an API server that is not there yet shows in the first call.
///
/// The component's name stands in front of the client's `User-Agent`; the server knows by it who has written which
/// field.
///
/// Certificates end by the clock of `env`. Must be called inside a tokio runtime.
pub async fn connect(source: Source, component: &str, env: &Env) -> Result<kube::Client, ConnectError> {
    let kubeconfig = match source {
        Source::Kubeconfig(path) => return follow(path, (component, Taken::All), env).await,
        Source::Loaded(kubeconfig) => *kubeconfig,
    };
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    connect_to(config.map_err(|source| ConnectError::Use(Box::new(source)))?, component, env)
}

/// Makes a client of the API server in this process.
pub fn in_process(service: InProcessService, component: &str) -> kube::Client {
    let agent = user_agent(component);
    let service = service.map_request(move |mut request: Request<Body>| {
        request.headers_mut().insert(USER_AGENT, agent.clone());
        request
    });
    kube::Client::new(service, "default")
}

/// Makes a client that reaches the server of a kubeconfig's current context and shows it no credentials.
pub async fn connect_anonymously(
    kubeconfig: PathBuf,
    component: &str,
    env: &Env,
) -> Result<kube::Client, ConnectError> {
    follow(kubeconfig, (component, Taken::Cluster), env).await
}

/// Makes a client that shows the server the credentials of a kubeconfig's current context and acts as another user, whom
/// that context's user may impersonate.
pub async fn connect_as(
    kubeconfig: PathBuf,
    component: &str,
    user: &str,
    env: &Env,
) -> Result<kube::Client, ConnectError> {
    follow(kubeconfig, (component, Taken::As(user.to_owned())), env).await
}

fn user_agent(component: &str) -> HeaderValue {
    let text = format!("{component}/v1.35.0 ({}/{}) kubernetes/skiff", std::env::consts::OS, std::env::consts::ARCH);
    HeaderValue::try_from(text).expect("names of components are plain text")
}

pub(crate) fn connect_to(mut config: kube::Config, component: &str, env: &Env) -> Result<kube::Client, ConnectError> {
    // Another library of the process may have chosen one already; any will do.
    let _ = rustls::crypto::ring::default_provider().install_default();
    config.headers.push((USER_AGENT, user_agent(component)));
    over_https(&config, env).map_err(|source| ConnectError::Setup(Box::new(source)))
}
