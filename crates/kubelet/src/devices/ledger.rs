//! What is known of devices: which there are, how they are, and who has them. No input or output happens here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use plugin_api::device_plugin::{ContainerAllocateResponse, Device as Listed};

use super::plugin::Plugin;
use crate::resources::Amounts;

/// How long a resource is shown, with nothing of it to give, after its plugin has gone.
const GRACE: SignedDuration = SignedDuration::from_secs(300);
/// The word of a plugin for a device that can be used.
const HEALTHY: &str = "Healthy";

/// The NUMA nodes that something is near to; none where that does not matter.
pub type NumaNodes = BTreeSet<i64>;

/// One device of a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// Whether its plugin says that it can be used.
    pub healthy: bool,
    /// What it is near to.
    pub nodes: NumaNodes,
}

/// A resource that a plugin offers, or has offered.
#[derive(Debug, Default)]
pub struct Resource {
    /// Its devices by their identifiers.
    pub devices: BTreeMap<String, Device>,
    /// The plugin, as long as it is there.
    pub plugin: Option<Arc<Plugin>>,
    /// Since when it is not.
    gone_at: Option<Timestamp>,
}

/// What a container has of one resource.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Granted {
    /// The devices, and what each is near to.
    pub devices: BTreeMap<String, NumaNodes>,
    /// What the plugin wants the container to be given with them.
    pub answer: ContainerAllocateResponse,
}

/// What the containers of one pod have, by their names and those of resources.
pub type PodGrants = BTreeMap<String, BTreeMap<String, Granted>>;

/// All resources of the node, and who has what of them.
#[derive(Debug, Default)]
pub struct Ledger {
    /// By name.
    pub resources: BTreeMap<String, Resource>,
    /// By the pods' UIDs.
    pub granted: BTreeMap<String, PodGrants>,
}

/// Why a container does not get what it asks for. The messages are shown to users.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Shortage {
    /// The container has another number of devices than it asks for.
    #[error(
        "pod \"{uid}\" container \"{container}\" changed request for resource \"{resource}\" from {had} to {asked}"
    )]
    Changed {
        /// The pod.
        uid: String,
        /// The container.
        container: String,
        /// The resource.
        resource: String,
        /// How many it has.
        had: usize,
        /// How many it asks for.
        asked: usize,
    },
    /// No plugin offers the resource any more, or yet.
    #[error("cannot allocate unregistered device {0}")]
    Unregistered(String),
    /// None of its devices can be used.
    #[error("no healthy devices present; cannot allocate unhealthy devices {0}")]
    NoneHealthy(String),
    /// Others have them.
    #[error("requested number of devices unavailable for {resource}. Requested: {requested}, Available: {available}")]
    TooFew {
        /// The resource.
        resource: String,
        /// How many are asked for.
        requested: usize,
        /// How many are left.
        available: usize,
    },
}

impl Resource {
    /// The devices that can be used.
    pub fn healthy(&self) -> BTreeSet<String> {
        self.devices.iter().filter(|(_, device)| device.healthy).map(|(id, _)| id.clone()).collect()
    }
}

impl Ledger {
    /// Whether a plugin brings or has brought a resource.
    pub fn knows(&self, resource: &str) -> bool {
        self.resources.contains_key(resource) || self.containers().any(|granted| granted.contains_key(resource))
    }

    fn containers(&self) -> impl Iterator<Item = &BTreeMap<String, Granted>> {
        self.granted.values().flat_map(BTreeMap::values)
    }

    /// Takes note of a resource whose plugin is not there yet: it was when the kubelet ran last.
    pub fn restore(&mut self, resource: &str, now: Timestamp) {
        self.resources.entry(resource.to_owned()).or_default().gone_at = Some(now);
    }

    /// Puts a plugin in place, instead of one before. The devices are those known until it lists its own.
    pub fn put(&mut self, plugin: Arc<Plugin>) {
        let resource = self.resources.entry(plugin.resource.clone()).or_default();
        if let Some(before) = resource.plugin.replace(plugin) {
            before.replaced.notify_one();
        }
        resource.gone_at = None;
    }

    fn of(&mut self, plugin: &Arc<Plugin>) -> Option<&mut Resource> {
        let resource = self.resources.get_mut(&plugin.resource)?;
        resource.plugin.as_ref().is_some_and(|current| Arc::ptr_eq(current, plugin)).then_some(resource)
    }

    /// Takes over what a plugin lists; nothing from one that was replaced.
    pub fn list(&mut self, plugin: &Arc<Plugin>, listed: Vec<Listed>) {
        let Some(resource) = self.of(plugin) else { return };
        let device = |one: Listed| {
            let nodes = one.topology.into_iter().flat_map(|topology| topology.nodes).map(|node| node.id).collect();
            (one.id, Device { healthy: one.health == HEALTHY, nodes })
        };
        resource.devices = listed.into_iter().map(device).collect();
    }

    /// Takes note that a plugin is gone: none of its devices can be used until it is back.
    pub fn lose(&mut self, plugin: &Arc<Plugin>, now: Timestamp) -> bool {
        let Some(resource) = self.of(plugin) else { return false };
        resource.plugin = None;
        resource.gone_at = Some(now);
        resource.devices.values_mut().for_each(|device| device.healthy = false);
        true
    }

    /// Forgets resources whose plugins have been away for long. Whether there was one.
    pub fn expire(&mut self, now: Timestamp) -> bool {
        let before = self.resources.len();
        self.resources.retain(|_, resource| resource.gone_at.is_none_or(|at| now.duration_since(at) < GRACE));
        self.resources.len() != before
    }

    /// How many devices there are of each resource.
    pub fn capacity(&self) -> Amounts {
        self.count(|resource| resource.devices.len())
    }

    /// How many of them can be used.
    pub fn allocatable(&self) -> Amounts {
        self.count(|resource| resource.healthy().len())
    }

    fn count(&self, of: impl Fn(&Resource) -> usize) -> Amounts {
        let amount = |resource: &Resource| i64::try_from(of(resource)).unwrap_or(i64::MAX);
        self.resources.iter().map(|(name, resource)| (name.clone(), amount(resource))).collect()
    }

    /// The devices of a resource that containers have.
    pub fn in_use(&self, resource: &str) -> BTreeSet<String> {
        let granted = self.containers().filter_map(|container| container.get(resource));
        granted.flat_map(|granted| granted.devices.keys().cloned()).collect()
    }

    /// What a container has of a resource.
    pub fn granted(&self, uid: &str, container: &str, resource: &str) -> Option<&Granted> {
        self.granted.get(uid)?.get(container)?.get(resource)
    }

    /// The devices that a container can be given: `None` if it has what it asks for, else those of its pod that it
    /// can share (`reusable`) and those that nobody has.
    pub fn available(
        &self,
        (uid, container): (&str, &str),
        resource: &str,
        asked: usize,
        reusable: &BTreeSet<String>,
    ) -> Result<Option<BTreeSet<String>>, Shortage> {
        let has = self.granted(uid, container, resource).filter(|granted| !granted.devices.is_empty());
        if let Some(has) = has.filter(|has| has.devices.len() != asked) {
            let (uid, container, resource) = (uid.to_owned(), container.to_owned(), resource.to_owned());
            return Err(Shortage::Changed { uid, container, resource, had: has.devices.len(), asked });
        }
        if has.is_some() {
            return Ok(None);
        }
        let known = self.resources.get(resource).ok_or_else(|| Shortage::Unregistered(resource.to_owned()))?;
        let healthy = known.healthy();
        if healthy.is_empty() {
            return Err(Shortage::NoneHealthy(resource.to_owned()));
        }
        let in_use = self.in_use(resource);
        let free: BTreeSet<String> = healthy.difference(&in_use).cloned().collect();
        let requested = asked.saturating_sub(reusable.len());
        if free.len() < requested {
            return Err(Shortage::TooFew { resource: resource.to_owned(), requested, available: free.len() });
        }
        Ok(Some(free))
    }

    /// What devices of a resource are near to.
    pub fn nodes(&self, resource: &str, ids: &BTreeSet<String>) -> BTreeMap<String, NumaNodes> {
        let known = self.resources.get(resource);
        let nodes = |id: &String| known.and_then(|known| known.devices.get(id)).map(|device| device.nodes.clone());
        ids.iter().map(|id| (id.clone(), nodes(id).unwrap_or_default())).collect()
    }

    /// Gives a container devices of a resource.
    pub fn grant(&mut self, (uid, container): (&str, &str), resource: &str, granted: Granted) {
        let pod = self.granted.entry(uid.to_owned()).or_default();
        pod.entry(container.to_owned()).or_default().insert(resource.to_owned(), granted);
    }
}
