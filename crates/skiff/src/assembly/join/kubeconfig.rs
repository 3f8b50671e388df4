//! How a kubelet that runs alone gets into a cluster: `--bootstrap-kubeconfig` has credentials with which it may ask for a
//! certificate, and no more; with that it writes `--kubeconfig`.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use base::Env;
use client::Source;
use kube::config::Kubeconfig;
use pki::{KeyPairPem, SigningRequest};

use super::{Ask, RETRY, ask};
use crate::assembly::renewal::client_of;

/// How long a request may wait until somebody approves it; then another one is made.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(15 * 60);

/// Makes the kubeconfig of a node, unless there is one whose certificate is still good. Retries what may become right by
/// itself.
pub async fn bootstrap(bootstrap: &Path, kubeconfig: &Path, node: &str, env: &Env) -> Result<()> {
    if is_good(kubeconfig, env) {
        return Ok(());
    }
    let (server, authority) = cluster_of(bootstrap).with_context(|| format!("cannot use {}", bootstrap.display()))?;
    let client = client::connect(Source::Kubeconfig(bootstrap.to_owned()), "kubelet", env).await?;
    let mut pause = RETRY.0;
    let client = loop {
        let asked = SigningRequest::new(&format!("system:node:{node}"), &["system:nodes".to_owned()])?;
        match ask(&client, &Ask::CLIENT, &asked.request, PATIENCE).await {
            Ok(certificate) => break KeyPairPem { certificate, key: asked.key },
            Err(err) => tracing::warn!(%server, err = %format!("{err:#}"), "no certificate for the kubelet yet"),
        }
        env.sleep(env.random().jitter(pause, 0.2)).await;
        pause = (pause * 2).min(RETRY.1);
    };
    let written = pki::kubeconfig::Kubeconfig {
        server: &server,
        certificate_authority: &authority,
        name: "skiff",
        client: &client,
    };
    if let Some(dir) = kubeconfig.parent() {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    }
    written.write(kubeconfig)?;
    tracing::info!(path = %kubeconfig.display(), "the kubelet has a client certificate");
    Ok(())
}

/// Whether a node's kubeconfig is there and what it shows is still good.
fn is_good(kubeconfig: &Path, env: &Env) -> bool {
    let Ok(pair) = client_of(kubeconfig) else {
        // One of somebody else, with a token perhaps, is his to keep.
        return Kubeconfig::read_from(kubeconfig)
            .is_ok_and(|read| !read.auth_infos.is_empty() && !has_certificate(&read));
    };
    pki::inspect(&pair.certificate).is_ok_and(|all| all.first().is_some_and(|leaf| leaf.not_after > env.now()))
}

fn has_certificate(kubeconfig: &Kubeconfig) -> bool {
    let mut users = kubeconfig.auth_infos.iter().filter_map(|named| named.auth_info.as_ref());
    users.any(|user| user.client_certificate.is_some() || user.client_certificate_data.is_some())
}

/// The server of a kubeconfig's current context, and the authorities by which it is known.
fn cluster_of(path: &Path) -> Result<(String, String)> {
    let kubeconfig = Kubeconfig::read_from(path)?;
    let current = kubeconfig.current_context.as_ref().context("it has no current context")?;
    let context = kubeconfig.contexts.iter().find(|named| named.name == *current);
    let context = context.and_then(|named| named.context.as_ref()).context("its current context is missing")?;
    let cluster = kubeconfig.clusters.iter().find(|named| named.name == context.cluster);
    let cluster = cluster.and_then(|named| named.cluster.as_ref()).context("its cluster is missing")?;
    ensure!(cluster.insecure_skip_tls_verify != Some(true), "it does not say by what authority the server is known");
    let server = cluster.server.clone().context("it names no server")?;
    let authority = match (&cluster.certificate_authority_data, &cluster.certificate_authority) {
        (Some(data), _) => {
            use base64::Engine;
            String::from_utf8(base64::prelude::BASE64_STANDARD.decode(data)?)?
        }
        (None, Some(file)) => std::fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?,
        (None, None) => anyhow::bail!("it does not say by what authority the server is known"),
    };
    Ok((server, authority))
}
