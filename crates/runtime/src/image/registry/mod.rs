//! The client of registries: OCI's distribution specification, which is Docker's registry API too.
//!
//! A [`Registry`] is a conversation about one repository, with all hosts that serve it: [`hosts`] says which those are,
//! `auth` shows them who one is, `transport` speaks to one of them.

mod auth;
mod challenge;
mod hosts;
mod pace;
mod push;
mod transport;

#[cfg(test)]
pub(super) mod fake;

use std::path::PathBuf;

use base::Env;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use http::{Method, StatusCode};
use reqwest::{RequestBuilder, Response};
use serde::Deserialize;
use url::Url;

use super::{Digest, Reference};
use auth::{Authorizer, TokenError};
use challenge::challenges;
use hosts::{Capability, Host, HostsError};
use pace::Paced;
use transport::{RequestError, Transport, excerpt};

pub(crate) use auth::Credentials;
#[cfg(test)]
pub(super) use pace::Pace;
pub(crate) use transport::Patience;

/// The largest manifest or index that is taken; real ones have a few kilobytes.
const MAX_MANIFEST: usize = 8 << 20;

/// The largest error that is read.
const MAX_ERROR: usize = 64 << 10;

/// How often a host may ask for credentials within one request: once, and once more when what was known has ended.
const CHALLENGES: usize = 2;

/// What a manifest or an index of them may be.
pub(crate) const MANIFEST_TYPES: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// How registries are reached.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The directory of mirrors, authorities and the like; see [`hosts`].
    pub hosts_dir: PathBuf,
    /// How long they may take.
    pub patience: Patience,
}

/// Why a registry did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RegistryError {
    /// The settings cannot be used.
    #[error(transparent)]
    Hosts(#[from] HostsError),
    /// No host of the settings is for this.
    #[error("no host in the settings of registry {0} may be asked for this")]
    NoHost(String),
    /// A host could not be asked.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// There is no token for it.
    #[error("authorization failed: {0}")]
    Token(#[from] TokenError),
    /// It is not there.
    #[error("not found")]
    NotFound,
    /// Not for this user.
    #[error("unexpected status from {method} request to {url}: {status}{said}")]
    Denied {
        /// What was done.
        method: Method,
        /// To what.
        url: String,
        /// What was answered.
        status: StatusCode,
        /// In words, if there were any.
        said: String,
    },
    /// Something else.
    #[error("unexpected status from {method} request to {url}: {status}{said}")]
    Status {
        /// What was done.
        method: Method,
        /// To what.
        url: String,
        /// What was answered.
        status: StatusCode,
        /// In words, if there were any.
        said: String,
    },
    /// It is not what was asked for.
    #[error("the registry sent a manifest with digest {actual}, expected {expected}")]
    Mismatch {
        /// What was asked for.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// The answer is not as the specification has it.
    #[error("unexpected answer to {method} request to {url}: {reason}")]
    Answer {
        /// What was done.
        method: Method,
        /// To what.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl RegistryError {
    /// Whether it is about who asks.
    pub(crate) fn is_denial(&self) -> bool {
        match self {
            Self::Denied { .. } => true,
            Self::Token(err) => err.is_refusal(),
            _ => false,
        }
    }

    /// Whether the same may do better in a while.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Request(RequestError::Http(_) | RequestError::Silent(_)) => true,
            Self::Status { status, .. } => status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS,
            _ => false,
        }
    }

    /// Whether it took a long time to find out.
    pub(crate) fn is_silence(&self) -> bool {
        matches!(self, Self::Request(RequestError::Silent(_)))
    }
}

/// A manifest or an index of them, as a registry sent it.
#[derive(Debug)]
pub(crate) struct Document {
    /// The text, whose digest is its name.
    pub bytes: Bytes,
    /// What the registry says that it is.
    pub media_type: String,
}

/// A blob on its way.
#[derive(Debug)]
pub(crate) struct BlobStream {
    /// Where in the blob it begins.
    pub offset: u64,
    /// What is left of it, if the registry says so.
    pub length: Option<u64>,
    answer: Paced,
}

impl BlobStream {
    /// The next piece; `None` at the end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, RegistryError> {
        Ok(self.answer.chunk().await?)
    }
}

/// The hosts that serve one repository.
#[derive(Debug)]
pub(crate) struct Registry {
    reference: Reference,
    hosts: Vec<Api>,
}

/// The API of one host.
#[derive(Debug)]
struct Api {
    host: Host,
    transport: Transport,
    authorizer: Authorizer,
    /// The registry for which a mirror is asked.
    mirrors: Option<String>,
}

impl Registry {
    /// A conversation about the repository of `reference`, by who has this `auth`.
    pub(crate) fn open(
        settings: &Settings,
        reference: &Reference,
        auth: Option<&cri::AuthConfig>,
        env: &Env,
    ) -> Result<Self, RegistryError> {
        let mut apis = Vec::new();
        for host in hosts::hosts(&settings.hosts_dir, reference.registry())? {
            // A mirror is another party: it gets credentials only if they are said to be its own.
            let for_host = auth.filter(|auth| !host.mirror || is_address_of(&auth.server_address, &host));
            let credentials = for_host.map(Credentials::new).unwrap_or_default();
            let transport = Transport::new(&host, settings.patience, env.clone())?;
            let mirrors = host.mirror.then(|| reference.registry().to_owned());
            apis.push(Api { host, transport, authorizer: Authorizer::new(credentials, env.clone()), mirrors });
        }
        Ok(Self { reference: reference.clone(), hosts: apis })
    }

    /// The manifest or index that the repository has under a tag or, checked, under a digest.
    pub(crate) async fn manifest(&self, digest: Option<&Digest>) -> Result<Document, RegistryError> {
        let capability = if digest.is_some() { Capability::Pull } else { Capability::Resolve };
        let name = digest.map(Digest::as_str).or(self.reference.tag()).unwrap_or_default();
        let mut failure = RegistryError::NoHost(self.reference.registry().to_owned());
        for api in self.hosts.iter().filter(|api| api.host.can(capability)) {
            match api.manifest(self.reference.repository(), name, digest).await {
                Ok(document) => return Ok(document),
                Err(err) => {
                    tracing::debug!(host = api.host.name(), image = %self.reference, %err, "no manifest from a host");
                    failure = err;
                }
            }
        }
        Err(failure)
    }

    /// A blob from `offset` on, of the first host that gives it.
    pub(crate) async fn blob(&self, digest: &Digest, offset: u64) -> Result<BlobStream, RegistryError> {
        let mut failure = RegistryError::NoHost(self.reference.registry().to_owned());
        for api in self.hosts.iter().filter(|api| api.host.can(Capability::Pull)) {
            match api.blob(self.reference.repository(), digest, offset).await {
                Ok(blob) => return Ok(blob),
                Err(err) => {
                    tracing::debug!(host = api.host.name(), %digest, %err, "no blob from a host");
                    failure = err;
                }
            }
        }
        Err(failure)
    }
}

/// Whether credentials name this host as theirs.
fn is_address_of(address: &str, host: &Host) -> bool {
    let address = address.trim_start_matches("https://").trim_start_matches("http://");
    !address.is_empty() && address.split('/').next() == Some(host.name().as_str())
}

/// What a token has to be for.
fn scope(repository: &str, actions: &str) -> String {
    format!("repository:{repository}:{actions}")
}

impl Api {
    /// The address of something in a repository.
    fn url(&self, repository: &str, rest: &str) -> Url {
        let mut url = self.host.base.clone();
        url.set_path(&format!("{}/{repository}/{rest}", url.path().trim_end_matches('/')));
        if let Some(registry) = &self.mirrors {
            url.query_pairs_mut().append_pair("ns", registry);
        }
        url
    }

    /// Sends what `make` makes, with what it takes to be let in.
    async fn call(&self, scope: &str, make: impl Fn(&Transport) -> RequestBuilder) -> Result<Response, RegistryError> {
        for _ in 0..CHALLENGES {
            let answer = self.send(scope, make(&self.transport)).await?;
            if answer.status() != StatusCode::UNAUTHORIZED {
                return Ok(answer);
            }
            let challenges = challenges(answer.headers());
            if challenges.is_empty() || !self.authorizer.answer(&self.transport, &challenges, scope).await? {
                return Ok(answer);
            }
        }
        self.send(scope, make(&self.transport)).await
    }

    async fn send(&self, scope: &str, request: RequestBuilder) -> Result<Response, RegistryError> {
        let mut request = request.headers(self.host.headers.clone());
        if let Some(authorization) = self.authorizer.header(scope) {
            request = request.header(AUTHORIZATION, authorization);
        }
        Ok(self.transport.send(request).await?)
    }

    async fn manifest(&self, repository: &str, name: &str, digest: Option<&Digest>) -> Result<Document, RegistryError> {
        let url = self.url(repository, &format!("manifests/{name}"));
        let get = |transport: &Transport| {
            transport.request(Method::GET, url.clone()).header(ACCEPT, MANIFEST_TYPES.join(", "))
        };
        let answer = self.call(&scope(repository, "pull"), get).await?;
        let answer = self.expect(Method::GET, &[StatusCode::OK], answer).await?;
        let media_type = answer.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type = media_type.unwrap_or_default().to_owned();
        let bytes = self.transport.body(answer, MAX_MANIFEST).await?;
        if let Some(expected) = digest {
            let actual = Digest::by(expected.algorithm(), &bytes);
            if actual != *expected {
                return Err(RegistryError::Mismatch { expected: expected.clone(), actual });
            }
        }
        Ok(Document { bytes, media_type })
    }

    async fn blob(&self, repository: &str, digest: &Digest, offset: u64) -> Result<BlobStream, RegistryError> {
        let url = self.url(repository, &format!("blobs/{digest}"));
        let get = |transport: &Transport| {
            let request = transport.request(Method::GET, url.clone());
            if offset > 0 { request.header(RANGE, format!("bytes={offset}-")) } else { request }
        };
        let answer = self.call(&scope(repository, "pull"), get).await?;
        let statuses = [StatusCode::OK, StatusCode::PARTIAL_CONTENT, StatusCode::RANGE_NOT_SATISFIABLE];
        let answer = self.expect(Method::GET, &statuses, answer).await?;
        let offset = match answer.status() {
            StatusCode::PARTIAL_CONTENT => {
                let range = answer.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
                let begins = range.and_then(range_start);
                begins.filter(|begins| *begins <= offset).ok_or_else(|| RegistryError::Answer {
                    method: Method::GET,
                    url: url.to_string(),
                    reason: format!("asked for bytes from {offset} on, got {}", range.unwrap_or("an unnamed part")),
                })?
            }
            // What is here is as long as the blob, or longer: nothing more comes, and its digest tells.
            StatusCode::RANGE_NOT_SATISFIABLE => {
                return Ok(BlobStream { offset, length: Some(0), answer: self.transport.paced(empty()) });
            }
            _ => 0,
        };
        Ok(BlobStream { offset, length: answer.content_length(), answer: self.transport.paced(answer) })
    }

    /// The answer, if it has one of these statuses.
    async fn expect(
        &self,
        method: Method,
        statuses: &[StatusCode],
        answer: Response,
    ) -> Result<Response, RegistryError> {
        let (status, url) = (answer.status(), answer.url().to_string());
        if statuses.contains(&status) {
            return Ok(answer);
        }
        let said = said(&self.transport.body(answer, MAX_ERROR).await.unwrap_or_default());
        match status {
            StatusCode::NOT_FOUND => Err(RegistryError::NotFound),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(RegistryError::Denied { method, url, status, said })
            }
            _ => Err(RegistryError::Status { method, url, status, said }),
        }
    }
}

/// The first byte in `bytes 5-9/10`.
fn range_start(range: &str) -> Option<u64> {
    range.trim().strip_prefix("bytes")?.trim_start().split('-').next()?.trim().parse().ok()
}

fn empty() -> Response {
    http::Response::new(Bytes::new()).into()
}

/// What a registry says of an error: its list of them, or the text itself.
fn said(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<Error>,
    }
    #[derive(Deserialize)]
    struct Error {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    match serde_json::from_slice::<Errors>(body) {
        Ok(list) if !list.errors.is_empty() => {
            let texts: Vec<String> = list.errors.iter().map(|err| format!("{}: {}", err.code, err.message)).collect();
            excerpt(texts.join(", ").as_bytes())
        }
        _ => excerpt(body),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_in_words() {
        assert_eq!(said(br#"{"errors":[{"code":"DENIED","message":"no","detail":{}}]}"#), ": DENIED: no");
        assert_eq!(said(b"<html>\n oops </html>"), ": <html> oops </html>");
        assert_eq!(said(b""), "");
    }

    #[test]
    fn ranges_are_read() {
        assert_eq!(range_start("bytes 5-9/10"), Some(5));
        assert_eq!(range_start("bytes */10"), None);
        assert_eq!(range_start("items 5-9/10"), None);
    }
}
