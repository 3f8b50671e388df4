//! How an agent gets into a cluster: from a join token to a certificate of its own.
//!
//! The token says which authority to expect, or lets the server prove that it knows the token; what the server says on
//! `/cacerts` is checked by that before anything is sent that must stay secret. With the token the agent may only ask for a certificate by a
//! CertificateSigningRequest; what it gets is kept, and asked for anew when it is near its end.

mod failure;
mod kubeconfig;
pub mod server;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use base::Env;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use kube::runtime::wait::await_condition;
use pki::{AuthoritiesFile, JoinToken, KeyPairPem, SigningRequest, Trust};

use crate::supervise::Parts;

use failure::JoinFailure;
pub use kubeconfig::bootstrap;
use server::Believed;

/// How long the agent waits for its certificate before it asks again.
const PATIENCE: Duration = Duration::from_secs(30);
/// The first and the longest pause between two tries.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// A node's credentials: the kubeconfig to reach the server with, and the cluster's authorities, of servers and of
/// clients.
#[derive(Clone)]
pub struct Joined {
    pub kubeconfig: PathBuf,
    pub ca_file: PathBuf,
    pub client_ca_file: PathBuf,
}

impl Joined {
    fn in_dir(dir: &Path) -> Self {
        let (kubeconfig, ca_file) = (dir.join("kubelet.kubeconfig"), dir.join("ca.crt"));
        Self { kubeconfig, ca_file, client_ca_file: dir.join("client-ca.crt") }
    }
}

/// The authorities in a file, which is followed.
pub fn follow_authorities(parts: &mut Parts, path: &Path, env: &Env) -> Result<Arc<Trust>> {
    let file = AuthoritiesFile::read(path)?;
    let trust = file.trust();
    parts.spawn_endless("authorities of clients", file.run(env.clone(), parts.drain()));
    Ok(trust)
}

/// Joins the cluster of `server` as `node`, or finds that this machine has joined before. Retries what may become right
/// by itself.
pub async fn join(dir: &Path, server: &str, token: &str, node: &str, env: &Env) -> Result<Joined> {
    let token = JoinToken::parse(token).context("--token")?;
    let joined = Joined::in_dir(dir);
    // The authority that the token named then stays the sign of the cluster when it is long succeeded.
    let named_file = dir.join("joined-ca.crt");
    if let Some(kept) = read_if_there(&joined.ca_file)? {
        let named = read_if_there(&named_file)?.unwrap_or_default();
        token.check_ca(&format!("{kept}{named}")).with_context(|| {
            format!(
                "{} belongs to another cluster; use another --data-dir, or remove it with `skiff down --purge`",
                dir.display()
            )
        })?;
        if joined.kubeconfig.exists() {
            if !joined.client_ca_file.exists() {
                // It joined when there was one authority for both; what it is now, it asks for soon.
                pki::write_private(&joined.client_ca_file, &kept)?;
            }
            return Ok(joined);
        }
    }
    let mut pause = RETRY.0;
    loop {
        match try_join(server, &token, node, env).await {
            Ok((Believed { named, all: ca_pem, clients }, client)) => {
                let written = pki::kubeconfig::Kubeconfig {
                    server,
                    certificate_authority: &ca_pem,
                    name: "skiff",
                    client: &client,
                };
                std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
                pki::write_private(&named_file, &named)?;
                pki::write_private(&joined.client_ca_file, &clients)?;
                pki::write_private(&joined.ca_file, &ca_pem)?;
                written.write(&joined.kubeconfig)?;
                return Ok(joined);
            }
            Err(err) if err.downcast_ref::<JoinFailure>().is_some_and(JoinFailure::is_final) => return Err(err),
            Err(err) => tracing::warn!(%server, err = %format!("{err:#}"), "cannot join yet"),
        }
        env.sleep(env.random().jitter(pause, 0.2)).await;
        pause = (pause * 2).min(RETRY.1);
    }
}

async fn try_join(server: &str, token: &JoinToken, node: &str, env: &Env) -> Result<(Believed, KeyPairPem)> {
    let believed = server::authority(server, token, env).await?;
    let ca_pem = &believed.all;
    let client = server::connect(server, Some(ca_pem), Some(token.bearer()), env).await?;
    let asked = SigningRequest::new(&format!("system:node:{node}"), &["system:nodes".to_owned()])?;
    let api = Api::<CertificateSigningRequest>::all(client);
    let created = match api.create(&PostParams::default(), &signing_request(&Ask::CLIENT, &asked.request)).await {
        Ok(created) => created,
        Err(kube::Error::Api(status)) if status.code == 401 => {
            let client = server::connect(server, Some(ca_pem), None, env).await?;
            return Err(server::refusal(server, token, &client).await.into());
        }
        Err(err @ kube::Error::Api(_)) => return Err(err).context("cannot ask for a certificate"),
        Err(err) => {
            let (server, reason) = (server.to_owned(), server::innermost(&err));
            return Err(JoinFailure::Unreachable { server, reason }.into());
        }
    };
    let certificate = await_certificate(api, created.metadata.name.unwrap_or_default(), PATIENCE).await?;
    Ok((believed, KeyPairPem { certificate, key: asked.key }))
}

/// What kind of certificate is asked for.
pub struct Ask {
    signer: &'static str,
    usage: &'static str,
}

impl Ask {
    /// By which a kubelet speaks to the API server.
    pub const CLIENT: Self = Self { signer: "kubernetes.io/kube-apiserver-client-kubelet", usage: "client auth" };
    /// Of a kubelet's own server.
    pub const SERVING: Self = Self { signer: "kubernetes.io/kubelet-serving", usage: "server auth" };
}

/// Asks for a certificate, and waits so long until there is one.
pub async fn ask(client: &kube::Client, ask: &Ask, pem: &str, patience: Duration) -> Result<String> {
    let api = Api::<CertificateSigningRequest>::all(client.clone());
    let created = api.create(&PostParams::default(), &signing_request(ask, pem)).await;
    let created = created.context("cannot ask for a certificate")?;
    await_certificate(api, created.metadata.name.unwrap_or_default(), patience).await
}

fn signing_request(ask: &Ask, pem: &str) -> CertificateSigningRequest {
    CertificateSigningRequest {
        metadata: ObjectMeta { generate_name: Some("node-csr-".to_owned()), ..ObjectMeta::default() },
        spec: CertificateSigningRequestSpec {
            request: ByteString(pem.as_bytes().to_vec()),
            signer_name: ask.signer.to_owned(),
            usages: Some(["digital signature", ask.usage].map(str::to_owned).to_vec()),
            ..CertificateSigningRequestSpec::default()
        },
        status: None,
    }
}

async fn await_certificate(api: Api<CertificateSigningRequest>, request: String, patience: Duration) -> Result<String> {
    let decided = await_condition(api, &request, |request: Option<&CertificateSigningRequest>| {
        request.is_none_or(|request| certificate(request).is_some() || denial(request).is_some())
    });
    let Ok(decided) = tokio::time::timeout(patience, decided).await else {
        return Err(JoinFailure::NotSigned { request }.into());
    };
    let decided = decided?;
    if let Some(reason) = decided.as_ref().and_then(denial) {
        return Err(JoinFailure::Denied { request, reason }.into());
    }
    decided.as_ref().and_then(certificate).with_context(|| format!("the certificate request {request} went away"))
}

/// Why a request gets no certificate.
fn denial(request: &CertificateSigningRequest) -> Option<String> {
    let conditions = request.status.as_ref()?.conditions.as_ref()?;
    let denied = conditions.iter().find(|condition| matches!(condition.type_.as_str(), "Denied" | "Failed"))?;
    denied.message.clone().or_else(|| denied.reason.clone()).or_else(|| Some(denied.type_.clone()))
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

#[cfg(test)]
mod tests;
