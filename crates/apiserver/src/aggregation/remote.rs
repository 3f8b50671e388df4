//! An extension API server for a group and version: where it is, how it is spoken to, and what it told last.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use api::field::quote;
use arc_swap::ArcSwapOption;
use serde_json::Value;
use tokio_rustls::TlsConnector;

use super::api_service::{ApiService, Availability};
use super::described::{self, Described};
use super::{availability, discovery, forward};
use crate::connect::{FrontProxy, Pool, endpoints};
use crate::kinds;
use crate::pipeline::Core;
use crate::registry::Registry;

/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// An extension API server for a group and version.
pub(crate) struct Remote {
    pub(super) api: ApiService,
    /// How it is spoken to, or why it cannot be.
    pub(super) connector: Result<TlsConnector, String>,
    /// Where it is, or why nobody knows.
    pub(super) endpoints: Result<Vec<SocketAddr>, Availability>,
    pub(super) connections: Arc<Pool>,
    told: Arc<Told>,
}

/// What it said last.
#[derive(Default)]
struct Told {
    /// What it serves: its part of the aggregated discovery document.
    served: ArcSwapOption<Value>,
    /// How it describes that.
    described: ArcSwapOption<Described>,
}

impl Remote {
    /// Takes over what is known of the same one.
    pub(super) fn new(registry: &Registry, front_proxy: &FrontProxy, api: ApiService, known: Option<&Self>) -> Self {
        let endpoints = endpoints(registry, &api);
        let (connector, connections) = match known.filter(|known| known.api.is_reached_as(&api)) {
            Some(known) => (known.connector.clone(), known.connections.clone()),
            None => {
                let connector = front_proxy.connector(&api.ca_bundle, api.insecure);
                (connector.map_err(|err| err.to_string()), Arc::default())
            }
        };
        // Whatever it is asked with, it is the same one.
        let told = known.filter(|known| known.api.host() == api.host()).map(|known| known.told.clone());
        let told = told.unwrap_or_default();
        connections.keep_only(endpoints.as_deref().unwrap_or_default());
        Self { api, connector, endpoints, connections, told }
    }

    /// One of its endpoints.
    pub(super) fn address(&self, core: &Core) -> Option<SocketAddr> {
        let all = self.endpoints.as_ref().ok()?;
        let index = usize::try_from(core.registry.env.random().below(all.len() as u64)).unwrap_or(0);
        all.get(index).copied()
    }

    /// Its version as discovery and OpenAPI tell of it.
    pub(super) fn kinds(&self, is_available: bool) -> kinds::Remote {
        let served = self.told.served.load();
        kinds::Remote {
            group: self.api.group.clone(),
            version: self.api.version.clone(),
            priorities: self.api.priorities,
            item: match (&*served, is_available) {
                (Some(served), true) => Value::clone(served),
                (served, _) => discovery::stale_item(&self.api, served.as_deref()),
            },
            document: self.told.described.load().as_ref().map(|described| described.document.clone()),
        }
    }

    /// Whether it answers; what it tells is kept.
    pub(super) async fn check(&self, core: &Arc<Core>) -> Availability {
        let endpoints = match &self.endpoints {
            Ok(endpoints) => endpoints,
            Err(missing) => return missing.clone(),
        };
        let path = format!("/apis/{}/{}", self.api.group, self.api.version);
        let mut why = String::new();
        for address in endpoints {
            let url = format!("https://{address}{path}");
            let asked = forward::ask(core, self, *address, &path, None);
            match tokio::time::timeout(PATIENCE, asked).await {
                Ok(Ok((status, _, body))) if status.is_success() => {
                    let list = serde_json::from_slice(&body).unwrap_or_default();
                    self.told.served.store(Some(Arc::new(discovery::version_item(&self.api, &list))));
                    self.describe(core, *address).await;
                    let message = "all checks passed".to_owned();
                    return Availability { is_available: true, reason: "Passed", message };
                }
                Ok(Ok((status, ..))) => why = format!("{url}: bad status from {url}: {}", status.as_u16()),
                Ok(Err(err)) => why = format!("{url}: Get {}: {err}", quote(&url)),
                Err(_) => why = format!("{url}: Get {}: context deadline exceeded", quote(&url)),
            }
        }
        let message = format!("failing or missing response from {why}");
        Availability { is_available: false, reason: "FailedDiscoveryCheck", message }
    }

    /// Asks for its OpenAPI document. Without one it is served all the same, as it was described before.
    async fn describe(&self, core: &Arc<Core>, address: SocketAddr) {
        let known = self.told.described.load_full();
        let described = described::fetch(core, self, address, known.as_deref());
        match tokio::time::timeout(PATIENCE, described).await {
            Ok(Ok(Some(changed))) => self.told.described.store(Some(Arc::new(changed))),
            Ok(Ok(None)) => {}
            Ok(Err(err)) => tracing::debug!(name = self.api.name, %err, "no OpenAPI document of an APIService"),
            Err(_) => tracing::debug!(name = self.api.name, "OpenAPI document of an APIService takes too long"),
        }
    }
}

/// Where the Service of an APIService leads.
fn endpoints(registry: &Registry, api: &ApiService) -> Result<Vec<SocketAddr>, Availability> {
    endpoints::of_service(&registry.cache, &api.namespace, &api.service, api.port)
        .map_err(|missing| availability::unreachable(api, &missing))
}
