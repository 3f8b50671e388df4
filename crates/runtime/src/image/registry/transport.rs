//! HTTP to one host: TLS as its settings say, patience with what passes by itself.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base::Env;
use bytes::{Bytes, BytesMut};
use http::header::RETRY_AFTER;
use http::{Method, StatusCode};
use reqwest::{Certificate, Client, Identity, RequestBuilder, Response};
use url::Url;

use super::hosts::Host;
use super::pace::{Pace, Paced};
use base::error_chain;

/// How often a request is repeated that failed for a reason that passes.
const RETRIES: u32 = 4;

/// How long to wait before the first repetition; each further one waits twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// The longest wait that a registry may ask for; one that wants more is not waited for.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// How much of a registry's words is repeated in an error.
const EXCERPT: usize = 512;

/// How long registries may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// For a connection.
    pub connect: Duration,
    /// Between one piece of an answer and the next.
    pub silence: Duration,
    /// For all pieces together.
    pub pace: Pace,
}

impl Default for Patience {
    fn default() -> Self {
        Self { connect: Duration::from_secs(20), silence: Duration::from_secs(60), pace: Pace::default() }
    }
}

/// Why a host gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    /// Certificates or keys of the settings cannot be used.
    #[error("{}: {reason}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no client.
    #[error("cannot set up a client: {0}")]
    Client(String),
    /// The conversation failed.
    #[error("{0}")]
    Http(String),
    /// It is there and says nothing, or nothing more.
    #[error("the registry is silent: {0}")]
    Silent(String),
    /// It answers, but so slowly that nothing comes of it.
    #[error("the registry is too slow: {came} bytes of {url} came within {} seconds", waited.as_secs())]
    Slow {
        /// What was asked.
        url: String,
        /// What came of it at last.
        came: u64,
        /// In how long.
        waited: Duration,
    },
    /// More came than such an answer has.
    #[error("the answer from {url} is larger than {limit} bytes")]
    TooLarge {
        /// What was asked.
        url: String,
        /// The bound.
        limit: usize,
    },
}

/// The means to speak to one host.
#[derive(Clone, Debug)]
pub(super) struct Transport {
    client: Client,
    pace: Pace,
    env: Env,
    fallback: Option<Arc<Fallback>>,
}

/// A host that may not speak TLS.
#[derive(Debug)]
struct Fallback {
    base: Url,
    /// Whether it has shown that it does not.
    is_plain: AtomicBool,
}

impl Fallback {
    /// Whether an address is of this host, and not one that it sends to.
    fn has(&self, url: &Url) -> bool {
        url.scheme() == "https"
            && (url.host(), url.port_or_known_default()) == (self.base.host(), self.base.port_or_known_default())
    }
}

impl Transport {
    pub(super) fn new(host: &Host, patience: Patience, env: Env) -> Result<Self, RequestError> {
        let mut builder = Client::builder()
            .user_agent(concat!("skiff/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(host.dial_timeout.unwrap_or(patience.connect))
            .read_timeout(patience.silence)
            .tls_danger_accept_invalid_certs(host.skip_verify);
        for path in &host.ca {
            let read = Certificate::from_pem_bundle(&read(path)?);
            builder = builder.tls_certs_merge(read.map_err(|err| invalid(path, &err))?);
        }
        for (certificate, key) in &host.client {
            let mut pem = read(certificate)?;
            if let Some(key) = key {
                pem.push(b'\n');
                pem.extend(read(key)?);
            }
            builder = builder.identity(Identity::from_pem(&pem).map_err(|err| invalid(certificate, &err))?);
        }
        let client = builder.build().map_err(|err| RequestError::Client(error_chain(&err)))?;
        let fallback = host.falls_back.then(|| Fallback { base: host.base.clone(), is_plain: AtomicBool::default() });
        Ok(Self { client, pace: patience.pace, env, fallback: fallback.map(Arc::new) })
    }

    /// A request to be filled and given to [`Transport::send`].
    pub(super) fn request(&self, method: Method, url: Url) -> RequestBuilder {
        self.client.request(method, url)
    }

    /// Sends a request, again where the answer says that it may do better later. The last answer is given whatever it is.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Response, RequestError> {
        let mut wait = FIRST_WAIT;
        for _ in 0..RETRIES {
            // A body that is a stream can be sent only once.
            let Some(again) = request.try_clone() else { break };
            let answer = self.send_once(again).await?;
            let asked = match (passes(answer.status()), retry_after(&answer)) {
                (false, _) => return Ok(answer),
                (true, Some(asked)) if asked > LONGEST_WAIT => return Ok(answer),
                (true, asked) => asked,
            };
            tracing::debug!(url = %answer.url(), status = %answer.status(), "a registry asks for patience");
            self.env.sleep(asked.unwrap_or(self.env.random().jitter(wait, 0.5))).await;
            wait *= 2;
        }
        self.send_once(request).await
    }

    async fn send_once(&self, request: RequestBuilder) -> Result<Response, RequestError> {
        let mut request = request.build().map_err(|err| failed(&err))?;
        let Some(fallback) = self.fallback.as_ref().filter(|fallback| fallback.has(request.url())) else {
            return self.client.execute(request).await.map_err(|err| failed(&err));
        };
        if !fallback.is_plain.load(Ordering::Relaxed) {
            let again = request.try_clone();
            match (self.client.execute(request).await, again) {
                (Err(err), Some(again)) if speaks_no_tls(&err) => request = again,
                (answer, _) => return answer.map_err(|err| failed(&err)),
            }
            tracing::debug!(host = %fallback.base, "a registry does not speak TLS, and is spoken to without");
            fallback.is_plain.store(true, Ordering::Relaxed);
        }
        // Between these two schemes an address can always be changed.
        let _ = request.url_mut().set_scheme("http");
        self.client.execute(request).await.map_err(|err| failed(&err))
    }

    /// An answer whose body is taken piece by piece.
    pub(super) fn paced(&self, answer: Response) -> Paced {
        Paced::new(answer, self.pace, self.env.clone())
    }

    /// The whole body of an answer that has at most `limit` bytes.
    pub(super) async fn body(&self, answer: Response, limit: usize) -> Result<Bytes, RequestError> {
        let (url, mut body) = (answer.url().to_string(), BytesMut::new());
        let mut answer = self.paced(answer);
        while let Some(chunk) = answer.chunk().await? {
            if body.len() + chunk.len() > limit {
                return Err(RequestError::TooLarge { url, limit });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }
}

/// Whether a connection failed because the other side did not answer a greeting of TLS with one of its own.
fn speaks_no_tls(err: &reqwest::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(err);
    while let Some(this) = cause {
        if matches!(this.downcast_ref(), Some(rustls::Error::InvalidMessage(_))) {
            return err.is_connect();
        }
        cause = match this.downcast_ref::<io::Error>() {
            Some(io) if matches!(io.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) => {
                return err.is_connect();
            }
            // What it wraps is not what it names as its source, but itself in other words.
            Some(io) => io.get_ref().map(|inner| inner as _),
            None => this.source(),
        };
    }
    false
}

/// Whether an answer may be another one in a while.
fn passes(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::REQUEST_TIMEOUT
            | StatusCode::TOO_MANY_REQUESTS
            | StatusCode::INTERNAL_SERVER_ERROR
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

fn retry_after(answer: &Response) -> Option<Duration> {
    let seconds = answer.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// An error as `do request: ...` with all its causes.
pub(super) fn failed(err: &reqwest::Error) -> RequestError {
    let reason = error_chain(err);
    if err.is_timeout() && !err.is_connect() { RequestError::Silent(reason) } else { RequestError::Http(reason) }
}

fn read(path: &Path) -> Result<Vec<u8>, RequestError> {
    fs::read(path).map_err(|err| RequestError::Certificate { path: path.to_owned(), reason: err.to_string() })
}

fn invalid(path: &Path, err: &reqwest::Error) -> RequestError {
    RequestError::Certificate { path: path.to_owned(), reason: error_chain(err) }
}

/// The beginning of what a registry said, on one line, with a colon before it; nothing where it said nothing.
pub(super) fn excerpt(body: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(body).split_whitespace().collect::<Vec<_>>().join(" ");
    if text.is_empty() { text } else { format!(": {}", text.chars().take(EXCERPT).collect::<String>()) }
}
