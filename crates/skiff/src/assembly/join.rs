//! How an agent gets into a cluster: from a join token to a certificate of its own.
//!
//! The token says which authority to expect; the server's answer on `/cacerts` is checked against it before anything
//! is sent that must stay secret. With the token the agent may only ask for a certificate by a
//! CertificateSigningRequest; what it gets is kept, and asked for anew when it is near its end.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use base::Env;
use client::Source;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use kube::config::{AuthInfo, Cluster, Context as KubeContext, Kubeconfig, NamedAuthInfo, NamedCluster, NamedContext};
use kube::runtime::wait::await_condition;
use pki::{JoinToken, KeyPairPem, SigningRequest};

/// Signs client certificates of kubelets.
const SIGNER: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// How long the agent waits for its certificate before it asks again.
const PATIENCE: Duration = Duration::from_secs(30);
/// The first and the longest pause between two tries.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// A node's credentials: the kubeconfig to reach the server with, and the cluster's authority.
pub struct Joined {
    pub kubeconfig: std::path::PathBuf,
    pub ca_pem: String,
}

/// Joins the cluster of `server` as `node`, or finds that this machine has joined before. Retries until it works.
pub async fn join(dir: &Path, server: &str, token: &str, node: &str, env: &Env) -> Result<Joined> {
    let token = JoinToken::parse(token).context("--token")?;
    let (ca_file, kubeconfig) = (dir.join("ca.crt"), dir.join("kubelet.kubeconfig"));
    let kept = read_if_there(&ca_file)?;
    if let Some(kept) = &kept {
        token.check_ca(kept).with_context(|| {
            format!(
                "{} belongs to another cluster; use another --data-dir, or remove it with `skiff down --purge`",
                dir.display()
            )
        })?;
        if kubeconfig.exists() {
            return Ok(Joined { kubeconfig, ca_pem: kept.clone() });
        }
    }
    let mut pause = RETRY.0;
    loop {
        match try_join(server, &token, node).await {
            Ok((ca_pem, client)) => {
                let written = pki::kubeconfig::Kubeconfig {
                    server,
                    certificate_authority: &ca_pem,
                    name: "skiff",
                    client: &client,
                };
                std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
                pki::write_private(&ca_file, &ca_pem)?;
                written.write(&kubeconfig)?;
                return Ok(Joined { kubeconfig, ca_pem });
            }
            // The wrong cluster stays the wrong cluster; all else may be a server that is not up yet.
            Err(err) if err.is::<pki::JoinTokenError>() => return Err(err),
            Err(err) => tracing::warn!(%server, err = %format!("{err:#}"), "cannot join yet"),
        }
        env.sleep(env.random().jitter(pause, 0.2)).await;
        pause = (pause * 2).min(RETRY.1);
    }
}

async fn try_join(server: &str, token: &JoinToken, node: &str) -> Result<(String, KeyPairPem)> {
    let ca_pem = fetch_ca(server).await?;
    token.check_ca(&ca_pem)?;
    let client = connect(server, Some(&ca_pem), Some(token.reveal())).await?;
    let asked = SigningRequest::new(&format!("system:node:{node}"), &["system:nodes".to_owned()])?;
    let certificate = request_certificate(&client, &asked.request).await?;
    Ok((ca_pem, KeyPairPem { certificate, key: asked.key }))
}

/// The server's authority as it says, to be checked against the token.
async fn fetch_ca(server: &str) -> Result<String> {
    let client = connect(server, None, None).await?;
    let request = http::Request::get("/cacerts").body(Vec::new())?;
    client.request_text(request).await.with_context(|| format!("cannot reach {server}"))
}

/// A client over what is known so far: without an authority it trusts nothing that it reads and sends no secret.
async fn connect(server: &str, ca_pem: Option<&str>, token: Option<String>) -> Result<kube::Client> {
    let cluster = Cluster {
        server: Some(server.to_owned()),
        insecure_skip_tls_verify: ca_pem.is_none().then_some(true),
        certificate_authority_data: ca_pem.map(|pem| base64(pem.as_bytes())),
        ..Cluster::default()
    };
    let user = AuthInfo { token: token.map(Into::into), ..AuthInfo::default() };
    let context = KubeContext { cluster: "join".to_owned(), user: Some("join".to_owned()), ..KubeContext::default() };
    let kubeconfig = Kubeconfig {
        clusters: vec![NamedCluster { name: "join".to_owned(), cluster: Some(cluster), ..NamedCluster::default() }],
        auth_infos: vec![NamedAuthInfo { name: "join".to_owned(), auth_info: Some(user), ..NamedAuthInfo::default() }],
        contexts: vec![NamedContext { name: "join".to_owned(), context: Some(context), ..NamedContext::default() }],
        current_context: Some("join".to_owned()),
        ..Kubeconfig::default()
    };
    Ok(client::connect(Source::Loaded(Box::new(kubeconfig)), "kubelet").await?)
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::prelude::BASE64_STANDARD.encode(bytes)
}

async fn request_certificate(client: &kube::Client, request_pem: &str) -> Result<String> {
    let api = Api::<CertificateSigningRequest>::all(client.clone());
    let usages = ["digital signature", "client auth"].map(str::to_owned).to_vec();
    let request = CertificateSigningRequest {
        metadata: ObjectMeta { generate_name: Some("node-csr-".to_owned()), ..ObjectMeta::default() },
        spec: CertificateSigningRequestSpec {
            request: ByteString(request_pem.as_bytes().to_vec()),
            signer_name: SIGNER.to_owned(),
            usages: Some(usages),
            ..CertificateSigningRequestSpec::default()
        },
        status: None,
    };
    let created = api.create(&PostParams::default(), &request).await.context("cannot ask for a certificate")?;
    let name = created.metadata.name.unwrap_or_default();
    let signed = await_condition(api, &name, |request: Option<&CertificateSigningRequest>| {
        request.is_some_and(|request| certificate(request).is_some())
    });
    let signed = tokio::time::timeout(PATIENCE, signed).await.context("the certificate was not signed in time")??;
    match signed.as_ref().and_then(certificate) {
        Some(pem) => Ok(pem),
        None => bail!("the certificate request {name} went away"),
    }
}

fn certificate(request: &CertificateSigningRequest) -> Option<String> {
    let certificate = request.status.as_ref()?.certificate.as_ref()?;
    String::from_utf8(certificate.0.clone()).ok().filter(|pem| !pem.is_empty())
}

fn read_if_there(path: &Path) -> Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(err) => Err(err).with_context(|| format!("cannot read {}", path.display())),
    }
}
