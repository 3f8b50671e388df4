//! What a pod needs of devices, worked out once for all nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use cel::Program;
use client::{Lister, objects};
use k8s_openapi::api::core::v1::{Pod, PodResourceClaim};
use k8s_openapi::api::resource::v1::{
    AllocationResult, DeviceAllocationConfiguration, DeviceClass, DeviceSelector, ResourceClaim, ResourceSlice,
};

use super::allocate::{self, Found};
use super::model::{DeviceId, Pools, Selectors};
use super::pools;
use super::write::Decision;
use crate::node_info::NodeInfo;
use crate::placement::selects;

/// So many pods can share a claim.
const MOST_USERS: usize = 256;
/// A node may be looked at by so many steps of the search.
pub(super) const MOST_STEPS: usize = 200_000;
/// So many devices can serve a claim.
pub(super) const MOST_DEVICES: usize = 32;

/// The claim that a pod's entry stands for; `None` where none is needed. An error is what people read.
pub(super) fn claim_name(pod: &Pod, entry: &PodResourceClaim) -> Result<Option<String>, String> {
    if let Some(name) = &entry.resource_claim_name {
        return Ok(Some(name.clone()));
    }
    let statuses = pod.status.as_ref().and_then(|status| status.resource_claim_statuses.as_ref());
    match statuses.into_iter().flatten().find(|status| status.name == entry.name) {
        Some(status) => Ok(status.resource_claim_name.clone()),
        None => {
            Err(format!("pod \"{}/{}\": ResourceClaim not created yet", objects::namespace(pod), objects::name(pod)))
        }
    }
}

/// Whether a pod can use a claim as it stands.
pub(super) fn check(pod: &Pod, entry: &PodResourceClaim, claim: &ResourceClaim) -> Result<(), String> {
    let name = objects::name(claim);
    if entry.resource_claim_name.is_none() && !objects::is_controlled_by(&claim.metadata, pod) {
        let (pod, claim) = (objects::name(pod), format!("{}/{name}", objects::namespace(claim)));
        return Err(format!("ResourceClaim {claim} was not created for pod {pod} (pod is not owner)"));
    }
    if objects::is_deleting(claim) {
        return Err(format!("resourceclaim \"{name}\" is being deleted"));
    }
    let users = claim.status.as_ref().and_then(|status| status.reserved_for.as_ref()).into_iter().flatten();
    let users: Vec<&str> = users.map(|user| user.uid.as_str()).collect();
    if !users.contains(&objects::uid(pod)) && users.len() >= MOST_USERS {
        return Err("resourceclaim in use".to_owned());
    }
    Ok(())
}

/// A request of a claim, in one of the ways in which it can be met.
#[derive(Debug)]
pub(super) struct Alternative {
    /// As results name it: the request, or request and sub-request.
    pub(super) name: String,
    /// What the device must be.
    pub(super) selectors: Vec<Arc<Program>>,
    /// How many devices; `None` for all.
    pub(super) count: Option<usize>,
    /// Whether devices of others can be had, without taking them.
    pub(super) admin: bool,
    /// What the class wants the driver to be told.
    pub(super) config: Vec<DeviceAllocationConfiguration>,
}

/// A claim without devices.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) claim: Arc<ResourceClaim>,
    /// Its requests; of each the first alternative that can be met is taken.
    pub(super) requests: Vec<Vec<Alternative>>,
    /// Attributes that the devices of some requests must share.
    pub(super) constraints: Vec<(BTreeSet<String>, String)>,
}

/// Reads the requests of a claim. An error is what people read.
pub(super) fn requests(
    claim: &Arc<ResourceClaim>,
    classes: &Lister<DeviceClass>,
    selectors: &mut Selectors,
) -> Result<Due, String> {
    let devices = claim.spec.devices.clone().unwrap_or_default();
    let mut requests = Vec::new();
    for request in devices.requests.iter().flatten() {
        let mut alternative = |name: String, asked: Asked<'_>| {
            let class = classes.get(None, asked.class);
            let class = class.ok_or_else(|| format!("request {name}: device class {} does not exist", asked.class))?;
            let mut all = selectors.compile(class.spec.selectors.as_ref())?;
            all.extend(selectors.compile(asked.selectors)?);
            let config = class.spec.config.iter().flatten().map(|config| DeviceAllocationConfiguration {
                opaque: config.opaque.clone(),
                requests: Some(vec![name.clone()]),
                source: "FromClass".to_owned(),
            });
            let config = config.collect();
            Ok::<_, String>(Alternative { name, selectors: all, count: asked.count(), admin: asked.admin, config })
        };
        let mut alternatives = Vec::new();
        if let Some(exact) = &request.exactly {
            let asked = Asked {
                class: &exact.device_class_name,
                selectors: exact.selectors.as_ref(),
                mode: exact.allocation_mode.as_deref(),
                count: exact.count,
                admin: exact.admin_access == Some(true),
            };
            alternatives.push(alternative(request.name.clone(), asked)?);
        }
        for sub in request.first_available.iter().flatten() {
            let asked = Asked {
                class: &sub.device_class_name,
                selectors: sub.selectors.as_ref(),
                mode: sub.allocation_mode.as_deref(),
                count: sub.count,
                admin: false,
            };
            alternatives.push(alternative(format!("{}/{}", request.name, sub.name), asked)?);
        }
        requests.push(alternatives);
    }
    let constraints = devices.constraints.into_iter().flatten();
    let constraints = constraints
        .filter_map(|one| Some((one.requests.unwrap_or_default().into_iter().collect(), one.match_attribute?)));
    Ok(Due { claim: Arc::clone(claim), requests, constraints: constraints.collect() })
}

/// What a request says.
struct Asked<'a> {
    class: &'a str,
    selectors: Option<&'a Vec<DeviceSelector>>,
    mode: Option<&'a str>,
    count: Option<i64>,
    admin: bool,
}

impl Asked<'_> {
    fn count(&self) -> Option<usize> {
        match self.mode {
            Some("All") => None,
            _ => Some(usize::try_from(self.count.unwrap_or(1)).unwrap_or(usize::MAX)),
        }
    }
}

/// What a pod needs of devices.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Claims that have devices.
    ready: Vec<(Arc<ResourceClaim>, AllocationResult)>,
    /// Claims that have none.
    due: Vec<Due>,
    pools: BTreeMap<(String, String), Vec<Arc<ResourceSlice>>>,
    taken: BTreeSet<DeviceId>,
    /// What was found for nodes: it is needed again for the one that is picked.
    found: Mutex<BTreeMap<String, Found>>,
}

impl Plan {
    pub(super) fn new(
        ready: Vec<(Arc<ResourceClaim>, AllocationResult)>,
        due: Vec<Due>,
        slices: Vec<Arc<ResourceSlice>>,
        taken: BTreeSet<DeviceId>,
    ) -> Self {
        Self { ready, due, pools: pools::newest(slices), taken, found: Mutex::default() }
    }

    /// Whether the claims can be used on a node. An error is what people read.
    pub(crate) fn fits(&self, node: &NodeInfo) -> Result<(), String> {
        for (_, allocation) in &self.ready {
            if allocation.node_selector.as_ref().is_some_and(|one| !selects(one, &node.name, &node.labels)) {
                return Err("resourceclaim not available on the node".to_owned());
            }
        }
        if self.due.is_empty() {
            return Ok(());
        }
        let offers: Pools = pools::of_node(&self.pools, node);
        let found = allocate::allocate(&self.due, &offers, &self.taken)?;
        let found = found.ok_or_else(|| "cannot allocate all claims".to_owned())?;
        self.found.lock().unwrap_or_else(PoisonError::into_inner).insert(node.name.clone(), found);
        Ok(())
    }

    /// What is to be written into the claims of the pod when it goes to a node that fits.
    pub(crate) fn decide(&self, node: &str) -> Vec<Decision> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner).remove(node).unwrap_or_default();
        let ready = self.ready.iter().map(|(claim, _)| Decision::of(claim, None));
        let due = self.due.iter().map(|due| Decision::of(&due.claim, found.remove(objects::uid(&*due.claim))));
        ready.chain(due).collect()
    }
}
