//! What a machine finds out about a server before it trusts it.

use anyhow::Result;
use base::Env;
use client::Source;
use http_body_util::{BodyExt, Limited};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::client::Body;
use kube::config::{AuthInfo, Cluster, Context, Kubeconfig, NamedAuthInfo, NamedCluster, NamedContext};
use pki::{BootstrapToken, JoinToken};

use super::failure::JoinFailure;

/// How far apart the clocks may be. Certificates are backdated by more.
const SKEW: SignedDuration = SignedDuration::from_mins(10);

/// Where a server shows its authorities: those of servers, and those of clients.
pub const SERVERS: &str = "/cacerts";
pub const CLIENTS: &str = "/cacerts/client";

/// The longest text of an authority that is read from somebody who may be anybody.
const MAX_BYTES: usize = 1 << 20;

/// The authorities of a server, as far as they can be believed.
pub struct Believed {
    /// Those that the token says, or that the server has proven.
    pub named: String,
    /// All that the server has: it says so over a connection that one of these vouches for.
    pub all: String,
    /// Those of clients.
    pub clients: String,
}

/// The server's authorities, checked against the token as far as that goes.
pub async fn authority(server: &str, token: &JoinToken, env: &Env) -> Result<Believed> {
    let stranger = connect(server, None, None, env).await?;
    let shown = fetch(server, &stranger, SERVERS, env).await?;
    let named = token.check_ca(&shown).map_err(|why| JoinFailure::OtherCluster { server: server.to_owned(), why })?;
    let named = match token.bootstrap() {
        _ if token.names_ca() => named,
        // The server proves by a signature that it knows the token: with it, what it says can be believed.
        Some(bootstrap) => match signature(&stranger, bootstrap).await {
            Signature::Good(proven) => proven,
            _ => {
                let (server, id) = (server.to_owned(), bootstrap.id().to_owned());
                return Err(JoinFailure::Unproven { server, id }.into());
            }
        },
        None => {
            tracing::warn!(%server, "the token does not say which CA to expect: any server on the way is believed");
            named
        }
    };
    let known = connect(server, Some(&named), None, env).await?;
    let all = fetch(server, &known, SERVERS, env).await?;
    let clients = match fetch(server, &known, CLIENTS, env).await {
        // An older server has one authority for both.
        Err(err) if matches!(err.downcast_ref(), Some(JoinFailure::NoServer { .. })) => all.clone(),
        fetched => fetched?,
    };
    Ok(Believed { named, all, clients })
}

/// Why a server that is the right one refuses a token.
pub async fn refusal(server: &str, token: &JoinToken, client: &kube::Client) -> JoinFailure {
    let server = server.to_owned();
    let Some(token) = token.bootstrap() else { return JoinFailure::WrongToken { server } };
    let id = token.id().to_owned();
    match signature(client, token).await {
        Signature::None => JoinFailure::UnknownToken { server, id },
        Signature::Bad => JoinFailure::WrongSecret { server, id },
        Signature::Good(_) => JoinFailure::RefusedToken { server, id },
        Signature::Unreadable => JoinFailure::WrongToken { server },
    }
}

async fn fetch(server: &str, client: &kube::Client, path: &str, env: &Env) -> Result<String> {
    let unreachable = |err: &(dyn std::error::Error + 'static)| JoinFailure::Unreachable {
        server: server.to_owned(),
        reason: innermost(err),
    };
    let no_server = |answer: &str| JoinFailure::NoServer { server: server.to_owned(), answer: answer.to_owned() };
    let request = http::Request::get(path).body(Body::empty())?;
    let response = client.send(request).await.map_err(|err| unreachable(&err))?;
    let date = response.headers().get(http::header::DATE).and_then(|date| date.to_str().ok());
    if let Some(date) = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok()) {
        check_clock(env.now(), date.timestamp())?;
    }
    if !response.status().is_success() {
        return Err(no_server(&response.status().to_string()).into());
    }
    let body = Limited::new(response.into_body(), MAX_BYTES).collect().await;
    let body = body.map_err(|err| unreachable(&*err))?.to_bytes();
    match String::from_utf8(body.to_vec()).ok() {
        Some(text) if text.contains("-----BEGIN CERTIFICATE-----") => Ok(text),
        _ => Err(no_server("without a certificate").into()),
    }
}

fn check_clock(own: Timestamp, theirs: Timestamp) -> Result<(), JoinFailure> {
    let ahead = own.duration_since(theirs);
    if ahead.abs() > SKEW { Err(JoinFailure::Clock { ahead }) } else { Ok(()) }
}

/// What a token makes of the cluster's public information.
#[derive(PartialEq, Eq)]
enum Signature {
    /// It cannot be read.
    Unreadable,
    /// It is not signed by a token of that id.
    None,
    /// It is signed by another token of that id.
    Bad,
    /// It is signed by the token, and names this authority.
    Good(String),
}

async fn signature(client: &kube::Client, token: &BootstrapToken) -> Signature {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "kube-public");
    let Ok(map) = maps.get("cluster-info").await else { return Signature::Unreadable };
    let data = map.data.unwrap_or_default();
    let Some(content) = data.get("kubeconfig") else { return Signature::Unreadable };
    match data.get(&format!("jws-kubeconfig-{}", token.id())) {
        None => Signature::None,
        Some(signature) if token.has_signed(content, signature) => {
            authority_of(content).map_or(Signature::Unreadable, Signature::Good)
        }
        Some(_) => Signature::Bad,
    }
}

/// The authority that a kubeconfig names.
fn authority_of(kubeconfig: &str) -> Option<String> {
    use base64::Engine;
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig).ok()?;
    let cluster = kubeconfig.clusters.into_iter().next()?.cluster?;
    let pem = base64::prelude::BASE64_STANDARD.decode(cluster.certificate_authority_data?).ok()?;
    String::from_utf8(pem).ok()
}

/// A client over what is known so far: without an authority it trusts nothing that it reads and sends no secret.
pub async fn connect(server: &str, ca_pem: Option<&str>, token: Option<&str>, env: &Env) -> Result<kube::Client> {
    use base64::Engine;
    let cluster = Cluster {
        server: Some(server.to_owned()),
        insecure_skip_tls_verify: ca_pem.is_none().then_some(true),
        certificate_authority_data: ca_pem.map(|pem| base64::prelude::BASE64_STANDARD.encode(pem)),
        ..Cluster::default()
    };
    let user = AuthInfo { token: token.map(|token| token.to_owned().into()), ..AuthInfo::default() };
    let context = Context { cluster: "join".to_owned(), user: Some("join".to_owned()), ..Context::default() };
    let kubeconfig = Kubeconfig {
        clusters: vec![NamedCluster { name: "join".to_owned(), cluster: Some(cluster), ..NamedCluster::default() }],
        auth_infos: vec![NamedAuthInfo { name: "join".to_owned(), auth_info: Some(user), ..NamedAuthInfo::default() }],
        contexts: vec![NamedContext { name: "join".to_owned(), context: Some(context), ..NamedContext::default() }],
        current_context: Some("join".to_owned()),
        ..Kubeconfig::default()
    };
    Ok(client::connect(Source::Loaded(Box::new(kubeconfig)), "kubelet", env).await?)
}

/// The cause of all, which says what is wrong: `connection refused`.
pub fn innermost(err: &dyn std::error::Error) -> String {
    let mut err = err;
    while let Some(source) = err.source() {
        err = source;
    }
    err.to_string()
}
