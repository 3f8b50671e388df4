//! `skiff cert`: the certificates of this machine, and their renewal before it is due.

mod inventory;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use base::Env;
use kube::config::Kubeconfig;
use pki::{Authorities, IssueRequest, Usage};
use tokio::time::Instant;

use crate::assembly::control_plane::VALIDITY;
use crate::layout;
use crate::options::user::{Cert, CertAction, Installation};
use inventory::Found;

/// How long a running server is given to take up what was asked for.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(100);

/// Lists or renews.
pub fn run(options: Cert) -> Result<()> {
    let env = Env::system();
    match options.action {
        CertAction::List { installation, kubeconfig } => {
            let instance = installation.instance();
            let dirs = [layout::pki_dir(&instance), layout::agent_dir(&instance)];
            let found = inventory::find(&dirs, &kubeconfig)?;
            if found.is_empty() {
                bail!("there are no certificates in {}; name another --data-dir", instance.data_dir().display());
            }
            print!("{}", inventory::table(&found, env.now()));
            if Authorities::are_in(&dirs[0]) {
                println!(
                    "\nThe datastore runs in the API server's process and has no certificates (etcd's) of its own."
                );
            }
            Ok(())
        }
        CertAction::Rotate { installation, ca, kubeconfig } => super::block_on(async {
            for line in rotate(&installation, ca, &kubeconfig, PATIENCE, &env).await? {
                println!("{line}");
            }
            Ok(())
        }),
    }
}

/// Renews everything that a server's authorities have issued, with `ca` after they have succeeded themselves; what was
/// done, in lines.
async fn rotate(
    installation: &Installation,
    ca: bool,
    kubeconfigs: &[PathBuf],
    patience: Duration,
    env: &Env,
) -> Result<Vec<String>> {
    let dir = layout::pki_dir(&installation.instance());
    if !Authorities::are_in(&dir) {
        bail!(
            "there is no cluster authority in {}: certificates are renewed on the server's machine, an agent asks for \
             its own anew by itself",
            dir.display()
        );
    }
    // As they are before anything changes: a server that runs is quick.
    let leaves: Vec<Found> =
        inventory::find(std::slice::from_ref(&dir), &[])?.into_iter().filter(|found| !found.is_authority()).collect();
    let mut lines = Vec::new();
    let authorities = Authorities::load_or_create(&dir, env)?;
    if ca {
        for authority in authorities.all() {
            let before = authority.certificate_pem();
            authority.rotate()?;
            let ends = pki::inspect(&before)?.into_iter().map(|certificate| certificate.not_after).max();
            let ends = ends.map(|ends| ends.to_string()).unwrap_or_default();
            lines.push(format!(
                "{}: a successor issues from now on; the earlier one is trusted until {ends}",
                authority.name()
            ));
        }
    }
    if !ca {
        for leaf in &leaves {
            layout::remove(&leaf.file)?;
        }
    }
    let deadline = env.instant() + patience;
    for leaf in &leaves {
        lines.push(match taken_up(leaf, deadline, env).await {
            true => format!("{}: issued anew", leaf.name),
            false => format!("{}: no server runs here; it is issued anew when one starts", leaf.name),
        });
    }
    for path in kubeconfigs.iter().filter(|path| path.exists()) {
        reissue(&authorities, path).with_context(|| format!("cannot renew {}", path.display()))?;
        lines.push(format!("{}: issued anew", path.display()));
    }
    Ok(lines)
}

/// Waits until the running server, if there is one, has issued a certificate anew.
async fn taken_up(leaf: &Found, deadline: Instant, env: &Env) -> bool {
    loop {
        let now = std::fs::read_to_string(&leaf.file).unwrap_or_default();
        if !now.is_empty() && now != leaf.text {
            return true;
        }
        if env.instant() >= deadline {
            return false;
        }
        env.sleep(PAUSE).await;
    }
}

/// Puts a new certificate of the same user into a kubeconfig, and the authorities as they are now.
fn reissue(authorities: &Authorities, path: &Path) -> Result<()> {
    let read = Kubeconfig::read_from(path)?;
    let ([cluster], [_], [context]) = (&read.clusters[..], &read.auth_infos[..], &read.contexts[..]) else {
        bail!("it has more than one cluster, user or context; make a new one with `skiff kubeconfig`");
    };
    let pem = inventory::client_certificate(&read).context("it has no client certificate in it")?;
    let certificate = pki::inspect(&pem)?.into_iter().next().context("its client certificate is empty")?;
    let known = pki::inspect(&authorities.client.certificate_pem())?;
    if !known.iter().any(|known| known.common_name == certificate.issuer) {
        bail!("its certificate was issued by {}, not by this cluster", certificate.issuer);
    }
    let server = cluster.cluster.as_ref().and_then(|cluster| cluster.server.as_deref());
    let client = authorities.client.issue(&IssueRequest {
        common_name: certificate.common_name,
        organizations: certificate.organizations,
        dns_names: Vec::new(),
        ips: Vec::new(),
        usage: Usage::Client,
        validity: VALIDITY,
    })?;
    let written = pki::kubeconfig::Kubeconfig {
        server: server.context("it names no server")?,
        certificate_authority: &authorities.server.certificate_pem(),
        name: &context.name,
        client: &client,
    };
    Ok(written.write(path)?)
}
