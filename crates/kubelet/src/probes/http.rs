//! HTTP requests of probes and hooks, and for manifests.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::HTTPGetAction;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::Url;

/// How much of an answer is read.
const MAX_BODY: usize = 10 * 1024;
const MAX_REDIRECTS: usize = 10;

/// One request.
#[derive(Clone, Debug)]
pub struct HttpCheck {
    https: bool,
    host: String,
    port: u16,
    path: String,
    headers: HeaderMap,
    limit: Duration,
    max_body: usize,
    /// Whether the server has to show who it is.
    verifies: bool,
}

/// No request can be made to such an address.
#[derive(Debug, thiserror::Error)]
#[error("\"{url}\" is no address of a web server: {reason}")]
pub struct InvalidUrl {
    url: String,
    reason: String,
}

/// A request that was not answered. The messages are shown to users.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The server cannot be reached.
    #[error("Get \"{url}\": dial tcp {address}: {source}")]
    Connect {
        /// What was asked for.
        url: String,
        /// Where.
        address: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The TLS handshake or the exchange failed.
    #[error("Get \"{url}\": {message}")]
    Exchange {
        /// What was asked for.
        url: String,
        /// Why it failed.
        message: String,
    },
    /// No answer in time.
    #[error("Get \"{url}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)")]
    Timeout {
        /// What was asked for.
        url: String,
    },
    /// The request cannot be made as it was asked for.
    #[error("invalid request for \"{url}\": {source}")]
    Request {
        /// What was asked for.
        url: String,
        /// What is wrong.
        source: http::Error,
    },
}

/// An answer.
#[derive(Clone, Debug)]
pub struct HttpAnswer {
    /// The status code.
    pub status: u16,
    /// The body; none where it is too large or was cut off.
    pub body: Option<Bytes>,
}

impl HttpAnswer {
    /// The body for people; what is no text is marked.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.body.as_deref().unwrap_or_default()).into_owned()
    }
}

impl HttpCheck {
    /// The request of an action, to `ip` unless the action names a host.
    pub fn new(action: &HTTPGetAction, ip: &str, port: u16, agent: &'static str, limit: Duration) -> Self {
        let mut headers = HeaderMap::new();
        for header in action.http_headers.iter().flatten() {
            let name = HeaderName::from_bytes(header.name.as_bytes());
            // The API server checks names; what HTTP cannot carry is left out.
            if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(&header.value)) {
                headers.append(name, value);
            }
        }
        headers.entry(http::header::USER_AGENT).or_insert(HeaderValue::from_static(agent));
        headers.entry(http::header::ACCEPT).or_insert(HeaderValue::from_static("*/*"));
        let path = action.path.as_deref().unwrap_or("/");
        Self {
            https: action.scheme.as_deref() == Some("HTTPS"),
            host: action.host.clone().filter(|host| !host.is_empty()).unwrap_or_else(|| ip.to_owned()),
            port,
            path: if path.starts_with('/') { path.to_owned() } else { format!("/{path}") },
            headers,
            limit,
            max_body: MAX_BODY,
            verifies: false,
        }
    }

    /// A request for what is at an address, of a server that has to show who it is.
    pub fn of_url<'a>(
        url: &str,
        headers: impl Iterator<Item = (&'a String, &'a String)>,
        limit: Duration,
        max_body: usize,
    ) -> Result<Self, InvalidUrl> {
        let fail = |reason: String| InvalidUrl { url: url.to_owned(), reason };
        let parsed = Url::parse(url).map_err(|err| fail(err.to_string()))?;
        let https = parsed.scheme() == "https";
        if !https && parsed.scheme() != "http" {
            return Err(fail("http or https is expected".to_owned()));
        }
        let host = parsed.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let mut all = HeaderMap::new();
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|err| fail(err.to_string()))?;
            all.append(name, HeaderValue::from_str(value).map_err(|err| fail(err.to_string()))?);
        }
        let path =
            parsed.query().map_or_else(|| parsed.path().to_owned(), |query| format!("{}?{query}", parsed.path()));
        let port = parsed.port_or_known_default().unwrap_or(80);
        Ok(Self { https, host, port, path, headers: all, limit, max_body, verifies: true })
    }

    fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    fn url(&self) -> String {
        format!("{}://{}{}", if self.https { "https" } else { "http" }, self.authority(), self.path)
    }
}

/// Asks, following redirects that stay on the host. Certificates of pods are not verified: the pod is what it is.
pub async fn http_get(check: &HttpCheck) -> Result<HttpAnswer, HttpError> {
    match tokio::time::timeout(check.limit, follow(check.clone())).await {
        Ok(answer) => answer,
        Err(_) => Err(HttpError::Timeout { url: check.url() }),
    }
}

async fn follow(mut check: HttpCheck) -> Result<HttpAnswer, HttpError> {
    for _ in 0..MAX_REDIRECTS {
        let (answer, location) = once(&check).await?;
        let redirect = matches!(answer.status, 301 | 302 | 303 | 307 | 308);
        let Some(target) = location.filter(|_| redirect).and_then(|location| location.parse::<Uri>().ok()) else {
            return Ok(answer);
        };
        // A redirect to elsewhere is an answer too: the probe asks this container, nobody else.
        if target.host().is_some_and(|host| host != check.host) {
            return Ok(answer);
        }
        if let Some(scheme) = target.scheme_str() {
            check.https = scheme == "https";
            check.port = target.port_u16().unwrap_or(if check.https { 443 } else { 80 });
        }
        check.path = target.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string);
    }
    Err(HttpError::Exchange { url: check.url(), message: format!("stopped after {MAX_REDIRECTS} redirects") })
}

async fn once(check: &HttpCheck) -> Result<(HttpAnswer, Option<String>), HttpError> {
    let connect = TcpStream::connect((check.host.as_str(), check.port)).await;
    let stream =
        connect.map_err(|source| HttpError::Connect { url: check.url(), address: check.authority(), source })?;
    if !check.https {
        return exchange(check, stream).await;
    }
    let failed = |message: String| HttpError::Exchange { url: check.url(), message };
    let name = ServerName::try_from(check.host.clone()).map_err(|err| failed(err.to_string()))?;
    let config = if check.verifies { verified_tls() } else { unverified_tls() };
    let config = config.map_err(|err| failed(err.to_string()))?;
    let stream = TlsConnector::from(config).connect(name, stream).await.map_err(|err| failed(err.to_string()))?;
    exchange(check, stream).await
}

async fn exchange<S>(check: &HttpCheck, stream: S) -> Result<(HttpAnswer, Option<String>), HttpError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let failed = |message: String| HttpError::Exchange { url: check.url(), message };
    let mut request = Request::get(check.path.as_str());
    if !check.headers.contains_key(http::header::HOST) {
        request = request.header(http::header::HOST, check.authority());
    }
    for (name, value) in &check.headers {
        request = request.header(name, value);
    }
    let request = request
        .header(http::header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|source| HttpError::Request { url: check.url(), source })?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|err| failed(err.to_string()))?;
    let talk = async {
        let answer = sender.send_request(request).await.map_err(|err| failed(err.to_string()))?;
        let status = answer.status().as_u16();
        let location =
            answer.headers().get(http::header::LOCATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
        // Where it says nothing to us, it is read so that the server can finish, up to a limit.
        let body = Limited::new(answer.into_body(), check.max_body).collect().await;
        Ok((HttpAnswer { status, body: body.ok().map(http_body_util::Collected::to_bytes) }, location))
    };
    // The connection has to be driven while the answer is awaited; it ends with it.
    tokio::pin!(talk);
    tokio::select! {
        biased;
        answer = &mut talk => answer,
        // A server that answers and closes at once ends the connection before the answer was looked at.
        _ = connection => talk.await,
    }
}

/// TLS with who shows a certificate that the machine trusts.
fn verified_tls() -> Result<Arc<rustls::ClientConfig>, rustls::Error> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// TLS with whoever answers, as probes are defined to.
fn unverified_tls() -> Result<Arc<rustls::ClientConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(pki::AnyPeer))
        .with_no_client_auth();
    Ok(Arc::new(config))
}
