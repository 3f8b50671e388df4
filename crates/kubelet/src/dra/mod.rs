//! Dynamic resources: devices that claims of pods were allocated, prepared by their drivers before a pod starts and taken
//! back when it has stopped.
//!
//! Which claims may be prepared is written down before a driver is asked ([`state`]), so that a kubelet that was killed
//! takes them back in the same way. What a driver is asked it may be asked again.

mod claims;
mod driver;
mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::api::resource::v1::ResourceClaim;
use kube::Api;
use plugin_api::dra::{Claim, NodePrepareResourcesRequest, NodeUnprepareResourcesRequest};
use serde_json::Map;
use tokio::sync::OwnedMutexGuard;

pub use claims::ClaimError;
pub use driver::withdraw_all;

use crate::context::{Context, Shared};
use crate::locks::Locks;
use crate::pods::spec;
use driver::Drivers;
use state::State;
pub use state::{Device, Prepared};

/// A claim's namespace and name.
type Key = (String, String);

/// The claims of the node's pods, and the drivers that prepare them.
pub struct ResourceClaims {
    drivers: Drivers,
    state: Mutex<State>,
    /// One lock a claim, so that it is not prepared and taken back at the same time.
    locks: Locks<Key>,
}

/// Why claims are not prepared, or not taken back. The messages are shown to users.
#[derive(Debug, thiserror::Error)]
pub enum DraError {
    /// The pod cannot use a claim.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// A claim cannot be read.
    #[error("fetch ResourceClaim {name}: {source}")]
    Fetch {
        /// The claim.
        name: String,
        /// The API server's words.
        source: Box<kube::Error>,
    },
    /// There was another claim of that name, which is not taken back.
    #[error(
        "old ResourceClaim with same name {name} and different UID {uid} still exists (previous pod force-deleted?!)"
    )]
    Namesake {
        /// The name.
        name: String,
        /// The other's UID.
        uid: String,
    },
    /// A driver is not there, or refuses.
    #[error("{0}")]
    Driver(String),
    /// What is prepared cannot be written down.
    #[error("checkpoint ResourceClaim state: {0}")]
    Checkpoint(#[from] io::Error),
}

impl ResourceClaims {
    /// What a kubelet before has left in its directory.
    pub fn restore(dir: PathBuf) -> Self {
        Self { drivers: Drivers::default(), state: Mutex::new(State::restore(dir)), locks: Locks::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the locks of claims, in their order.
    async fn hold(&self, keys: impl IntoIterator<Item = Key>) -> Vec<OwnedMutexGuard<()>> {
        let keys: BTreeSet<Key> = keys.into_iter().collect();
        let mut held = Vec::new();
        for key in keys {
            held.push(self.locks.of(key).lock_owned().await);
        }
        held
    }

    /// Adds a driver. An error is a message for the driver.
    pub fn register(&self, name: &str, endpoint: &Path, versions: &[String]) -> Result<(), String> {
        self.drivers.register(name, endpoint, versions)
    }

    /// Forgets a driver that has gone.
    pub fn deregister(&self, context: &Shared, name: &str) {
        self.drivers.deregister(context, name);
    }

    /// The pods of which drivers may have to take something back.
    pub fn pods(&self) -> BTreeSet<String> {
        self.lock().pods()
    }

    /// Has the claims of a pod prepared, unless they are.
    pub async fn prepare(&self, context: &Context, pod: &Pod) -> Result<(), DraError> {
        // Nothing is noted before all has been checked: a pod that may not use its claims has nothing to give back.
        let mut wanted = Vec::new();
        for entry in claims::entries(pod) {
            let Some((name, must_own)) = claims::name(pod, entry)? else { continue };
            let api: Api<ResourceClaim> = Api::namespaced(context.client.clone(), spec::namespace(pod));
            let claim = api.get(&name).await;
            let claim = claim.map_err(|source| DraError::Fetch { name, source: Box::new(source) })?;
            let prepared = claims::check(pod, &claim, must_own)?;
            for driver in prepared.driver_state.keys() {
                self.drivers.get(driver).map_err(DraError::Driver)?;
            }
            wanted.push(prepared);
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let _held = self.hold(wanted.iter().map(key)).await;
        let due = self.note(pod, wanted)?;
        self.ask(&due).await?;
        let mut state = self.lock();
        for claim in &due {
            if let Some(known) = state.get_mut(&claim.namespace, &claim.claim_name) {
                known.is_ready = true;
            }
        }
        state.keep()?;
        Ok(())
    }

    /// Writes down which claims a pod uses; those that have yet to be prepared come back.
    fn note(&self, pod: &Pod, wanted: Vec<Prepared>) -> Result<Vec<Prepared>, DraError> {
        let mut state = self.lock();
        let mut due = Vec::new();
        for claim in wanted {
            let (namespace, name) = key(&claim);
            match state.get(&namespace, &name) {
                None => state.add(claim),
                Some(known) if known.claim_uid != claim.claim_uid => {
                    return Err(DraError::Namesake { name, uid: known.claim_uid.clone() });
                }
                Some(_) => {}
            }
            if let Some(known) = state.get_mut(&namespace, &name) {
                known.pod_uids.insert(spec::uid(pod).to_owned(), Map::new());
                due.extend((!known.is_ready).then(|| known.clone()));
            }
        }
        state.keep()?;
        Ok(due)
    }

    /// Has drivers prepare claims, each driver all of its own at once.
    async fn ask(&self, due: &[Prepared]) -> Result<(), DraError> {
        for (name, claims) in batches(due) {
            let driver = self.drivers.get(&name).map_err(DraError::Driver)?;
            let request = NodePrepareResourcesRequest { claims: claims.iter().map(|claim| wire(claim)).collect() };
            let mut answers = driver.prepare(request).await.map_err(DraError::Driver)?.claims;
            for claim in &claims {
                let answer = answers.remove(&claim.claim_uid).ok_or_else(|| skipped("NodePrepareResources", claim))?;
                if !answer.error.is_empty() {
                    return Err(failed("NodePrepareResources", claim, &answer.error));
                }
                let devices = answer.devices.into_iter().map(|device| Device {
                    pool_name: device.pool_name,
                    device_name: device.device_name,
                    request_names: device.request_names,
                    cdi_device_ids: device.cdi_device_ids,
                });
                if let Some(known) = self.lock().get_mut(&claim.namespace, &claim.claim_name) {
                    known.driver_state.entry(name.clone()).or_default().devices = devices.collect();
                }
            }
        }
        Ok(())
    }

    /// Has the claims of a pod that has stopped taken back, as far as no other pod uses them.
    pub async fn unprepare(&self, uid: &str) -> Result<(), DraError> {
        let keys = self.lock().of_pod(uid);
        if keys.is_empty() {
            return Ok(());
        }
        let _held = self.hold(keys.iter().cloned()).await;
        let mut due = Vec::new();
        {
            let mut state = self.lock();
            for (namespace, name) in &keys {
                let Some(claim) = state.get_mut(namespace, name) else { continue };
                if claim.pod_uids.len() > 1 {
                    claim.pod_uids.remove(uid);
                } else {
                    claim.is_ready = false;
                    due.push(claim.clone());
                }
            }
        }
        for (name, claims) in batches(&due) {
            let driver = self.drivers.get(&name).map_err(DraError::Driver)?;
            let request = NodeUnprepareResourcesRequest { claims: claims.iter().map(|claim| wire(claim)).collect() };
            let answers = driver.unprepare(request).await.map_err(DraError::Driver)?.claims;
            for claim in &claims {
                let answer = answers.get(&claim.claim_uid).ok_or_else(|| skipped("NodeUnprepareResources", claim))?;
                if !answer.error.is_empty() {
                    return Err(failed("NodeUnprepareResources", claim, &answer.error));
                }
            }
        }
        let mut state = self.lock();
        for claim in due {
            state.remove(&claim.namespace, &claim.claim_name);
        }
        state.keep()?;
        Ok(())
    }

    /// The devices of a container by their names in the Container Device Interface.
    pub async fn cdi_devices(
        &self,
        context: &Context,
        pod: &Pod,
        container: &Container,
    ) -> Result<Vec<String>, DraError> {
        let used = claims::of_container(pod, container)?;
        let is_known = |name: &String| self.lock().get(spec::namespace(pod), name).is_some();
        if !used.keys().all(is_known) {
            // What was written down is lost, or the pod began before it was.
            self.prepare(context, pod).await?;
        }
        let state = self.lock();
        let mut devices = Vec::new();
        for (name, requests) in used {
            let Some(claim) = state.get(spec::namespace(pod), &name) else { continue };
            devices.extend(requests.iter().flat_map(|request| claim.cdi_devices(request)));
        }
        Ok(devices)
    }

    /// The claims of a container, as far as something is prepared of them.
    pub fn of_container(&self, pod: &Pod, container: &Container) -> Vec<Prepared> {
        let used = claims::of_container(pod, container).unwrap_or_default();
        let state = self.lock();
        used.keys().filter_map(|name| state.get(spec::namespace(pod), name).cloned()).collect()
    }
}

fn key(claim: &Prepared) -> Key {
    (claim.namespace.clone(), claim.claim_name.clone())
}

fn wire(claim: &Prepared) -> Claim {
    Claim { namespace: claim.namespace.clone(), uid: claim.claim_uid.clone(), name: claim.claim_name.clone() }
}

/// Claims by their drivers.
fn batches(claims: &[Prepared]) -> BTreeMap<String, Vec<&Prepared>> {
    let mut batches = BTreeMap::<String, Vec<&Prepared>>::new();
    for claim in claims {
        for driver in claim.driver_state.keys() {
            batches.entry(driver.clone()).or_default().push(claim);
        }
    }
    batches
}

fn skipped(method: &str, claim: &Prepared) -> DraError {
    DraError::Driver(format!("{method} skipped ResourceClaim {}", claim.claim_name))
}

fn failed(method: &str, claim: &Prepared, err: &str) -> DraError {
    DraError::Driver(format!("{method} failed for ResourceClaim {}: {err}", claim.claim_name))
}
