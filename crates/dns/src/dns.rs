//! The component: follows the cluster and serves its names.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use base::{Drain, Env, TaskFailure, Tasks};
use client::{Event, Informer, Informers, Lister, ObjectKey};
use hickory_proto::ProtoError;
use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use network::netlink::NetlinkError;

use crate::forward::Forwarder;
use crate::resolv_conf::{Upstream, Upstreams};
use crate::respond::{Responder, Shared};
use crate::server::Listener;
use crate::zone::{Zone, service_records};
use crate::{address, kube_dns};

/// Slices by "namespace/service".
const BY_SERVICE: &str = "dns/service";
const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";
/// How long tasks may take to end after the drain signal.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(2);

/// What the server is made of.
#[derive(Clone, Debug)]
pub struct Config {
    /// The domain of the cluster's names.
    pub cluster_domain: String,
    /// The cluster DNS addresses: put on the loopback interface and served on port 53.
    pub cluster_dns: Vec<IpAddr>,
    /// Further addresses to serve on.
    pub listen: Vec<SocketAddr>,
    /// Who is asked for other names.
    pub upstream: Upstream,
    /// Whether to keep the Service `kube-system/kube-dns`.
    pub keep_service: bool,
}

/// The server cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The cluster domain is no name.
    #[error("cluster domain {domain:?}: {error}")]
    Domain {
        /// What was configured.
        domain: String,
        /// Why it is none.
        #[source]
        error: ProtoError,
    },
    /// The cluster DNS addresses cannot be put on the loopback interface.
    #[error(transparent)]
    Address(#[from] NetlinkError),
    /// An address cannot be bound.
    #[error("listen on {address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why it cannot.
        #[source]
        error: io::Error,
    },
}

/// The server ended early.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A socket cannot be served.
    #[error("serve a socket: {0}")]
    Serve(#[source] io::Error),
    /// A part of it ended early.
    #[error(transparent)]
    Task(#[from] TaskFailure),
}

/// The DNS server of one node.
pub struct Dns {
    config: Config,
    env: Env,
    client: Option<kube::Client>,
    services: Informer<Service>,
    slices: Informer<EndpointSlice>,
    namespaces: Informer<Namespace>,
    listeners: Vec<Listener>,
    addresses: Vec<SocketAddr>,
    zone: Zone,
}

impl Dns {
    /// A server that reads services, slices and namespaces from `informers`. Its sockets are bound when this returns.
    pub fn build(config: Config, informers: &Informers) -> Result<Self, BuildError> {
        let (services, slices, namespaces) = (informers.of(), informers.of(), informers.of());
        let mut dns = Self::from_informers(config, informers.env().clone(), services, slices, namespaces)?;
        dns.client = Some(informers.client().clone());
        Ok(dns)
    }

    /// A server that reads the given informers and keeps no Service.
    pub fn from_informers(
        config: Config,
        env: Env,
        services: Informer<Service>,
        slices: Informer<EndpointSlice>,
        namespaces: Informer<Namespace>,
    ) -> Result<Self, BuildError> {
        let zone = Zone::new(&config.cluster_domain, &config.cluster_dns)
            .map_err(|error| BuildError::Domain { domain: config.cluster_domain.clone(), error })?;
        address::add(&config.cluster_dns)?;
        let cluster = config.cluster_dns.iter().map(|ip| SocketAddr::new(*ip, 53));
        let mut listeners = Vec::new();
        let mut addresses = Vec::new();
        for address in cluster.chain(config.listen.iter().copied()) {
            let failed = |error| BuildError::Listen { address, error };
            let listener = Listener::bind(address).map_err(failed)?;
            addresses.push(listener.local_addr().map_err(failed)?);
            listeners.push(listener);
        }
        slices.add_index(BY_SERVICE, |slice| service_of(slice).map(|key| key.to_string()).into_iter().collect());
        Ok(Self { config, env, client: None, services, slices, namespaces, listeners, addresses, zone })
    }

    /// The addresses that it serves on.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Serves until the drain signal; then the cluster DNS addresses are taken away.
    pub async fn run(self, drain: Drain) -> Result<(), RunError> {
        let upstreams = Upstreams::new(self.config.upstream.clone(), self.addresses);
        let responder: Shared = Arc::new(Responder {
            env: self.env.clone(),
            zone: ArcSwapOption::empty(),
            empty: self.zone.clone(),
            forwarder: Forwarder::new(self.env.clone(), upstreams),
        });
        let mut tasks = Tasks::new();
        for listener in self.listeners {
            listener.serve(&responder, &drain, &mut tasks).map_err(RunError::Serve)?;
        }
        if let Some(client) = self.client.filter(|_| self.config.keep_service && !self.config.cluster_dns.is_empty()) {
            let addresses = self.config.cluster_dns.clone();
            let keep = kube_dns::keep(client, self.services.clone(), self.env, addresses, drain.clone());
            tasks.spawn_fallible("kube-dns service", keep);
        }
        let follow = follow(self.services, self.slices, self.namespaces, self.zone, responder);
        let follow_drain = drain.clone();
        tasks.spawn("dns zone", async move {
            follow_drain.until(follow).await;
        });
        let failure = tasks.run_until(&drain).await.err();
        let failures = tasks.shutdown(SHUTDOWN_DEADLINE).await;
        let cluster_dns = self.config.cluster_dns;
        let removed = tokio::task::spawn_blocking(move || address::cleanup(&cluster_dns)).await;
        if let Ok(Err(err)) = removed {
            tracing::warn!(err = %err, "cluster DNS address cannot be removed");
        }
        failure.or(failures.into_iter().next()).map_or(Ok(()), |failure| Err(failure.into()))
    }
}

/// Keeps the zone in step with the cluster. Readers see each batch of changes at once.
async fn follow(
    services: Informer<Service>,
    slices: Informer<EndpointSlice>,
    namespaces: Informer<Namespace>,
    mut zone: Zone,
    responder: Shared,
) {
    let mut service_events = services.subscribe();
    let mut slice_events = slices.subscribe();
    let mut namespace_events = namespaces.subscribe();
    services.synced().await;
    slices.synced().await;
    namespaces.synced().await;
    let (services, slices) = (services.lister(), slices.lister());
    let mut dirty = BTreeSet::new();
    loop {
        while let Some(event) = service_events.try_next() {
            dirty.insert(ObjectKey::of(&**event.object()));
        }
        while let Some(event) = slice_events.try_next() {
            note_slice(&event, &mut dirty);
        }
        while let Some(event) = namespace_events.try_next() {
            note_namespace(&event, &mut zone);
        }
        for key in std::mem::take(&mut dirty) {
            zone.set_service(&key, records(&key, &services, &slices));
        }
        responder.zone.store(Some(Arc::new(zone.clone())));
        tokio::select! {
            event = service_events.next() => drop(dirty.insert(ObjectKey::of(&**event.object()))),
            event = slice_events.next() => note_slice(&event, &mut dirty),
            event = namespace_events.next() => note_namespace(&event, &mut zone),
        }
    }
}

fn note_slice(event: &Event<EndpointSlice>, dirty: &mut BTreeSet<ObjectKey>) {
    dirty.extend(service_of(event.object()));
    dirty.extend(event.old().and_then(|old| service_of(old)));
}

fn note_namespace(event: &Event<Namespace>, zone: &mut Zone) {
    let name = event.object().metadata.name.as_deref().unwrap_or_default();
    zone.set_namespace(name, !event.is_deleted());
}

fn records(
    key: &ObjectKey,
    services: &Lister<Service>,
    slices: &Lister<EndpointSlice>,
) -> Option<crate::zone::ServiceRecords> {
    let service = services.get_key(key)?;
    service_records(&service, &slices.by_index(BY_SERVICE, &key.to_string()))
}

fn service_of(slice: &EndpointSlice) -> Option<ObjectKey> {
    let name = slice.metadata.labels.as_ref()?.get(SERVICE_NAME_LABEL)?;
    Some(ObjectKey::namespaced(slice.metadata.namespace.clone().unwrap_or_default(), name))
}
