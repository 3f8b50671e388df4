//! Gives pods as a whole, and classes of them, their parts of the machine.

use std::time::Duration;

use base::Drain;
use client::EventType;

use super::node_reference;
use crate::context::{Context, Shared};
use crate::eviction::process_numbers;
use crate::pods::spec;
use crate::resources::{QosClass, pod_requests, qos_class, shares};

/// How often what should be so already is set again.
const INTERVAL: Duration = Duration::from_secs(60);

/// Keeps the limits of all pods together and the shares of their classes until the drain signal.
pub async fn share(context: Shared, drain: Drain) {
    let mut changes = context.allocations.subscribe();
    let (mut limited, mut shared) = (false, None);
    loop {
        if !limited {
            limited = limit(&context).await;
        }
        let wanted = burstable(&context);
        if shared != Some(wanted) {
            match context.cgroups.share_burstable(wanted).await {
                Ok(()) => shared = Some(wanted),
                Err(err) => tracing::warn!(err = %err, "share of burstable pods cannot be set"),
            }
        }
        tokio::select! {
            () = drain.drained() => return,
            () = context.env.sleep(INTERVAL) => {}
            // The sender lives as long as the context.
            _ = changes.changed() => {}
        }
    }
}

/// Limits all pods together; true where that is done.
async fn limit(context: &Context) -> bool {
    let config = &context.config;
    let mut capacity = context.machine.capacity(config.max_pods);
    capacity.extend(process_numbers().map(|(_, most)| ("pid".to_owned(), most)));
    let node = node_reference(&config.node_name);
    match context.cgroups.limit_pods(&config.reserved.pod_limits(&capacity)).await {
        Ok(()) => {
            if config.reserved.enforces_pods() {
                let message = "Updated Node Allocatable limit across pods";
                context.recorder.event(&node, EventType::Normal, "NodeAllocatableEnforced", message);
            }
            true
        }
        Err(err) => {
            tracing::warn!(err = %err, "pods as a whole cannot be limited");
            let message = format!("Failed to update Node Allocatable Limits: {err}");
            context.recorder.event(&node, EventType::Warning, "FailedNodeAllocatableEnforcement", message);
            false
        }
    }
}

/// The shares of the pods that ask for something, but not for all they may use.
fn burstable(context: &Context) -> i64 {
    let pods = context.pods.list().into_iter();
    let all = pods.filter(|pod| context.allocations.holds(spec::uid(pod)) && qos_class(pod) == QosClass::Burstable);
    let cpu = |pod| pod_requests(&context.allocations.allocated(&pod)).get("cpu").copied().unwrap_or(0);
    shares(all.map(cpu).sum())
}
