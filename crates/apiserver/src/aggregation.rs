//! Aggregation: groups and versions that extension API servers answer, as APIServices name them.
//!
//! One task watches the APIServices and what they point to. It makes those of the groups that this server answers
//! itself, asks each extension API server for its discovery document, and says in the APIService's status whether that
//! worked. Requests are passed on by the table that it keeps.

mod api_service;
mod availability;
mod discovery;
mod forward;
mod local;
mod trust;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use api::kinds::Resource;
use api::status::Status;
use arc_swap::{ArcSwap, ArcSwapOption};
use base::Drain;
use futures::future::join_all;
use http::Response;
use jiff::Timestamp;
use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{IntGaugeVec, Opts};
use serde_json::Value;
use tokio_rustls::TlsConnector;

use crate::access::Identity;
use crate::cache::{Selection, Watcher};
use crate::connect::FrontProxy;
use crate::http::body::Body;
use crate::kinds;
use crate::pipeline::{Admitted, Core};
use crate::registry::{Caller, Part, Registry, Scope, Writer};

use api_service::ApiService;
pub(crate) use api_service::Availability;

/// Who writes the statuses of APIServices: upstream's server does it over a connection to itself, under no other name.
const WRITER: Writer<'static> = Writer { manager: "Go-http-client", subresource: "status" };

/// How often an extension API server is asked whether it is still there: nothing tells when it is not.
const CHECK: Duration = Duration::from_secs(30);

/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The wait before what has failed is done again.
const RETRY: Duration = Duration::from_secs(1);

/// The name in the certificate that extension API servers are shown.
pub(crate) const FRONT_PROXY: &str = "front-proxy-client";

/// The label by which an EndpointSlice names its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// An extension API server for a group and version.
pub(crate) struct Remote {
    pub(crate) api: ApiService,
    /// How it is spoken to, or why it cannot be.
    connector: Result<TlsConnector, String>,
    /// What it said last that it serves: its part of the aggregated discovery document.
    served: Arc<ArcSwapOption<Value>>,
}

/// The extension API servers that there are.
pub(crate) struct Aggregation {
    front_proxy: FrontProxy,
    remotes: ArcSwap<HashMap<String, Arc<Remote>>>,
}

impl Aggregation {
    pub(crate) fn new(front_proxy: FrontProxy) -> Self {
        Self { front_proxy, remotes: ArcSwap::default() }
    }

    /// The extension API server for a path, if it is one's.
    pub(crate) fn remote(&self, path: &str) -> Option<Arc<Remote>> {
        let remotes = self.remotes.load();
        if remotes.is_empty() {
            return None;
        }
        let mut segments = path.strip_prefix("/apis/")?.split('/');
        let (group, version) = (segments.next()?, segments.next()?);
        remotes.get(&format!("{version}.{group}")).cloned()
    }

    /// Which extension API servers cannot be reached, as a metric.
    pub(crate) fn unavailable(&self) -> Vec<MetricFamily> {
        let help = "Whether requests for an APIService cannot be passed on.";
        let gauge = IntGaugeVec::new(Opts::new("aggregator_unavailable_apiservice", help), &["name"]);
        let gauge = gauge.expect("a fixed name and label are valid");
        for (name, remote) in &**self.remotes.load() {
            gauge.with_label_values(&[name]).set(i64::from(!remote.api.is_available));
        }
        gauge.collect()
    }

    /// Takes up the APIServices as they are now.
    fn take(&self, objects: impl Iterator<Item = Value>) {
        let before = self.remotes.load();
        let remote = |api: ApiService| {
            let known = before.get(&api.name).filter(|known| known.api.is_reached_as(&api));
            let (connector, served) = match known {
                Some(known) => (known.connector.clone(), known.served.clone()),
                None => {
                    let connector = self.front_proxy.connector(&api.ca_bundle, api.insecure);
                    (connector.map_err(|err| err.to_string()), Arc::default())
                }
            };
            (api.name.clone(), Arc::new(Remote { api, connector, served }))
        };
        self.remotes.store(Arc::new(objects.filter_map(|object| ApiService::parse(&object)).map(remote).collect()));
    }
}

impl Remote {
    /// An endpoint of its Service.
    fn address(&self, core: &Core) -> Option<SocketAddr> {
        let all = self.endpoints(&core.registry).ok()?;
        let index = usize::try_from(core.registry.env.random().below(all.len() as u64)).unwrap_or(0);
        all.get(index).copied()
    }

    fn endpoints(&self, registry: &Registry) -> Result<Vec<SocketAddr>, Availability> {
        let api = &self.api;
        let service = registry.cached_by("", "v1", "services", Some(&api.namespace), &api.service);
        let slices = api::kinds::find("discovery.k8s.io", "v1", "endpointslices")
            .and_then(|resource| registry.resource_cache(resource).ok())
            .map(|cache| cache.snapshot(0));
        let of_service: Vec<Value> = slices
            .iter()
            .flat_map(|slices| slices.range(Some(&api.namespace)))
            .filter(|slice| slice.labels.get(SERVICE_NAME).is_some_and(|name| *name == api.service))
            .map(|slice| slice.value())
            .collect();
        availability::endpoints(api, service.map(|service| service.value()).as_ref(), &of_service)
    }

    /// Its version as discovery tells of it.
    fn kinds(&self, is_available: bool) -> kinds::Remote {
        let served = self.served.load();
        kinds::Remote {
            group: self.api.group.clone(),
            version: self.api.version.clone(),
            group_priority: self.api.group_priority,
            version_priority: self.api.version_priority,
            item: match (&*served, is_available) {
                (Some(served), true) => Value::clone(served),
                (served, _) => discovery::stale_item(&self.api, served.as_deref()),
            },
        }
    }

    /// Whether it answers.
    async fn check(&self, core: &Arc<Core>) -> Availability {
        let endpoints = match self.endpoints(&core.registry) {
            Ok(endpoints) => endpoints,
            Err(missing) => return missing,
        };
        let path = format!("/apis/{}/{}", self.api.group, self.api.version);
        let mut why = String::new();
        for address in endpoints {
            let url = format!("https://{address}{path}");
            let asked = forward::ask(core, self, address, &path, "application/json");
            match tokio::time::timeout(PATIENCE, asked).await {
                Ok(Ok((status, _, body))) if status.is_success() => {
                    let list = serde_json::from_slice(&body).unwrap_or_default();
                    self.served.store(Some(Arc::new(discovery::version_item(&self.api, &list))));
                    let message = "all checks passed".to_owned();
                    return Availability { is_available: true, reason: "Passed", message };
                }
                Ok(Ok((status, ..))) => why = format!("{url}: bad status from {url}: {}", status.as_u16()),
                Ok(Err(err)) => why = format!("{url}: {err}"),
                Err(_) => why = format!("{url}: no answer in {} s", PATIENCE.as_secs()),
            }
        }
        let message = format!("failing or missing response from {why}");
        Availability { is_available: false, reason: "FailedDiscoveryCheck", message }
    }
}

/// Passes a request on to the extension API server that it is for.
pub(crate) async fn handle(core: Arc<Core>, remote: Arc<Remote>, admitted: Admitted) -> Result<Response<Body>, Status> {
    forward::forward(&core, &remote, &admitted.identity, admitted.request).await
}

/// Keeps the APIServices and their statuses until `drain`.
pub(crate) async fn run(core: Arc<Core>, drain: Drain) {
    let row = |group, plural| api::kinds::find(group, "v1", plural);
    let (Some(resource), Some(services), Some(slices)) =
        (row("apiregistration.k8s.io", "apiservices"), row("", "services"), row("discovery.k8s.io", "endpointslices"))
    else {
        return;
    };
    let keeper = Keeper { core, resource, services, slices };
    while drain.until(keeper.follow()).await.is_some() {
        // The watch fell behind: start again from what is there.
    }
}

struct Keeper {
    core: Arc<Core>,
    resource: &'static Arc<Resource>,
    services: &'static Arc<Resource>,
    slices: &'static Arc<Resource>,
}

/// What was last found out about an extension API server.
struct Checked {
    /// What it was asked by; when that changes, it is asked again at once.
    api: ApiService,
    endpoints: Result<Vec<SocketAddr>, Availability>,
    is_available: bool,
    at: Timestamp,
}

impl Keeper {
    fn watch(&self, resource: &Resource) -> Option<Watcher> {
        let registry = &self.core.registry;
        let cache = registry.resource_cache(resource).ok()?;
        Some(Watcher::from_now(registry.cache.clone(), cache.clone(), Selection::everything()).1)
    }

    /// Follows everything until a watch falls behind.
    async fn follow(&self) {
        let registry = &self.core.registry;
        if registry.wait_for(1).await.is_err() {
            return;
        }
        let watches = (self.watch(self.resource), self.watch(self.services), self.watch(self.slices));
        let (Some(mut apis), Some(mut services), Some(mut slices)) = watches else { return };
        let mut served = registry.cache.kinds_changed();
        let mut checked: HashMap<String, Checked> = HashMap::new();
        loop {
            let done = self.sync(&mut checked).await;
            if let Err(status) = &done {
                tracing::warn!(err = %status.message, "APIServices could not be kept");
            }
            let has_remotes = !checked.is_empty();
            let pause = if done.is_err() { RETRY } else { CHECK };
            let in_time = tokio::select! {
                changes = apis.changes() => changes.is_ok(),
                changes = services.changes(), if has_remotes => changes.is_ok(),
                changes = slices.changes(), if has_remotes => changes.is_ok(),
                changed = served.changed() => changed.is_ok(),
                () = registry.env.sleep(pause), if has_remotes || done.is_err() => true,
            };
            if !in_time {
                return;
            }
        }
    }

    /// Brings everything up to date. A server that does not answer holds the others up for [`PATIENCE`] at most.
    async fn sync(&self, checked: &mut HashMap<String, Checked>) -> Result<(), Status> {
        let registry = &self.core.registry;
        trust::publish(&self.core).await?;
        local::keep(registry, self.resource, &registry.cache.kinds().group_versions()).await?;
        let snapshot = registry.resource_cache(self.resource)?.snapshot(0);
        self.core.aggregation.take(snapshot.range(None).map(|object| object.value()));
        let remotes = self.core.aggregation.remotes.load_full();
        checked.retain(|name, _| remotes.contains_key(name));
        let now = registry.env.now();
        let mut due = Vec::new();
        for (name, remote) in &*remotes {
            let endpoints = remote.endpoints(registry);
            let is_settled = checked.get(name).is_some_and(|known| {
                let is_recent = now.duration_since(known.at).unsigned_abs() < CHECK;
                is_recent && known.api.asks_as(&remote.api) && known.endpoints == endpoints
            });
            if !is_settled {
                let api = remote.api.clone();
                checked.insert(name.clone(), Checked { api, endpoints, is_available: false, at: now });
                due.push(remote.clone());
            }
        }
        let found = join_all(due.iter().map(async |remote| (remote, remote.check(&self.core).await))).await;
        let mut outcome = Ok(());
        for (remote, availability) in found {
            if let Some(known) = checked.get_mut(&remote.api.name) {
                known.is_available = availability.is_available;
            }
            if let Err(status) = self.write(&remote.api.name, &availability).await {
                // It is asked again with the next look.
                checked.remove(&remote.api.name);
                outcome = Err(status);
            }
        }
        let is_available = |name: &String| checked.get(name).is_some_and(|known| known.is_available);
        let mut told: Vec<kinds::Remote> =
            remotes.iter().map(|(name, remote)| remote.kinds(is_available(name))).collect();
        told.sort_by(|a, b| (&a.group, &a.version).cmp(&(&b.group, &b.version)));
        registry.cache.set_remotes(told);
        outcome
    }

    async fn write(&self, name: &str, availability: &Availability) -> Result<(), Status> {
        let registry = &self.core.registry;
        let identity = Identity::server();
        let caller = Caller { subresource: "status", writer: Some(WRITER), ..Caller::of(&identity) };
        let scope = Scope { resource: self.resource, namespace: None };
        let now = registry.env.now();
        let change = |current: &Value| {
            let mut changed = current.clone();
            availability.set(&mut changed, now);
            Ok(changed)
        };
        match registry.update(scope, name, Part::Status, caller, &change).await {
            Err(status) if status.code != 404 => Err(status),
            _ => Ok(()),
        }
    }
}
