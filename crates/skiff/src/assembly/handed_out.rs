//! Files that a server hands out to people and machines: the administrator's kubeconfig and the join token. Both name
//! the authority of the cluster's servers, and are written anew when it or that of clients has a successor, or before the
//! certificate in them ends.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use base::{Drain, Env};
use jiff::Timestamp;
use pki::{Authority, IssueRequest, JoinRole, JoinToken, Usage};
use tokio::sync::watch;

use super::control_plane::VALIDITY;

/// The longest wait before the clock is looked at again.
const LONGEST_SLEEP: Duration = Duration::from_secs(12 * 3600);
/// The wait before a file that cannot be written is tried again.
const RETRY: Duration = Duration::from_secs(60);

/// The files, and what they say.
pub struct HandedOut {
    /// Issues the administrator's certificate.
    pub clients: Arc<Authority>,
    /// By which authorities the server is known, PEM.
    pub server_authorities: watch::Receiver<String>,
    /// Where the API server is.
    pub server: String,
    pub kubeconfig: PathBuf,
    pub token: PathBuf,
    pub env: Env,
}

impl HandedOut {
    /// Writes the kubeconfig, with a new certificate.
    pub fn write_kubeconfig(&self) -> Result<()> {
        let request = IssueRequest {
            common_name: "kubernetes-admin".to_owned(),
            organizations: vec!["system:masters".to_owned()],
            dns_names: Vec::new(),
            ips: Vec::new(),
            usage: Usage::Client,
            validity: VALIDITY,
        };
        let client = self.clients.issue(&request)?;
        let kubeconfig = pki::kubeconfig::Kubeconfig {
            server: &self.server,
            certificate_authority: &self.server_authorities.borrow().clone(),
            name: "skiff",
            client: &client,
        };
        if let Some(dir) = self.kubeconfig.parent() {
            std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        }
        let written = kubeconfig.write(&self.kubeconfig);
        written.context("cannot write the administrator's kubeconfig; --write-kubeconfig moves it")
    }

    fn write(&self) -> Result<()> {
        let ca = self.server_authorities.borrow().clone();
        JoinToken::load_or_create(&self.token, JoinRole::Server, &ca, None, &self.env).context("join token")?;
        self.write_kubeconfig()
    }

    /// Writes both anew in time, until `drain`. They were written when this begins.
    pub async fn run(self, drain: Drain) -> Result<()> {
        let (mut servers, mut clients) = (self.server_authorities.clone(), self.clients.subscribe());
        let two_thirds = jiff::SignedDuration::try_from(VALIDITY * 2 / 3).unwrap_or(jiff::SignedDuration::MAX);
        let after = |now: Timestamp| now.saturating_add(two_thirds).unwrap_or(Timestamp::MAX);
        let mut due = after(self.env.now());
        loop {
            let left = Duration::try_from(due.duration_since(self.env.now())).unwrap_or_default();
            let woken = async {
                tokio::select! {
                    () = self.env.sleep(left.clamp(RETRY, LONGEST_SLEEP)) => self.env.now() >= due,
                    Ok(()) = servers.changed() => true,
                    Ok(()) = clients.changed() => true,
                }
            };
            match drain.until(woken).await {
                None => return Ok(()),
                Some(false) => continue,
                Some(true) => {}
            }
            match self.write() {
                Ok(()) => due = after(self.env.now()),
                Err(err) => {
                    tracing::error!(err = %format!("{err:#}"), "files for administrators and agents are out of date");
                    due = self.env.now();
                }
            }
        }
    }
}
