//! Dynamic resources: finds devices for the claims of a pod (structured parameters).
//!
//! Drivers publish devices in slices. Before a cycle, what a pod needs is worked out once ([`Plan`]); for each node it is
//! then tried whether its devices and the cluster's serve all requests ([`allocate`]). The plan travels with the pod, so
//! that the plugin has no state. What was chosen is written into the claims before the pod is bound ([`write`]), and
//! counts from the moment of choice on ([`Devices::assume`]).

mod allocate;
mod model;
mod plan;
mod pools;
mod write;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use client::{Informers, Lister, objects};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::resource::v1::{AllocationResult, DeviceClass, ResourceClaim, ResourceSlice};

pub(crate) use plan::Plan;
pub(crate) use write::{Decision, WriteError, write};

use model::{DeviceId, Selectors};

/// What is known of devices and claims.
pub(crate) struct Devices {
    claims: Lister<ResourceClaim>,
    slices: Lister<ResourceSlice>,
    classes: Lister<DeviceClass>,
    /// Compiled expressions.
    selectors: Selectors,
    /// By the claim's UID: what was chosen and may not be known to the informer yet.
    assumed: HashMap<String, AllocationResult>,
}

impl Devices {
    /// Reads through informers.
    pub(crate) fn new(informers: &Informers) -> Self {
        Self {
            claims: informers.of::<ResourceClaim>().lister(),
            slices: informers.of::<ResourceSlice>().lister(),
            classes: informers.of::<DeviceClass>().lister(),
            selectors: Selectors::default(),
            assumed: HashMap::new(),
        }
    }

    /// What a pod needs; `None` where it has no claims. An error is what people read.
    pub(crate) fn plan(&mut self, pod: &Pod) -> Result<Option<Plan>, String> {
        let entries = pod.spec.as_ref().and_then(|spec| spec.resource_claims.as_deref()).unwrap_or_default();
        if entries.is_empty() {
            return Ok(None);
        }
        let mut claims: BTreeMap<String, Arc<ResourceClaim>> = BTreeMap::new();
        for entry in entries {
            let Some(name) = plan::claim_name(pod, entry)? else { continue };
            let claim = self.claims.get(Some(objects::namespace(pod)), &name);
            let claim = claim.ok_or_else(|| format!("resourceclaim.resource.k8s.io \"{name}\" not found"))?;
            plan::check(pod, entry, &claim)?;
            claims.insert(name, claim);
        }
        let mut ready = Vec::new();
        let mut due = Vec::new();
        for claim in claims.into_values() {
            let assumed = self.assumed.get(objects::uid(&*claim)).cloned();
            match assumed.or_else(|| claim.status.as_ref().and_then(|status| status.allocation.clone())) {
                Some(allocation) => ready.push((claim, allocation)),
                None => due.push(plan::requests(&claim, &self.classes, &mut self.selectors)?),
            }
        }
        let slices = if due.is_empty() { Vec::new() } else { self.slices.list() };
        Ok(Some(Plan::new(ready, due, slices, self.taken())))
    }

    /// The devices that claims have.
    fn taken(&self) -> BTreeSet<DeviceId> {
        let claims = self.claims.list();
        let known = claims.iter().filter(|claim| !self.assumed.contains_key(objects::uid(&***claim)));
        let known = known.filter_map(|claim| claim.status.as_ref()?.allocation.as_ref());
        known.chain(self.assumed.values()).flat_map(model::devices_of).collect()
    }

    /// Counts what was decided for claims, before they say so themselves.
    pub(crate) fn assume(&mut self, decisions: &[Decision]) {
        for decision in decisions {
            if let Some(allocation) = &decision.allocation {
                self.assumed.insert(decision.uid.clone(), allocation.clone());
            }
        }
    }

    /// Forgets what could not be written.
    pub(crate) fn give_back(&mut self, uids: &[String]) {
        uids.iter().for_each(|uid| drop(self.assumed.remove(uid)));
    }

    /// Takes note of a claim's own word.
    pub(crate) fn see(&mut self, claim: &ResourceClaim, is_gone: bool) {
        let says_so = claim.status.as_ref().is_some_and(|status| status.allocation.is_some());
        if is_gone || says_so {
            self.assumed.remove(objects::uid(claim));
        }
    }
}

#[cfg(test)]
mod tests;
