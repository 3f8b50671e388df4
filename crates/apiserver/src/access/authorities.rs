//! Authorities of clients: the cluster's own, and those in files that may change while the server runs.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use base::{Drain, Env, Tasks};
use futures::future::select_all;
use pki::{FileError, FollowedFile, Trust, TrustError};
use tokio::sync::watch;

use crate::certificates::Certificates;
use crate::config::Config;

/// Why an authority's file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthoritiesError {
    /// It cannot be read.
    #[error("--{flag}: {source}")]
    Read {
        /// The flag that names it.
        flag: &'static str,
        /// What is wrong.
        source: FileError,
    },
    /// It has no authorities in it.
    #[error("--{flag}: {source}")]
    Trust {
        /// The flag that names it.
        flag: &'static str,
        /// What is wrong.
        source: TrustError,
    },
}

/// Whose certificates are believed.
pub(crate) struct Authorities {
    /// Of ordinary clients.
    pub(super) clients: Vec<Arc<Trust>>,
    /// Of front proxies.
    pub(super) front_proxies: Arc<Trust>,
    /// The texts of those of clients, the cluster's own first.
    client_texts: Vec<watch::Receiver<String>>,
    /// The texts of those of front proxies, this server's own first: it is one to extension API servers.
    front_proxy_texts: Vec<watch::Receiver<String>>,
    files: Mutex<Vec<Followed>>,
}

/// A file of authorities.
struct Followed {
    file: FollowedFile,
    trust: Arc<Trust>,
    /// What of its texts is taken.
    taken: watch::Sender<String>,
}

/// Tells when an authority is another.
pub(crate) struct Changes(Vec<watch::Receiver<String>>);

impl Changes {
    /// Waits for a change. An error means that nothing changes any more.
    pub(crate) async fn changed(&mut self) -> Result<(), watch::error::RecvError> {
        select_all(self.0.iter_mut().map(|text| Box::pin(text.changed()))).await.0
    }
}

impl Authorities {
    /// The cluster's own, and those that flags name.
    pub(crate) fn load(config: &Config, certificates: &Certificates) -> Result<Self, AuthoritiesError> {
        let pki::Authorities { client: own, front_proxy, .. } = &certificates.authorities;
        let mut all = Self {
            clients: vec![own.trust()],
            front_proxies: front_proxy.trust(),
            client_texts: vec![own.subscribe()],
            front_proxy_texts: vec![front_proxy.subscribe()],
            files: Mutex::default(),
        };
        if let Some(path) = &config.client_ca_file {
            let (trust, text) = all.read("client-ca-file", path)?;
            all.clients.push(trust);
            all.client_texts.push(text);
        }
        if let Some(path) = &config.request_headers.client_ca_file {
            let (trust, text) = all.read("requestheader-client-ca-file", path)?;
            all.front_proxies = trust;
            all.front_proxy_texts.push(text);
        }
        Ok(all)
    }

    fn read(
        &mut self,
        flag: &'static str,
        path: &Path,
    ) -> Result<(Arc<Trust>, watch::Receiver<String>), AuthoritiesError> {
        let file = FollowedFile::read(path).map_err(|source| AuthoritiesError::Read { flag, source })?;
        let text = file.subscribe().borrow().clone();
        let trust = Trust::new(&text).map_err(|source| AuthoritiesError::Trust { flag, source })?;
        let (trust, taken) = (Arc::new(trust), watch::Sender::new(text));
        let (found, text) = (trust.clone(), taken.subscribe());
        self.files.get_mut().unwrap_or_else(PoisonError::into_inner).push(Followed { file, trust, taken });
        Ok((found, text))
    }

    /// Follows the files until `drain`.
    pub(crate) fn spawn(&self, tasks: &mut Tasks, env: &Env, drain: &Drain) {
        let files = std::mem::take(&mut *self.files.lock().unwrap_or_else(PoisonError::into_inner));
        for Followed { file, trust, taken } in files {
            let tell = move |text| drop(taken.send_replace(text));
            tasks.spawn("trust in authorities", trust.follow(file.subscribe(), drain.clone(), tell));
            tasks.spawn("file of authorities", file.run(env.clone(), drain.clone()));
        }
    }

    /// Those of ordinary clients, PEM.
    pub(crate) fn clients_pem(&self) -> String {
        joined(&self.client_texts)
    }

    /// Those of front proxies, PEM.
    pub(crate) fn front_proxies_pem(&self) -> String {
        joined(&self.front_proxy_texts)
    }

    /// Tells when one of them is another.
    pub(crate) fn changes(&self) -> Changes {
        Changes(self.client_texts.iter().chain(&self.front_proxy_texts).cloned().collect())
    }
}

fn joined(texts: &[watch::Receiver<String>]) -> String {
    let mut all = String::new();
    for text in texts {
        all.push_str(text.borrow().trim_end());
        all.push('\n');
    }
    all
}
