//! One way to ask servers over HTTPS: whom to trust, and what to show them. Its connections are kept and shared, over
//! HTTP/2 where the other side speaks it.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use base::Env;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use tokio::time::Instant;
use tokio::time::error::Elapsed;

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
        let deadline = Instant::now() + timeout;
        let head = async { self.0.request(request).await.map_err(|err| root_cause(&err, "EOF")) };
        let head = tokio::time::timeout_at(deadline, head).await.unwrap_or_else(too_late);
        let (parts, body) = head.map_err(|why| WebhookError::Unreachable { method, url, why })?.into_parts();
        let body = Limited::new(body, MAX_ANSWER);
        let body = async { Ok(body.collect().await.map_err(|err| root_cause(&*err, "unexpected EOF"))?.to_bytes()) };
        let body = tokio::time::timeout_at(deadline, body).await.unwrap_or_else(too_late);
        let answer = Response::from_parts(parts, body.map_err(WebhookError::Body)?);
        let status = answer.status();
        if !status.is_success() {
            let body = answer.body();
            let body = String::from_utf8_lossy(&body[..body.len().min(MAX_SHOWN)]).into_owned();
            return Err(WebhookError::Status { status, body });
        }
        Ok(answer)
    }
}

fn too_late<T>(_: Elapsed) -> Result<T, String> {
    Err("context deadline exceeded".to_owned())
}

/// What lies at the bottom of an error, as upstream shows it; `end` is what it says of a connection that ends.
fn root_cause(err: &(dyn Error + 'static), end: &str) -> String {
    let mut cause = err;
    loop {
        if cause.downcast_ref::<io::Error>().is_some_and(|err| err.kind() == io::ErrorKind::UnexpectedEof) {
            return end.to_owned();
        }
        let Some(below) = cause.source() else { break };
        cause = below;
    }
    match cause.to_string().as_str() {
        "connection closed before message completed" => end.to_owned(),
        "length limit exceeded" => format!("the answer is larger than {MAX_ANSWER} bytes"),
        other => other.to_owned(),
    }
}
