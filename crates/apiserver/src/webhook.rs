//! Calls to webhooks: a JSON document is posted, and another comes back.
//!
//! One client for all of them: conversion of custom resources, admission, and servers outside of the cluster that know
//! who somebody is and what he may do.

mod connector;
mod credentials;
mod https;
mod tls;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::field::quote;
use base::Env;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::{Method, Request, StatusCode, header};
use http_body_util::Full;
use hyper::body::Bytes;
use serde_json::Value;
use url::Url;

use crate::cache::Cache;
use credentials::ClientCertificate;
pub(crate) use credentials::{Credentials, Shown, Users};
pub(crate) use https::Https;
pub use tls::TlsError;
pub(crate) use tls::config as tls_config;

/// How many kinds of connections are remembered: those with other authorities differ.
const MAX_CLIENTS: usize = 256;

/// Why a webhook gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WebhookError {
    /// Its configuration leads nowhere.
    #[error("invalid webhook configuration: {0}")]
    Config(String),
    /// It did not answer.
    #[error("{} {}: {why}", verb(.method), quote(.url))]
    Unreachable {
        /// How it was asked.
        method: Method,
        /// Where the request went.
        url: String,
        /// What went wrong.
        why: String,
    },
    /// Its answer could not be read to its end.
    #[error("unexpected error when reading response body. Please retry. Original error: {0}")]
    Body(String),
    /// It answered that it could not.
    #[error("{}", refusal(*.status, .body))]
    Status {
        /// The status of the answer.
        status: StatusCode,
        /// The beginning of its body.
        body: String,
    },
    /// It answered something else than JSON.
    #[error("couldn't get version/kind; json parse error: {0}")]
    Answer(#[from] serde_json::Error),
}

impl WebhookError {
    /// Whether it may go well when asked again a little later.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { why, .. } | Self::Body(why) => {
                why.contains("reset") || why.contains("EOF") || why.contains("broken pipe")
            }
            Self::Status { status, .. } => matches!(status.as_u16(), 429 | 500 | 504),
            Self::Config(_) | Self::Answer(_) => false,
        }
    }
}

/// A method as Go's client writes it.
fn verb(method: &Method) -> &'static str {
    if method == Method::GET { "Get" } else { "Post" }
}

/// What upstream's client says of an answer that is an error.
fn refusal(status: StatusCode, body: &str) -> String {
    if let Ok(answer) = serde_json::from_str::<Value>(body)
        && let Some(message) = answer["message"].as_str().filter(|_| answer["kind"] == "Status")
    {
        return message.to_owned();
    }
    match status.as_u16() {
        400 => "the server rejected our request for an unknown reason".to_owned(),
        401 => "the server has asked for the client to provide credentials".to_owned(),
        403 => body.trim().to_owned(),
        404 => "the server could not find the requested resource".to_owned(),
        405 => "the server does not allow this method on the requested resource".to_owned(),
        429 => "the server has received too many requests and has asked us to try again later".to_owned(),
        503 => "the server is currently unable to handle the request".to_owned(),
        504 => "the server was unable to return a response in the time allotted, but may still be processing the \
                request"
            .to_owned(),
        code if code >= 500 => {
            format!("an error on the server ({}) has prevented the request from succeeding", quote(body.trim()))
        }
        code => format!("the server responded with the status code {code} but did not return more information"),
    }
}

/// How the host of a URL is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Lookup {
    /// By the machine's resolver.
    Dns,
    /// It is a service of this cluster: `name.namespace.svc`.
    Service,
}

/// What connections have in common: how hosts are found, which authorities they are trusted by, and which certificate
/// they are shown.
type Key = (Lookup, String, Option<Arc<ClientCertificate>>);

/// Calls webhooks.
pub(crate) struct Webhooks {
    cache: Arc<Cache>,
    env: Env,
    clients: Mutex<HashMap<Key, Https>>,
}

impl Webhooks {
    /// A client that finds services in a cache.
    pub(crate) fn new(cache: Arc<Cache>, env: Env) -> Self {
        Self { cache, env, clients: Mutex::default() }
    }

    /// Posts a document to the webhook of a client configuration (`url` or `service`, `caBundle`) as the user that is for
    /// its host; answers its answer.
    pub(crate) async fn post(
        &self,
        config: &Value,
        users: &Users,
        timeout: Duration,
        body: Bytes,
    ) -> Result<Value, WebhookError> {
        let wrong = |err: &dyn std::fmt::Display| WebhookError::Config(err.to_string());
        let Target { lookup, url, host, port } = target(config, timeout)?;
        let user = users.find(&host, port);
        let certificate = user.and_then(|user| user.certificate.clone());
        let client = self.client(lookup, config["caBundle"].as_str().unwrap_or_default(), certificate)?;
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(&url)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, */*")
            .header(header::USER_AGENT, "kube-apiserver-admission");
        if let Some(user) = user
            && let Some(value) = user.shown.header().await.map_err(|err| wrong(&err))?
        {
            request = request.header(header::AUTHORIZATION, value);
        }
        let request = request.body(Full::new(body)).map_err(|err| wrong(&err))?;
        Ok(serde_json::from_slice(client.send(request, timeout).await?.body())?)
    }

    fn client(
        &self,
        lookup: Lookup,
        ca_bundle: &str,
        certificate: Option<Arc<ClientCertificate>>,
    ) -> Result<Https, WebhookError> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (lookup, ca_bundle.to_owned(), certificate);
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let bundle = BASE64_STANDARD.decode(ca_bundle).map_err(|err| WebhookError::Config(err.to_string()))?;
        let tls = tls_config(&bundle, key.2.as_deref(), &self.env);
        let mut tls = tls.map_err(|err| WebhookError::Config(err.to_string()))?;
        // Over HTTP/2 all requests would share one connection, and so go to one of the service's endpoints.
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let services = (lookup == Lookup::Service).then(|| self.cache.clone());
        let client = Https::new(tls, services, self.env.clone());
        if clients.len() >= MAX_CLIENTS {
            clients.clear();
        }
        clients.insert(key, client.clone());
        Ok(client)
    }
}

/// Where a request goes.
struct Target {
    lookup: Lookup,
    /// As it is shown: with the port of a service, whichever it is.
    url: String,
    host: String,
    port: u16,
}

/// Where a configuration leads, with the time that the other side has.
fn target(config: &Value, timeout: Duration) -> Result<Target, WebhookError> {
    let seconds = timeout.as_secs();
    if let Some(text) = config["url"].as_str() {
        let mut url = Url::parse(text).map_err(|err| WebhookError::Config(err.to_string()))?;
        if url.scheme() != "https" {
            return Err(WebhookError::Config(format!("the scheme of {} is not https", quote(text))));
        }
        url.query_pairs_mut().append_pair("timeout", &format!("{seconds}s"));
        let host = url.host_str().unwrap_or_default().to_owned();
        let port = url.port_or_known_default().unwrap_or(443);
        return Ok(Target { lookup: Lookup::Dns, url: url.into(), host, port });
    }
    let service = &config["service"];
    let text = |field: &str| service[field].as_str().unwrap_or_default();
    let port = service["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(443);
    let host = format!("{}.{}.svc", text("name"), text("namespace"));
    let url = format!("https://{host}:{port}/{}?timeout={seconds}s", text("path").trim_start_matches('/'));
    Ok(Target { lookup: Lookup::Service, url, host, port })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check_target(config: Value, expected: &str) {
        let found = target(&config, Duration::from_secs(10)).map(|target| target.url).map_err(|err| err.to_string());
        assert_eq!(found.unwrap_or_else(|err| err), expected);
    }

    #[test]
    fn webhooks_are_named_by_url_or_service() {
        check_target(json!({"url": "https://hooks.example.com/a"}), "https://hooks.example.com/a?timeout=10s");
        check_target(json!({"url": "https://[::1]:9443"}), "https://[::1]:9443/?timeout=10s");
        let service = json!({"service": {"name": "hooks", "namespace": "kube-system"}});
        check_target(service, "https://hooks.kube-system.svc:443/?timeout=10s");
        let service = json!({"service": {"name": "hooks", "namespace": "a", "port": 8443, "path": "/mutate"}});
        check_target(service, "https://hooks.a.svc:8443/mutate?timeout=10s");
        let why = "invalid webhook configuration: the scheme of \"http://a\" is not https";
        check_target(json!({"url": "http://a"}), why);
    }

    #[track_caller]
    fn check_refusal(status: u16, body: &str, expected: &str) {
        let status = StatusCode::from_u16(status).expect("a status");
        assert_eq!(refusal(status, body), expected);
    }

    #[test]
    fn errors_of_webhooks_are_told_in_upstreams_words() {
        check_refusal(404, "404 page not found", "the server could not find the requested resource");
        let why = "an error on the server (\"boom\") has prevented the request from succeeding";
        check_refusal(500, "boom\n", why);
        check_refusal(409, r#"{"kind": "Status", "message": "told"}"#, "told");
        let why = "the server responded with the status code 302 but did not return more information";
        check_refusal(302, "", why);
    }
}
