//! Ranges of service addresses: they are ready once they are protected, and stay until no Service has an address that is
//! of no other range.

use std::sync::Arc;
use std::time::Duration;

use base::Drain;
use client::{Controller, ControllerError, Lister, ObjectKey, objects};
use ipnet::IpNet;
use jiff::SignedDuration;
use k8s_openapi::api::networking::v1::{IPAddress, ServiceCIDR};
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;

use crate::context::Context;
use crate::error::{Attempt, SyncError};
use crate::finalizer;

const NAME: &str = "service-cidr-controller";
const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";

/// API servers have seen by then that no more addresses may be taken.
const GRACE: SignedDuration = SignedDuration::from_secs(10);

const READY: Condition = Condition { status: "True", reason: "", message: "Kubernetes Service CIDR is ready" };
const TERMINATING: Condition = Condition {
    status: "False",
    reason: "Terminating",
    message: "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR",
};

/// What the condition `Ready` says.
struct Condition {
    status: &'static str,
    reason: &'static str,
    message: &'static str,
}

struct Ranges {
    context: Context,
    ranges: Lister<ServiceCIDR>,
}

/// Runs the controller until the drain signal.
pub(crate) async fn run(context: Context, drain: Drain) -> Result<(), ControllerError> {
    let ranges = context.informers.of::<ServiceCIDR>();
    let addresses = context.informers.of::<IPAddress>();
    let sync = Arc::new(Ranges { ranges: ranges.lister(), context });
    let (for_ranges, for_addresses) = (Arc::clone(&sync), Arc::clone(&sync));
    Controller::new(NAME, sync.context.env.clone())
        .watch(&ranges, move |event, queue| {
            queue.add(ObjectKey::of(&**event.object()));
            // What one range takes over, another may be waiting for.
            for_ranges.ending().for_each(|key| queue.add(key));
        })
        .watch(&addresses, move |event, queue| {
            if event.is_deleted() {
                for_addresses.ending().for_each(|key| queue.add(key));
            }
        })
        .run(drain, move |key| {
            let sync = Arc::clone(&sync);
            async move { sync.sync(&key).await }
        })
        .await
}

impl Ranges {
    /// The ranges that are being deleted.
    fn ending(&self) -> impl Iterator<Item = ObjectKey> + use<> {
        let all = self.ranges.list();
        all.into_iter().filter(|range| objects::is_deleting(&**range)).map(|range| ObjectKey::of(&*range))
    }

    async fn sync(&self, key: &ObjectKey) -> Result<Option<Duration>, SyncError> {
        let Some(range) = self.ranges.get_key(key) else { return Ok(None) };
        let api: Api<ServiceCIDR> = self.context.cluster();
        let is_protected = finalizer::has(&*range, FINALIZER);
        let Some(deleted) = &range.metadata.deletion_timestamp else {
            if !is_protected {
                // The change adds this key again.
                return finalizer::toggle(&api, &*range, FINALIZER, key).await;
            }
            return self.say(&api, &range, &READY, key).await;
        };
        if !is_protected {
            return Ok(None);
        }
        let wait = GRACE.saturating_sub(self.context.env.now().duration_since(deleted.0));
        if let Ok(wait) = Duration::try_from(wait)
            && !wait.is_zero()
        {
            return Ok(Some(wait));
        }
        // The informer of addresses may be behind, so the server is asked.
        let addresses: Api<IPAddress> = self.context.cluster();
        let addresses = addresses.list(&ListParams::default()).await.attempt("list addresses of", key)?;
        let others: Vec<Arc<ServiceCIDR>> = self.ranges.list().into_iter().filter(|other| lives(other)).collect();
        if addresses.items.iter().any(|address| needs(address, &range, &others)) {
            return self.say(&api, &range, &TERMINATING, key).await;
        }
        finalizer::toggle(&api, &*range, FINALIZER, key).await
    }

    /// Writes the condition, unless it says so already.
    async fn say(
        &self,
        api: &Api<ServiceCIDR>,
        range: &ServiceCIDR,
        condition: &Condition,
        key: &ObjectKey,
    ) -> Result<Option<Duration>, SyncError> {
        let Condition { status, reason, message } = condition;
        let conditions = range.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        if conditions.iter().any(|found| found.type_ == "Ready" && found.status == *status) {
            return Ok(None);
        }
        let applied = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": key.name},
            "status": {"conditions": [{
                "type": "Ready", "status": status, "reason": reason, "message": message,
                "lastTransitionTime": self.context.env.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            }]},
        });
        let params = PatchParams::apply(NAME).force();
        let applied = api.patch_status(&key.name, &params, &Patch::Apply(applied)).await;
        objects::ignore_not_found(applied).attempt("write the status of", key)?;
        Ok(None)
    }
}

fn lives(range: &ServiceCIDR) -> bool {
    !objects::is_deleting(range)
}

/// Whether an address is of this range and of no other.
fn needs(address: &IPAddress, range: &ServiceCIDR, others: &[Arc<ServiceCIDR>]) -> bool {
    has(range, address) && !others.iter().any(|other| has(other, address))
}

fn has(range: &ServiceCIDR, address: &IPAddress) -> bool {
    let Ok(address) = objects::name(address).parse::<std::net::IpAddr>() else { return false };
    let cidrs = range.spec.iter().flat_map(|spec| spec.cidrs.iter().flatten());
    cidrs.filter_map(|cidr| cidr.parse::<IpNet>().ok()).any(|network| network.contains(&address))
}
