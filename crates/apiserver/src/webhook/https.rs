//! One way to ask servers over HTTPS: whom to trust, and what to show them. Its connections are kept and shared, over
//! HTTP/2 where the other side speaks it.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use base::Env;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;

use super::WebhookError;
use super::connector::Connector;
use crate::cache::Cache;

/// The longest answer that is read: a review of the largest list that fits a request, and a little.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// How much of an answer that tells of an error is shown.
const MAX_SHOWN: usize = 2048;

/// How long a connection is kept that nobody uses.
const IDLE: Duration = Duration::from_secs(90);

/// Asks servers.
#[derive(Clone)]
pub(crate) struct Https(Client<Connector, Full<Bytes>>);

impl Https {
    /// Hosts are services of the cluster in `services`, or machines without it.
    pub(crate) fn new(tls: ClientConfig, services: Option<Arc<Cache>>, env: Env) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(Connector::new(tls, services, env));
        Self(client)
    }

    /// The answer to a request, if it is a good one.
    pub(crate) async fn send(
        &self,
        request: Request<Full<Bytes>>,
        timeout: Duration,
    ) -> Result<Response<Bytes>, WebhookError> {
        let (method, url) = (request.method().clone(), request.uri().to_string());
        let exchanged = async {
            let (parts, body) = self.0.request(request).await.map_err(|err| root_cause(&err))?.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await;
            Ok(Response::from_parts(parts, body.map_err(|err| root_cause(&*err))?.to_bytes()))
        };
        let exchanged = tokio::time::timeout(timeout, exchanged).await;
        let exchanged = exchanged.unwrap_or_else(|_| Err("context deadline exceeded".to_owned()));
        let answer = exchanged.map_err(|why| WebhookError::Unreachable { method, url, why })?;
        let status = answer.status();
        if !status.is_success() {
            let body = answer.body();
            let body = String::from_utf8_lossy(&body[..body.len().min(MAX_SHOWN)]).into_owned();
            return Err(WebhookError::Status { status, body });
        }
        Ok(answer)
    }
}

/// What lies at the bottom of an error, as upstream shows it.
fn root_cause(err: &(dyn Error + 'static)) -> String {
    let mut cause = err;
    while let Some(below) = cause.source() {
        cause = below;
    }
    match cause.to_string().as_str() {
        "connection closed before message completed" => "EOF".to_owned(),
        "length limit exceeded" => format!("the answer is larger than {MAX_ANSWER} bytes"),
        other => other.to_owned(),
    }
}
