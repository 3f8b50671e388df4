//! Everything that requests need, and one service for the edge and for clients in this process: a request passes the
//! [filters](crate::filters) and is handled.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use api::status::Status;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Request, Response};

use crate::access::authentication::Authenticator;
use crate::access::{Authorities, Identity, Peer};
use crate::aggregation::{self, Aggregation};
use crate::audit::{Audit, Trail};
use crate::certificates::Certificates;
use crate::config::Config;
use crate::connect::Dialer;
use crate::filters::{self, Exchange};
use crate::flowcontrol::{Limits, Seat};
use crate::handlers;
use crate::http::body::{self, Body, BoxError};
use crate::http::negotiate::Encoding;
use crate::http::output;
use crate::http::request_info::{RequestInfo, Target};
use crate::metrics::Metrics;
use crate::openapi::OpenApi;
use crate::registry::Registry;
use crate::tokens::TokenIssuer;

/// Everything that requests need.
pub(crate) struct Core {
    pub(crate) registry: Arc<Registry>,
    pub(crate) authenticator: Authenticator,
    pub(crate) authorities: Authorities,
    pub(crate) tokens: TokenIssuer,
    pub(crate) dialer: Dialer,
    pub(crate) documents: Arc<OpenApi>,
    pub(crate) aggregation: Aggregation,
    pub(crate) metrics: Metrics,
    pub(crate) limits: Limits,
    pub(crate) audit: Option<Arc<Audit>>,
    pub(crate) config: Arc<Config>,
    pub(crate) certificates: Certificates,
    pub(crate) keys: Arc<pki::ServiceAccountKeys>,
    /// Tunnels, which outlive the requests that opened them.
    pub(crate) background: tokio::sync::Mutex<base::Tasks>,
}

/// A request that may pass.
pub(crate) struct Admitted {
    pub(crate) info: Arc<RequestInfo>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) request: Request<Body>,
    /// The seat of a watch.
    pub(crate) seat: Option<Arc<Seat>>,
    /// What is kept of it in the audit log.
    pub(crate) audit: Option<Arc<Trail>>,
    /// How failures are told to the client.
    pub(crate) error_encoding: Encoding,
}

impl Core {
    /// Runs something that may outlive the request that began it, at most until the server ends.
    pub(crate) async fn spawn(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
        let mut background = self.background.lock().await;
        while let Some(Some((task, end))) = background.join_next().now_or_never() {
            if let Err(err) = end {
                tracing::warn!(%task, %err, "background task failed");
            }
        }
        background.spawn(name, future);
    }

    /// Answers a request.
    pub(crate) fn handle(self: Arc<Self>, request: Request<Body>) -> filters::Answer {
        filters::run(self, request)
    }
}

/// Handles a request that has passed all filters.
pub(crate) async fn answer(exchange: Exchange) -> Response<Body> {
    let Exchange { core, request, info, identity, seat, audit, error_encoding, .. } = exchange;
    let is_resource = matches!(info.target, Target::Resource(_));
    if is_resource || info.path.starts_with("/api") {
        core.registry.loaded().await;
    }
    let remote = core.aggregation.remote(&info.path);
    let admitted = Admitted { info, identity, request, seat, audit, error_encoding };
    let answer: BoxFuture<'static, Result<Response<Body>, Status>> = match remote {
        Some(remote) => Box::pin(aggregation::handle(core, remote, admitted)),
        None if is_resource => Box::pin(handlers::resources::handle(core, admitted)),
        None => Box::pin(handlers::paths::handle(core, admitted)),
    };
    answer.await.unwrap_or_else(|status| output::failure(error_encoding, &status))
}

/// The API as a service for a client in this process, acting as the identity that it was made with.
#[derive(Clone)]
pub struct InProcess {
    core: Arc<Core>,
    peer: Peer,
}

impl InProcess {
    pub(crate) fn new(core: Arc<Core>, identity: Identity) -> Self {
        Self { core, peer: Peer::InProcess(identity) }
    }

    /// The same service for somebody else.
    pub fn acting_as(&self, identity: Identity) -> Self {
        Self::new(self.core.clone(), identity)
    }
}

impl<B> tower::Service<Request<B>> for InProcess
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut request = request.map(body::boxed);
        request.extensions_mut().insert(self.peer.clone());
        let core = self.core.clone();
        Box::pin(async move { Ok(core.handle(request).await) })
    }
}
