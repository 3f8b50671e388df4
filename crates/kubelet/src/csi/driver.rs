//! The drivers that are registered, and what each can do.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::Env;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::storage::v1::{CSIDriver, CSIDriverSpec};
use tokio::sync::watch;
use tonic::Status;

use super::attach::Attachments;
use super::messages::{
    Capability, NodeGetCapabilitiesRequest, NodeGetInfoRequest, NodeGetInfoResponse, ServiceCapability,
};
use crate::locks::Locks;
use crate::plugins::grpc::{Call, Connection, describe};

/// How long a driver may take for what it has to do.
const ACTION: Duration = Duration::from_secs(120);
/// How long a driver may take to say something.
const ANSWER: Duration = Duration::from_secs(15);
/// How long a volume waits for its driver: after a start of the node both come at once.
const APPEARANCE: Duration = Duration::from_secs(5);

/// A driver on this node.
#[derive(Debug)]
pub struct Driver {
    /// Its name.
    pub name: String,
    connection: Connection,
    capabilities: tokio::sync::OnceCell<BTreeSet<Capability>>,
}

impl Driver {
    /// The driver behind a socket.
    pub fn new(name: &str, endpoint: &Path) -> Self {
        let capabilities = tokio::sync::OnceCell::new();
        Self { name: name.to_owned(), connection: Connection::new(endpoint), capabilities }
    }

    /// Has it do something; an error is a message for the user.
    pub async fn act<M: Call>(&self, message: M) -> Result<M::Answer, String> {
        self.try_to(message).await.map_err(|status| describe(&status))
    }

    /// The same where it matters how it fails.
    pub async fn try_to<M: Call>(&self, message: M) -> Result<M::Answer, Status> {
        self.connection.call(message, ACTION).await
    }

    /// What the node is to it.
    pub async fn info(&self) -> Result<NodeGetInfoResponse, String> {
        let answer = self.connection.call(NodeGetInfoRequest {}, ANSWER).await;
        let info = answer.map_err(|status| format!("error updating CSINode: {}", describe(&status)))?;
        if info.node_id.is_empty() {
            return Err(format!("the CSI driver {} gave the node no ID", self.name));
        }
        Ok(info)
    }

    /// Whether it can do something.
    pub async fn can(&self, capability: Capability) -> Result<bool, String> {
        let ask = || async {
            let answer = self.connection.call(NodeGetCapabilitiesRequest {}, ANSWER).await;
            let answer = answer.map_err(|status| describe(&status))?;
            let known = answer.capabilities.iter().filter_map(|one| match one.r#type? {
                ServiceCapability::Rpc(rpc) => Capability::try_from(rpc.r#type).ok(),
            });
            Ok::<_, String>(known.collect())
        };
        let capabilities: &BTreeSet<Capability> = self.capabilities.get_or_try_init(ask).await?;
        Ok(capabilities.contains(&capability))
    }

    /// Asks it something; an error is a message for people.
    pub async fn ask<M: Call>(&self, message: M) -> Result<M::Answer, String> {
        self.connection.call(message, ANSWER).await.map_err(|status| describe(&status))
    }
}

/// The drivers of this node, and what is going on with their volumes.
pub struct Drivers {
    env: Env,
    registered: watch::Sender<BTreeMap<String, Arc<Driver>>>,
    /// What the cluster says of drivers.
    objects: client::Informer<CSIDriver>,
    /// One lock a volume, so that it is staged or unstaged once at a time.
    locks: Locks<PathBuf>,
    /// When volumes were last published whose drivers want to be asked again.
    publications: Mutex<HashMap<PathBuf, Timestamp>>,
    /// The sizes that the node has of volumes, by their unique names, in bytes.
    sizes: Mutex<HashMap<String, i64>>,
    /// Volumes that have to be attached to the node.
    pub attachments: Attachments,
}

impl Drivers {
    /// No drivers yet.
    pub fn new(env: Env, objects: client::Informer<CSIDriver>, attachments: Attachments) -> Self {
        let registered = watch::channel(BTreeMap::new()).0;
        let (locks, publications, sizes) = (Locks::default(), Mutex::default(), Mutex::default());
        Self { env, registered, objects, locks, publications, sizes, attachments }
    }

    /// Adds a driver, in place of one of the same name.
    pub fn put(&self, driver: Arc<Driver>) {
        self.registered.send_modify(|drivers| {
            drivers.insert(driver.name.clone(), driver);
        });
    }

    /// Removes a driver.
    pub fn remove(&self, name: &str) {
        self.registered.send_modify(|drivers| {
            drivers.remove(name);
        });
    }

    /// The driver of a name, if it is registered.
    pub fn get(&self, name: &str) -> Option<Arc<Driver>> {
        self.registered.borrow().get(name).cloned()
    }

    /// The driver of a name; waits for it, but not for long. An error is a message for the user.
    pub async fn wait(&self, name: &str) -> Result<Arc<Driver>, String> {
        let mut registered = self.registered.subscribe();
        let found = tokio::select! {
            drivers = registered.wait_for(|drivers| drivers.contains_key(name)) => {
                drivers.ok().and_then(|drivers| drivers.get(name).cloned())
            }
            () = self.env.sleep(APPEARANCE) => None,
        };
        found.ok_or_else(|| format!("driver name {name} not found in the list of registered CSI drivers"))
    }

    /// What the cluster says of a driver, if anything.
    pub async fn spec(&self, name: &str) -> Option<CSIDriverSpec> {
        self.objects.synced().await;
        self.objects.lister().get(None, name).map(|object| object.spec.clone())
    }

    /// Tells when drivers come and go.
    pub fn registered(&self) -> watch::Receiver<BTreeMap<String, Arc<Driver>>> {
        self.registered.subscribe()
    }

    /// Tells when the cluster says something else of drivers.
    pub fn objects(&self) -> client::Events<CSIDriver> {
        self.objects.subscribe()
    }

    /// The drivers that want to be asked again how many volumes the node can have, and how often.
    pub fn with_periods(&self) -> Vec<(Arc<Driver>, SignedDuration)> {
        let registered = self.registered.borrow();
        let period = |driver: &Arc<Driver>| {
            let object = self.objects.lister().get(None, &driver.name)?;
            let seconds = object.spec.node_allocatable_update_period_seconds.filter(|seconds| *seconds > 0)?;
            Some((Arc::clone(driver), SignedDuration::from_secs(seconds)))
        };
        registered.values().filter_map(period).collect()
    }

    fn publications(&self) -> std::sync::MutexGuard<'_, HashMap<PathBuf, Timestamp>> {
        self.publications.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a volume was last published so long ago, or by a kubelet that ran before.
    pub fn is_due(&self, target: &Path, now: Timestamp, interval: SignedDuration) -> bool {
        self.publications().get(target).is_none_or(|at| now.duration_since(*at) >= interval)
    }

    /// Takes note that a volume was published.
    pub fn note_publication(&self, target: &Path, now: Timestamp) {
        self.publications().insert(target.to_owned(), now);
    }

    /// Forgets a volume that is gone.
    pub fn forget_publication(&self, target: &Path) {
        self.publications().remove(target);
    }

    fn sizes(&self) -> std::sync::MutexGuard<'_, HashMap<String, i64>> {
        self.sizes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The size that the node has of a volume: `first`, in bytes, where nothing is known.
    pub fn size(&self, volume: &str, first: i64) -> i64 {
        *self.sizes().entry(volume.to_owned()).or_insert(first)
    }

    /// Takes note that the node has that much of a volume.
    pub fn note_size(&self, volume: &str, size: i64) {
        self.sizes().insert(volume.to_owned(), size);
    }

    /// Forgets the size of a volume that is gone from the node.
    pub fn forget_size(&self, volume: &str) {
        self.sizes().remove(volume);
    }

    /// The lock of the volume at a path.
    pub fn lock(&self, path: &Path) -> Arc<tokio::sync::Mutex<()>> {
        self.locks.of(path.to_owned())
    }
}
