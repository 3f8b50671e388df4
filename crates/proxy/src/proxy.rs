//! The component: follows the cluster and keeps the kernel in step.

use std::collections::BTreeSet;
use std::time::Duration;

use base::{Drain, Env, Instance};
use client::{Event, Informer, Informers, ListSelector, Lister, ObjectKey};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use network::nft::{self, NftError};
use network::sysctl;
use tokio::time::Instant;

use crate::conntrack;
use crate::health_check::HealthChecks;
use crate::model::{self, NodeTopology};
use crate::nftables::{DataPlane, StaleFlow, TableConfig, service_rules};

/// Slices by "namespace/service".
const BY_SERVICE: &str = "proxy/service";

const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

/// How long the first retry waits after the kernel refused a transaction, and how long the last.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));

/// What the proxy is made of.
#[derive(Clone, Debug)]
pub struct Config {
    /// The installation it belongs to.
    pub instance: Instance,
    /// The node's name.
    pub node_name: String,
    /// The addresses of all pods; traffic from elsewhere to cluster addresses is masqueraded.
    pub cluster_cidrs: Vec<IpNet>,
    /// The node's addresses on which node ports are open; all of them where empty.
    pub node_port_addresses: Vec<IpNet>,
    /// Whether node ports are open on 127.0.0.1 too.
    pub localhost_node_ports: bool,
    /// How much time passes between two transactions at least; a burst of changes becomes one.
    pub min_sync_period: Duration,
}

impl Config {
    /// A configuration with the usual behaviour: node ports on all addresses, at most fifty transactions a second.
    pub fn new(instance: Instance, node_name: impl Into<String>, cluster_cidrs: Vec<IpNet>) -> Self {
        Self {
            instance,
            node_name: node_name.into(),
            cluster_cidrs,
            node_port_addresses: Vec::new(),
            localhost_node_ports: true,
            min_sync_period: Duration::from_millis(20),
        }
    }
}

/// The proxy cannot work on this machine.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The program that sets rules does not run.
    #[error(transparent)]
    Nft(#[from] NftError),
}

/// The proxy ended early.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A transaction ended in a panic.
    #[error("apply rules: {0}")]
    Apply(#[source] tokio::task::JoinError),
}

/// The service proxy of one node.
pub struct Proxy {
    config: Config,
    env: Env,
    services: Informer<Service>,
    slices: Informer<EndpointSlice>,
    nodes: Informer<Node>,
}

impl Proxy {
    /// A proxy that reads services, slices and its own node from `informers`.
    pub fn build(config: Config, informers: &Informers) -> Result<Self, BuildError> {
        let own_node = ListSelector::fields(format!("metadata.name={}", config.node_name));
        let (services, slices) = (informers.of(), informers.of());
        Self::from_informers(config, informers.env().clone(), services, slices, informers.filtered(own_node))
    }

    /// A proxy that reads the given informers.
    pub fn from_informers(
        config: Config,
        env: Env,
        services: Informer<Service>,
        slices: Informer<EndpointSlice>,
        nodes: Informer<Node>,
    ) -> Result<Self, BuildError> {
        nft::apply("")?;
        slices.add_index(BY_SERVICE, |slice| service_of(slice).map(|key| key.to_string()).into_iter().collect());
        Ok(Self { config, env, services, slices, nodes })
    }

    /// Runs until the drain signal. The table stays, so that services go on without the proxy; [`cleanup`] removes it.
    ///
    /// [`cleanup`]: crate::cleanup
    pub async fn run(self, drain: Drain) -> Result<(), RunError> {
        let mut services = self.services.subscribe();
        let mut slices = self.slices.subscribe();
        let mut nodes = self.nodes.subscribe();
        let synced = async {
            self.services.synced().await;
            self.slices.synced().await;
            self.nodes.synced().await;
        };
        if drain.until(synced).await.is_none() {
            return Ok(());
        }
        if self.config.localhost_node_ports {
            sysctl::try_set("ipv4/conf/all/route_localnet", "1");
        }
        let health_checks = HealthChecks::new(drain.clone());
        let mut sync = Sync::new(&self, health_checks);
        loop {
            // All that is waiting is taken before anything is done about it.
            while let Some(event) = services.try_next() {
                sync.dirty.insert(ObjectKey::of(&**event.object()));
            }
            while let Some(event) = slices.try_next() {
                sync.slice_changed(&event);
            }
            while let Some(event) = nodes.try_next() {
                sync.node_changed(&event);
            }
            if sync.is_due() && self.env.instant() >= sync.not_before {
                sync.run().await?;
                continue;
            }
            tokio::select! {
                () = drain.drained() => break,
                () = tokio::time::sleep_until(sync.not_before), if sync.is_due() => {}
                () = sync.health_checks.ended() => {}
                event = services.next() => drop(sync.dirty.insert(ObjectKey::of(&**event.object()))),
                event = slices.next() => sync.slice_changed(&event),
                event = nodes.next() => sync.node_changed(&event),
            }
        }
        sync.health_checks.shutdown().await;
        Ok(())
    }
}

/// The state of the loop.
struct Sync {
    env: Env,
    services: Lister<Service>,
    slices: Lister<EndpointSlice>,
    node: NodeTopology,
    health_checks: HealthChecks,
    dirty: BTreeSet<ObjectKey>,
    /// The kernel's table is not the one that we believe: replace it as a whole.
    replace: bool,
    failures: u32,
    not_before: Instant,
    min_sync_period: Duration,
    /// Taken out while a transaction is applied.
    data_plane: Option<DataPlane>,
}

impl Sync {
    fn new(proxy: &Proxy, health_checks: HealthChecks) -> Self {
        let config = &proxy.config;
        let data_plane = DataPlane::new(TableConfig {
            name: network::table_name(&config.instance, "proxy"),
            cluster_cidrs: config.cluster_cidrs.clone(),
            node_port_addresses: config.node_port_addresses.clone(),
            localhost_node_ports: config.localhost_node_ports,
        });
        Self {
            env: proxy.env.clone(),
            services: proxy.services.lister(),
            slices: proxy.slices.lister(),
            node: NodeTopology { name: config.node_name.clone(), zone: None },
            health_checks,
            dirty: BTreeSet::new(),
            replace: true,
            failures: 0,
            not_before: proxy.env.instant(),
            min_sync_period: config.min_sync_period,
            data_plane: Some(data_plane),
        }
    }

    fn is_due(&self) -> bool {
        self.replace || !self.dirty.is_empty()
    }

    fn slice_changed(&mut self, event: &Event<EndpointSlice>) {
        self.dirty.extend(service_of(event.object()));
        self.dirty.extend(event.old().and_then(|old| service_of(old)));
    }

    fn node_changed(&mut self, event: &Event<Node>) {
        let node = event.object();
        if node.metadata.name.as_deref() != Some(&self.node.name) {
            return;
        }
        let zone = node.metadata.labels.as_ref().and_then(|labels| labels.get(ZONE_LABEL)).cloned();
        if self.node.zone != zone {
            self.node.zone = zone;
            self.dirty.extend(self.services.list().iter().map(|service| ObjectKey::of(&**service)));
        }
    }

    /// One transaction with all that is due.
    async fn run(&mut self) -> Result<(), RunError> {
        let started = self.env.instant();
        let changes: Vec<_> = std::mem::take(&mut self.dirty)
            .into_iter()
            .map(|key| {
                let slices = self.slices.by_index(BY_SERVICE, &key.to_string());
                let model = self
                    .services
                    .get(key.namespace.as_deref(), &key.name)
                    .and_then(|service| model::service(&service, &slices, &self.node));
                self.health_checks.set(&key, model.as_ref().and_then(|model| model.health_check));
                let rules = model.map(|model| service_rules(&key, &model));
                (key, rules)
            })
            .collect();
        let (count, replace) = (changes.len(), self.replace);
        let Some(mut data_plane) = self.data_plane.take() else { return Ok(()) };
        let work = tokio::task::spawn_blocking(move || {
            let applied = if replace { data_plane.replace(changes) } else { data_plane.update(changes) };
            let applied = applied.map(|stale| forget(&stale));
            (data_plane, applied)
        });
        let (data_plane, applied) = work.await.map_err(RunError::Apply)?;
        self.data_plane = Some(data_plane);
        let now = self.env.instant();
        match applied {
            Ok(()) => {
                tracing::debug!(services = count, replace, elapsed = ?(now - started), "service rules applied");
                (self.replace, self.failures) = (false, 0);
                self.not_before = now + self.min_sync_period;
            }
            Err(err) => {
                // The first failure of a change is mostly a table that somebody else has touched.
                let delay =
                    if replace { RETRY.1.min(RETRY.0 * 2u32.pow(self.failures.min(10))) } else { Duration::ZERO };
                tracing::warn!(services = count, replace, err = %err, "service rules refused");
                self.failures += u32::from(replace);
                self.replace = true;
                self.not_before = now + delay;
            }
        }
        Ok(())
    }
}

fn forget(stale: &[StaleFlow]) {
    if stale.is_empty() {
        return;
    }
    match conntrack::forget(stale) {
        Ok(0) => {}
        Ok(flows) => tracing::debug!(flows, "UDP flows to endpoints that are gone deleted"),
        Err(err) => tracing::warn!(err = %err, "UDP flows to endpoints that are gone cannot be deleted"),
    }
}

fn service_of(slice: &EndpointSlice) -> Option<ObjectKey> {
    let name = slice.metadata.labels.as_ref()?.get(SERVICE_NAME_LABEL)?;
    Some(ObjectKey::namespaced(slice.metadata.namespace.clone().unwrap_or_default(), name))
}
