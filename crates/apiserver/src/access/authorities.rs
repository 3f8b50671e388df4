//! Authorities of clients: the cluster's own, and those in files that may change while the server runs.

use std::sync::Arc;

use futures::future::select_all;
use pki::Trust;
use tokio::sync::watch;

use crate::certificates::{AuthoritiesError, Upkeep};
use crate::config::Config;

/// Whose certificates are believed.
pub(crate) struct Authorities {
    /// Of ordinary clients.
    pub(crate) clients: Arc<Trust>,
    /// Of front proxies.
    pub(super) front_proxies: Arc<Trust>,
    /// Those of clients, the cluster's own first.
    clients_text: watch::Receiver<String>,
    /// Those of front proxies, this server's own first: it is one to extension API servers.
    front_proxies_text: watch::Receiver<String>,
}

/// Tells when an authority is another.
pub(crate) struct Changes([watch::Receiver<String>; 2]);

impl Changes {
    /// Waits for a change. An error means that nothing changes any more.
    pub(crate) async fn changed(&mut self) -> Result<(), watch::error::RecvError> {
        select_all(self.0.iter_mut().map(|text| Box::pin(text.changed()))).await.0
    }
}

impl Authorities {
    /// The cluster's own, and those that flags name.
    pub(crate) fn load(config: &Config, own: &pki::Authorities, upkeep: &mut Upkeep) -> Result<Self, AuthoritiesError> {
        let mut all = Self {
            clients: own.client.trust(),
            front_proxies: own.front_proxy.trust(),
            clients_text: own.client.subscribe(),
            front_proxies_text: own.front_proxy.subscribe(),
        };
        if let Some(path) = &config.client_ca_file {
            let file = ("client-ca-file", path.as_path());
            let (_, given) = upkeep.file(file)?;
            (all.clients, all.clients_text) = upkeep.joined(file, [all.clients_text, given])?;
        }
        if let Some(path) = &config.request_headers.client_ca_file {
            let file = ("requestheader-client-ca-file", path.as_path());
            let (trust, given) = upkeep.file(file)?;
            all.front_proxies = trust;
            (_, all.front_proxies_text) = upkeep.joined(file, [all.front_proxies_text, given])?;
        }
        Ok(all)
    }

    /// Those of ordinary clients, PEM.
    pub(crate) fn clients_pem(&self) -> String {
        self.clients_text.borrow().clone()
    }

    /// Those of front proxies, PEM.
    pub(crate) fn front_proxies_pem(&self) -> String {
        self.front_proxies_text.borrow().clone()
    }

    /// Tells when one of them is another.
    pub(crate) fn changes(&self) -> Changes {
        Changes([self.clients_text.clone(), self.front_proxies_text.clone()])
    }
}
