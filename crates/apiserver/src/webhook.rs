//! Calls to webhooks: a JSON document is posted, and another comes back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::{Method, Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::registry::Registry;

/// How long a call may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The longest answer that is read: a review of the largest list that fits a request, and a little.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// Why a webhook gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WebhookError {
    /// The service that it stands behind is not there.
    #[error("services {} not found", api::field::quote(.0))]
    NoService(String),
    /// Its configuration leads nowhere.
    #[error("invalid webhook configuration: {0}")]
    Config(String),
    /// It did not answer.
    #[error("Post {}: {why}", api::field::quote(.url))]
    Unreachable {
        /// Where the request went.
        url: String,
        /// What went wrong.
        why: String,
    },
    /// It answered that it could not.
    #[error("the server responded with the status code {0}")]
    Status(u16),
    /// It answered something else than JSON.
    #[error("invalid response: {0}")]
    Answer(#[from] serde_json::Error),
}

/// Where a request goes.
struct Target {
    url: String,
    /// The host as the certificate and the `Host` header have it.
    host: String,
    path: String,
    addresses: Vec<SocketAddr>,
    connector: TlsConnector,
}

/// Posts a document to the webhook of a client configuration (`url` or `service`, `caBundle`); answers its answer.
pub(crate) async fn post(registry: &Registry, config: &Value, body: &Value) -> Result<Value, WebhookError> {
    let target = target(registry, config).await?;
    let unreachable = |why: String| WebhookError::Unreachable { url: target.url.clone(), why };
    let (status, answer) = match tokio::time::timeout(TIMEOUT, exchange(&target, body)).await {
        Err(_) => return Err(unreachable("context deadline exceeded".to_owned())),
        Ok(answer) => answer.map_err(unreachable)?,
    };
    if status != 200 {
        return Err(WebhookError::Status(status));
    }
    Ok(serde_json::from_slice(&answer)?)
}

async fn target(registry: &Registry, config: &Value) -> Result<Target, WebhookError> {
    let connector = connector(config)?;
    if let Some(text) = config["url"].as_str() {
        let url = url::Url::parse(text).map_err(|err| WebhookError::Config(err.to_string()))?;
        let host = url.host_str().ok_or_else(|| WebhookError::Config("a URL without a host".to_owned()))?;
        let port = url.port_or_known_default().unwrap_or(443);
        let shown = format!("{text}?timeout={}s", TIMEOUT.as_secs());
        let unreachable = |why: String| WebhookError::Unreachable { url: shown.clone(), why };
        let bare = host.trim_matches(['[', ']']);
        let found = tokio::net::lookup_host((bare, port)).await;
        let addresses = found.map_err(|_| unreachable(format!("dial tcp: lookup {bare}: no such host")))?.collect();
        let path = format!("{}?timeout={}s", url.path(), TIMEOUT.as_secs());
        return Ok(Target { url: shown, host: bare.to_owned(), path, addresses, connector });
    }
    let service = &config["service"];
    let text = |field: &str| service[field].as_str().unwrap_or_default();
    let (name, namespace) = (text("name"), text("namespace"));
    let found = registry.cached_by("", "v1", "services", Some(namespace), name);
    let found = found.ok_or_else(|| WebhookError::NoService(name.to_owned()))?.value();
    let port = service["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(443);
    let host = format!("{name}.{namespace}.svc");
    let path = format!("/{}?timeout={}s", text("path").trim_start_matches('/'), TIMEOUT.as_secs());
    let ip = found.pointer("/spec/clusterIP").and_then(Value::as_str).and_then(|ip| ip.parse().ok());
    let ip = ip.ok_or_else(|| WebhookError::Config(format!("service {namespace}/{name} has no cluster IP")))?;
    let addresses = vec![SocketAddr::new(ip, port)];
    Ok(Target { url: format!("https://{host}:{port}{path}"), host, path, addresses, connector })
}

/// TLS with whoever has a certificate of the bundle's authorities.
fn connector(config: &Value) -> Result<TlsConnector, WebhookError> {
    let invalid = |why: String| WebhookError::Config(why);
    let bundle = BASE64_STANDARD.decode(config["caBundle"].as_str().unwrap_or_default());
    let bundle = bundle.map_err(|err| invalid(err.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&bundle) {
        let certificate = certificate.map_err(|err| invalid(err.to_string()))?;
        roots.add(certificate).map_err(|err| invalid(err.to_string()))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = builder.map_err(|err| invalid(err.to_string()))?.with_root_certificates(roots).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn exchange(target: &Target, body: &Value) -> Result<(u16, Bytes), String> {
    let refused = |err: &dyn std::error::Error| err.to_string();
    let stream = TcpStream::connect(&*target.addresses).await.map_err(|err| format!("dial tcp: {err}"))?;
    let name = ServerName::try_from(target.host.clone()).map_err(|err| refused(&err))?;
    let stream = target.connector.connect(name, stream).await.map_err(|err| format!("tls: {err}"))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|err| refused(&err))?;
    let request = Request::builder()
        .method(Method::POST)
        .uri(&target.path)
        .header(header::HOST, &target.host)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json, */*")
        .body(Full::new(Bytes::from(body.to_string())))
        .map_err(|err| refused(&err))?;
    let answered = async {
        let answer = sender.send_request(request).await.map_err(|err| refused(&err))?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await.map_err(|err| err.to_string())?;
        Ok((status, body.to_bytes()))
    };
    tokio::pin!(answered);
    tokio::select! {
        answered = &mut answered => answered,
        // The connection may end as soon as the answer is there.
        ended = connection => match ended {
            Ok(()) => answered.await,
            Err(err) => Err(refused(&err)),
        },
    }
}
