//! The task that keeps APIServices, their statuses and what is known of extension API servers.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use api::kinds::Resource;
use api::status::Status;
use base::Drain;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use serde_json::Value;

use super::api_service::{ApiService, Availability};
use super::{local, trust};
use crate::access::Identity;
use crate::cache::{Selection, Watcher};
use crate::kinds;
use crate::pipeline::Core;
use crate::registry::{Caller, Part, Scope, Writer};

/// Who writes the statuses of APIServices: upstream's server does it over a connection to itself, under no other name.
const WRITER: Writer<'static> = Writer { manager: "Go-http-client", subresource: "status" };

/// How often an extension API server is asked whether it is still there: nothing tells when it is not.
const CHECK: Duration = Duration::from_secs(30);

/// The wait before what has failed is done again.
const RETRY: Duration = Duration::from_secs(1);

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

/// The extension API servers that have been asked, and the questions that are not answered yet. A server that answers
/// slowly keeps nobody waiting but itself.
#[derive(Default)]
struct Checks {
    checked: HashMap<String, Checked>,
    running: FuturesUnordered<BoxFuture<'static, Answer>>,
    /// The number of the last question.
    asked: u64,
}

/// What was last found out about an extension API server.
struct Checked {
    /// What it was asked by; when that changes, it is asked again at once.
    api: ApiService,
    endpoints: Result<Vec<SocketAddr>, Availability>,
    is_available: bool,
    /// When it is asked again.
    due: Timestamp,
    /// The number of the question: an answer to an earlier one is out of date.
    asked: u64,
}

/// The answer to a question.
struct Answer {
    name: String,
    asked: u64,
    availability: Availability,
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
        let mut renewed = self.core.aggregation.front_proxy.renewed();
        let mut authorities = self.core.authorities.changes();
        let mut checks = Checks::default();
        loop {
            let done = self.sync(&mut checks).await;
            if let Err(status) = &done {
                tracing::warn!(err = %status.message, "APIServices could not be kept");
            }
            let has_remotes = !checks.checked.is_empty();
            let pause = if done.is_err() { RETRY } else { checks.until_due(registry.env.now()) };
            let in_time = tokio::select! {
                changes = apis.changes() => changes.is_ok(),
                changes = services.changes(), if has_remotes => changes.is_ok(),
                changes = slices.changes(), if has_remotes => changes.is_ok(),
                changed = served.changed() => changed.is_ok(),
                changed = authorities.changed() => changed.is_ok(),
                changed = renewed.changed() => {
                    self.core.aggregation.retire_connections();
                    changed.is_ok()
                }
                Some(answer) = checks.running.next(), if has_remotes => {
                    self.take(&mut checks, answer).await;
                    true
                }
                () = registry.env.sleep(pause), if has_remotes || done.is_err() => true,
            };
            if !in_time {
                return;
            }
        }
    }

    /// Brings everything up to date, and asks the extension API servers whose turn it is.
    async fn sync(&self, checks: &mut Checks) -> Result<(), Status> {
        let registry = &self.core.registry;
        trust::publish(&self.core).await?;
        local::keep(registry, self.resource, &registry.cache.kinds().group_versions()).await?;
        let snapshot = registry.resource_cache(self.resource)?.snapshot(0);
        self.core.aggregation.take(registry, snapshot.range(None).map(|object| object.value()));
        let remotes = self.core.aggregation.remotes.load_full();
        checks.checked.retain(|name, _| remotes.contains_key(name));
        let now = registry.env.now();
        for (name, remote) in &*remotes {
            let known = checks.checked.get(name);
            let is_settled = known.is_some_and(|known| {
                now < known.due && known.api.asks_as(&remote.api) && known.endpoints == remote.endpoints
            });
            if is_settled {
                continue;
            }
            checks.asked += 1;
            let asked = checks.asked;
            let checked = Checked {
                api: remote.api.clone(),
                endpoints: remote.endpoints.clone(),
                is_available: known.is_some_and(|known| known.is_available && known.api.asks_as(&remote.api)),
                due: after(now, CHECK),
                asked,
            };
            checks.checked.insert(name.clone(), checked);
            let (core, remote, name) = (self.core.clone(), remote.clone(), name.clone());
            let check = async move { Answer { name, asked, availability: remote.check(&core).await } };
            checks.running.push(Box::pin(check));
        }
        self.tell(checks);
        Ok(())
    }

    /// Writes what an extension API server has answered into its APIService.
    async fn take(&self, checks: &mut Checks, answer: Answer) {
        let Answer { name, asked, availability } = answer;
        let Some(known) = checks.checked.get_mut(&name).filter(|known| known.asked == asked) else { return };
        known.is_available = availability.is_available;
        if let Err(status) = self.write(&name, &availability).await {
            tracing::warn!(name, err = %status.message, "the status of an APIService could not be written");
            known.due = after(self.core.registry.env.now(), RETRY);
        }
        self.tell(checks);
    }

    /// Lets discovery and OpenAPI tell what is known now.
    fn tell(&self, checks: &Checks) {
        let remotes = self.core.aggregation.remotes.load();
        let is_available = |name: &String| checks.checked.get(name).is_some_and(|known| known.is_available);
        let mut told: Vec<kinds::Remote> =
            remotes.iter().map(|(name, remote)| remote.kinds(is_available(name))).collect();
        told.sort_by(|a, b| (&a.group, &a.version).cmp(&(&b.group, &b.version)));
        self.core.registry.cache.set_remotes(told);
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

impl Checks {
    /// How long until somebody is asked again.
    fn until_due(&self, now: Timestamp) -> Duration {
        let due = self.checked.values().map(|known| known.due).min();
        due.map_or(CHECK, |due| Duration::try_from(due.duration_since(now)).unwrap_or_default())
    }
}

fn after(now: Timestamp, wait: Duration) -> Timestamp {
    now.saturating_add(wait).unwrap_or(Timestamp::MAX)
}
