//! Devices that plugins offer (device plugin API v1beta1): how many there are, who has which, and what a container is
//! given with them.
//!
//! A plugin registers itself and lists its devices. A pod gets its devices when it is let in, and keeps them for as long
//! as it is here, whether the plugin is or not: who has which is written down before anybody is told.

mod checkpoint;
mod choose;
mod ledger;
mod plugin;
mod provider;
mod registration;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::Env;
use k8s_openapi::api::core::v1::{Container, Pod};
use plugin_api::device_plugin::ContainerAllocateResponse;
use tokio::sync::Notify;

pub use ledger::{Device, NumaNodes, Shortage};
pub use registration::{deregister, register, serve};

use crate::metrics::DeviceMetrics;
use crate::pods::spec;
use crate::resources::{Amounts, container_amount};
use choose::Choice;
use ledger::{Granted, Ledger};
use plugin::Plugin;

/// The devices of the node.
pub struct Devices {
    env: Env,
    dir: PathBuf,
    ledger: Mutex<Ledger>,
    /// Whether nothing was written down by a kubelet before.
    is_new: bool,
    /// Pods are given devices one after the other.
    turn: tokio::sync::Mutex<()>,
    changed: Notify,
    metrics: DeviceMetrics,
}

/// Why a container does not get its devices. The messages are shown to users.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// They are not there.
    #[error(transparent)]
    Shortage(#[from] Shortage),
    /// The plugin has gone.
    #[error("unknown Device Plugin {0}")]
    Unknown(String),
    /// The plugin refuses.
    #[error("{0}")]
    Plugin(String),
    /// Who has what cannot be written down.
    #[error("failed to write device plugin checkpoint: {0}")]
    Checkpoint(#[from] io::Error),
}

/// Devices of one resource that a container has, with what each is near to.
pub type Held = BTreeMap<String, NumaNodes>;

type Reusable = BTreeMap<String, BTreeSet<String>>;

impl Devices {
    /// What a kubelet before has left in a directory.
    pub fn restore(dir: PathBuf, env: Env) -> Self {
        let (mut ledger, is_new) = (Ledger::default(), !dir.join(checkpoint::FILE).exists());
        match checkpoint::read(&dir) {
            Ok(Some((read, resources))) => {
                ledger = read;
                resources.iter().for_each(|resource| ledger.restore(resource, env.now()));
            }
            Ok(None) => {}
            Err(err) => tracing::warn!(dir = %dir.display(), %err, "what pods have of devices cannot be read"),
        }
        Self {
            env,
            dir,
            ledger: Mutex::new(ledger),
            is_new,
            turn: tokio::sync::Mutex::default(),
            changed: Notify::new(),
            metrics: DeviceMetrics::default(),
        }
    }

    /// What is measured of plugins.
    pub fn metrics(&self) -> &DeviceMetrics {
        &self.metrics
    }

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where plugins find the kubelet.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether no kubelet before has left anything: what the API says of extended resources is then of another node.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// Waits until the number of devices may have changed.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// How many devices there are, by resource.
    pub fn capacity(&self) -> Amounts {
        let mut ledger = self.lock();
        if ledger.expire(self.env.now())
            && let Err(err) = self.keep(&ledger)
        {
            tracing::warn!(%err, "what pods have of devices cannot be written down");
        }
        ledger.capacity()
    }

    /// How many of them can be used.
    pub fn allocatable(&self) -> Amounts {
        self.lock().allocatable()
    }

    /// Whether a plugin offers a resource, or has offered it to pods that are here.
    pub fn offers(&self, resource: &str) -> bool {
        self.lock().knows(resource)
    }

    /// All devices by resource.
    pub fn all(&self) -> BTreeMap<String, BTreeMap<String, Device>> {
        let ledger = self.lock();
        ledger.resources.iter().map(|(name, resource)| (name.clone(), resource.devices.clone())).collect()
    }

    /// The devices that a container has, by resource.
    pub fn held(&self, uid: &str, container: &str) -> BTreeMap<String, Held> {
        let ledger = self.lock();
        let granted = ledger.granted.get(uid).and_then(|pod| pod.get(container));
        granted.into_iter().flatten().map(|(name, granted)| (name.clone(), granted.devices.clone())).collect()
    }

    fn keep(&self, ledger: &Ledger) -> io::Result<()> {
        checkpoint::write(&self.dir, &checkpoint::encode(ledger)?)
    }

    /// Changes the ledger and writes down what came of it.
    fn change(&self, change: impl FnOnce(&mut Ledger)) -> io::Result<()> {
        let mut ledger = self.lock();
        change(&mut ledger);
        self.keep(&ledger)
    }

    /// The same where it matters little if it cannot be written.
    fn note(&self, change: impl FnOnce(&mut Ledger)) {
        if let Err(err) = self.change(change) {
            tracing::warn!(%err, "what pods have of devices cannot be written down");
        }
        self.changed.notify_one();
    }

    /// Takes the devices of a pod that is gone.
    pub fn forget(&self, uid: &str) {
        if self.lock().granted.contains_key(uid) {
            self.note(|ledger| drop(ledger.granted.remove(uid)));
        }
    }

    /// The devices that a container can share: those of init containers before it that have ended when it starts, as far
    /// as no other container before it has them.
    fn reusable(&self, pod: &Pod, container: &Container) -> Reusable {
        let mut reusable = Reusable::new();
        let all = spec::init_containers(pod).iter().map(|init| (init, !spec::is_sidecar(init)));
        let all = all.chain(spec::containers(pod).iter().map(|regular| (regular, false)));
        for (before, ends) in all.take_while(|(before, _)| before.name != container.name) {
            for (resource, held) in self.held(spec::uid(pod), &before.name) {
                let set = reusable.entry(resource).or_default();
                for id in held.into_keys() {
                    if ends {
                        set.insert(id)
                    } else {
                        set.remove(&id)
                    };
                }
            }
        }
        reusable
    }

    /// The resources of plugins that a container asks for, and how many devices of each.
    fn asked(&self, container: &Container) -> Vec<(String, usize)> {
        let limits = container.resources.as_ref().and_then(|resources| resources.limits.as_ref());
        let ledger = self.lock();
        let names = limits.into_iter().flatten().map(|(name, _)| name).filter(|name| ledger.knows(name));
        let asked = |name: &String| usize::try_from(container_amount(limits, name)?).ok().filter(|asked| *asked > 0);
        names.filter_map(|name| Some((name.clone(), asked(name)?))).collect()
    }

    /// Gives a container the devices that it asks for and does not have, near to some NUMA nodes as far as that goes.
    async fn give(&self, pod: &Pod, container: &Container, near: Option<&NumaNodes>) -> Result<(), DeviceError> {
        let _turn = self.turn.lock().await;
        let reusable = self.reusable(pod, container);
        let who = (spec::uid(pod), container.name.as_str());
        for (resource, asked) in self.asked(container) {
            let shared = reusable.get(&resource).cloned().unwrap_or_default();
            let (free, plugin) = {
                let ledger = self.lock();
                let Some(free) = ledger.available(who, &resource, asked, &shared)? else { continue };
                let plugin = ledger.resources.get(&resource).and_then(|resource| resource.plugin.clone());
                (free, plugin.ok_or_else(|| DeviceError::Unknown(resource.clone()))?)
            };
            let devices = self.choose(&plugin, asked, (&shared, &free), near).await?;
            let began = self.env.instant();
            let answer = plugin.allocate(&devices).await.map_err(DeviceError::Plugin);
            self.metrics.allocated(&resource, began.elapsed());
            let answer = answer?;
            self.change(|ledger| {
                let devices = ledger.nodes(&resource, &devices);
                ledger.grant(who, &resource, Granted { devices, answer });
            })?;
        }
        Ok(())
    }

    /// Chooses devices: shared ones first, then near ones, then any, each time those that the plugin prefers.
    async fn choose(
        &self,
        plugin: &Plugin,
        asked: usize,
        (shared, free): (&BTreeSet<String>, &BTreeSet<String>),
        near: Option<&NumaNodes>,
    ) -> Result<BTreeSet<String>, DeviceError> {
        let mut choice = Choice::new(asked, shared);
        if choice.is_complete() {
            return Ok(choice.devices);
        }
        let sorted = choose::sort(self.lock().nodes(&plugin.resource, free), near);
        if choice.missing() < sorted.aligned.len() {
            let preferred = self.preferred(plugin, &choice, &sorted.aligned).await?;
            choice.take(preferred.intersection(&sorted.aligned));
        }
        choice.take(&sorted.aligned);
        if !choice.is_complete() {
            let preferred = self.preferred(plugin, &choice, free).await?;
            choice.take(preferred.intersection(free));
        }
        choice.take(sorted.unaligned.iter().chain(&sorted.anywhere));
        Ok(choice.devices)
    }

    async fn preferred(
        &self,
        plugin: &Plugin,
        choice: &Choice,
        from: &BTreeSet<String>,
    ) -> Result<BTreeSet<String>, DeviceError> {
        let available = from.union(&choice.devices).cloned().collect();
        let size = choice.devices.len() + choice.missing();
        let preferred = plugin.preferred(available, &choice.devices, size).await.map_err(DeviceError::Plugin)?;
        Ok(preferred.unwrap_or_default())
    }

    /// Gets the devices of a container ready for a start, and says what the container is given with them.
    pub async fn prepare(
        &self,
        pod: &Pod,
        container: &Container,
    ) -> Result<Vec<ContainerAllocateResponse>, DeviceError> {
        let asked = self.asked(container);
        let is_missing = |resource: &str| self.lock().granted(spec::uid(pod), &container.name, resource).is_none();
        if asked.iter().any(|(resource, _)| is_missing(resource)) {
            // The plugin came after the pod was let in.
            self.give(pod, container, None).await?;
        }
        let mut answers = Vec::new();
        for (resource, _) in asked {
            let (granted, plugin) = {
                let ledger = self.lock();
                let granted = ledger.granted(spec::uid(pod), &container.name, &resource).cloned();
                (granted, ledger.resources.get(&resource).and_then(|resource| resource.plugin.clone()))
            };
            let Some(granted) = granted else { continue };
            if let Some(plugin) = plugin {
                let ids = granted.devices.into_keys().collect();
                plugin.pre_start(ids).await.map_err(DeviceError::Plugin)?;
            }
            answers.push(granted.answer);
        }
        Ok(answers)
    }
}

impl Devices {
    /// Puts a plugin in place.
    fn put(&self, plugin: &Arc<Plugin>) {
        self.note(|ledger| ledger.put(Arc::clone(plugin)));
    }

    /// Takes over what a plugin lists.
    fn list(&self, plugin: &Arc<Plugin>, devices: Vec<plugin_api::device_plugin::Device>) {
        self.note(|ledger| ledger.list(plugin, devices));
    }

    /// Takes note that a plugin is gone. Whether it was in place.
    fn lose(&self, plugin: &Arc<Plugin>) -> bool {
        let mut was = false;
        self.note(|ledger| was = ledger.lose(plugin, self.env.now()));
        was
    }

    /// The plugin of a resource.
    fn plugin(&self, resource: &str) -> Option<Arc<Plugin>> {
        self.lock().resources.get(resource)?.plugin.clone()
    }
}
