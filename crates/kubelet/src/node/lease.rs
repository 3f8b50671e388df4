//! The node's heartbeat: a Lease that is renewed four times while it holds.

use std::time::Duration;

use base::Drain;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, OwnerReference};
use kube::Api;
use kube::api::{ObjectMeta, PostParams};

use crate::context::Shared;

const NAMESPACE: &str = "kube-node-lease";
/// Between attempts after a failure: well below the lease's duration.
const RETRY: Duration = Duration::from_millis(500);
const LONGEST_RETRY: Duration = Duration::from_secs(7);

/// Renews the lease until the drain signal.
pub async fn renew(context: Shared, drain: Drain) {
    let api: Api<Lease> = Api::namespaced(context.client.clone(), NAMESPACE);
    let mut known: Option<Lease> = None;
    let mut retry = RETRY;
    let interval = Duration::from_secs(context.config.lease_seconds.unsigned_abs().into()) / 4;
    loop {
        let pause = match drain.until(renew_once(&context, &api, known.take())).await {
            None => return,
            Some(Ok(lease)) => {
                known = Some(lease);
                retry = RETRY;
                interval
            }
            Some(Err(err)) => {
                tracing::debug!(err = %err, "node lease cannot be renewed");
                let pause = retry;
                retry = (retry * 2).min(LONGEST_RETRY);
                pause
            }
        };
        if drain.until(context.env.sleep(pause)).await.is_none() {
            return;
        }
    }
}

async fn renew_once(context: &Shared, api: &Api<Lease>, known: Option<Lease>) -> Result<Lease, kube::Error> {
    let name = &context.config.node_name;
    let known = match known {
        Some(lease) => Some(lease),
        None => api.get_opt(name).await?,
    };
    let spec = LeaseSpec {
        holder_identity: Some(name.clone()),
        lease_duration_seconds: Some(context.config.lease_seconds),
        renew_time: Some(MicroTime(context.env.now())),
        ..LeaseSpec::default()
    };
    match known {
        Some(mut lease) => {
            lease.spec = Some(spec);
            if lease.metadata.owner_references.as_ref().is_none_or(Vec::is_empty) {
                lease.metadata.owner_references = owner(context);
            }
            api.replace(name, &PostParams::default(), &lease).await
        }
        None => {
            let metadata =
                ObjectMeta { name: Some(name.clone()), owner_references: owner(context), ..ObjectMeta::default() };
            api.create(&PostParams::default(), &Lease { metadata, spec: Some(spec) }).await
        }
    }
}

/// The lease goes with its node.
fn owner(context: &Shared) -> Option<Vec<OwnerReference>> {
    let node: std::sync::Arc<Node> = context.node.lister().get(None, &context.config.node_name)?;
    Some(vec![OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: context.config.node_name.clone(),
        uid: node.metadata.uid.clone()?,
        ..OwnerReference::default()
    }])
}
