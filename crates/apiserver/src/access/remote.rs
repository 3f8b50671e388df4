//! Servers outside of the cluster that are asked who somebody is or what he may do.

mod kubeconfig;

pub(crate) use kubeconfig::users;

use std::path::{Path, PathBuf};
use std::time::Duration;

use base::Env;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, USER_AGENT};
use http::{Method, Request, Response};
use http_body_util::Full;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::Value;
use url::Url;

use crate::webhook::TlsError;
use crate::webhook::{Credentials, Https, Shown, WebhookError, tls_config};

/// How long an answer may take whose asker does not say.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

/// How long the first pause is between two attempts, and how often is asked in all.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const ATTEMPTS: u32 = 5;

/// Why a server cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A kubeconfig does not say what it must.
    #[error("kubeconfig {}: {why}", path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A text has no authorities in it.
    #[error("no certificate of an authority")]
    NoAuthority,
    /// A certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The address is none.
    #[error("{0:?} is no https URL")]
    Url(String),
}

/// A way to ask servers: whom to trust, and what to show.
pub(crate) struct Remote {
    client: Https,
    shown: Shown,
    /// The pause after the first attempt.
    pause: Duration,
    env: Env,
}

/// An answer.
pub(super) struct Answer {
    pub(super) document: Value,
    /// How long it is good, as its `Cache-Control` says.
    pub(super) max_age: Option<Duration>,
}

fn read(path: &Path) -> Result<String, RemoteError> {
    std::fs::read_to_string(path).map_err(|source| RemoteError::Read { path: path.to_owned(), source })
}

impl Remote {
    /// Trusts the authorities in a PEM text, or without one those of this machine, and shows nothing.
    pub(super) fn trusting(pem: Option<&str>, env: Env) -> Result<Self, RemoteError> {
        Self::new(pem, Credentials { certificate: None, shown: Shown::Nothing }, env)
    }

    fn new(pem: Option<&str>, credentials: Credentials, env: Env) -> Result<Self, RemoteError> {
        if pem.is_some_and(|pem| CertificateDer::pem_slice_iter(pem.as_bytes()).next().is_none()) {
            return Err(RemoteError::NoAuthority);
        }
        let tls = tls_config(pem.unwrap_or_default().as_bytes(), credentials.certificate.as_deref(), &env)?;
        Ok(Self { client: Https::new(tls, None, env.clone()), shown: credentials.shown, pause: FIRST_PAUSE, env })
    }

    /// The same, with another pause after the first attempt.
    pub(crate) fn pausing(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }

    /// Posts a document and answers the answer's. A server that cannot answer just now is asked again a few times.
    pub(crate) async fn post(&self, url: &Url, body: &Value, timeout: Duration) -> Result<Value, WebhookError> {
        let answer = self.send(url, Bytes::from(body.to_string()), timeout).await?;
        Ok(serde_json::from_slice(&answer)?)
    }

    /// Posts a document, with as many attempts; what the answer says need be no document.
    pub(crate) async fn send(&self, url: &Url, body: Bytes, timeout: Duration) -> Result<Bytes, WebhookError> {
        let mut pause = self.pause;
        for _ in 1..ATTEMPTS {
            match self.exchange(Method::POST, url, body.clone(), timeout).await {
                Err(err) if err.is_passing() => {}
                answered => return Ok(answered?.into_body()),
            }
            // Servers that ask together shall not ask again together.
            let jitter = self.env.random().below(200);
            self.env.sleep(pause + pause * u32::try_from(jitter).unwrap_or_default() / 1000).await;
            pause = pause * 3 / 2;
        }
        Ok(self.exchange(Method::POST, url, body, timeout).await?.into_body())
    }

    /// Gets a document.
    pub(super) async fn get(&self, url: &Url) -> Result<Answer, WebhookError> {
        let answer = self.exchange(Method::GET, url, Bytes::new(), TIMEOUT).await?;
        let lifetime = answer.headers().get(CACHE_CONTROL).and_then(|value| value.to_str().ok());
        let mut parts = lifetime.into_iter().flat_map(|value| value.split(','));
        let seconds = parts.find_map(|part| part.trim().strip_prefix("max-age=")?.parse().ok());
        Ok(Answer { document: serde_json::from_slice(answer.body())?, max_age: seconds.map(Duration::from_secs) })
    }

    /// Gets a text from somebody who wants to see this token, in place of what is shown to others.
    pub(super) async fn get_text(&self, url: &Url, bearer: Option<&str>) -> Result<String, WebhookError> {
        let config = |err: &dyn std::fmt::Display| WebhookError::Config(err.to_string());
        let mut request = Request::get(url.as_str()).header(USER_AGENT, "kube-apiserver");
        if let Some(token) = bearer {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Full::default()).map_err(|err| config(&err))?;
        let answer = self.client.send(request, TIMEOUT).await?;
        String::from_utf8(answer.into_body().to_vec()).map_err(|err| config(&err))
    }

    async fn exchange(
        &self,
        method: Method,
        url: &Url,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Response<Bytes>, WebhookError> {
        let mut request = Request::builder()
            .method(method)
            .uri(url.as_str())
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json, */*")
            .header(USER_AGENT, "kube-apiserver");
        let config = |err: &dyn std::fmt::Display| WebhookError::Config(err.to_string());
        if let Some(value) = self.shown.header().await.map_err(|err| config(&err))? {
            request = request.header(AUTHORIZATION, value);
        }
        let request = request.body(Full::new(body)).map_err(|err| config(&err))?;
        self.client.send(request, timeout).await
    }
}

/// A URL whose server proves who it is.
pub(super) fn parse_url(text: &str) -> Result<Url, RemoteError> {
    let url = Url::parse(text).ok().filter(|url| url.scheme() == "https" && url.has_host());
    url.ok_or_else(|| RemoteError::Url(text.to_owned()))
}
