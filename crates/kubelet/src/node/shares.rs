//! Gives pods as a whole, and classes of them, their parts of the machine.

use std::time::Duration;

use base::Drain;
use client::EventType;

use super::node_reference;
use crate::context::{Context, Shared};
use crate::eviction::process_numbers;
use crate::pods::spec;
use crate::resources::{Amounts, QosClass, pod_requests, qos_class, shares};

/// How often what should be so already is set again.
const INTERVAL: Duration = Duration::from_secs(60);

/// Keeps the limits of all pods together and the shares of their classes until the drain signal.
pub async fn share(context: Shared, drain: Drain) {
    let mut changes = context.allocations.subscribe();
    let (mut limited, mut shared) = (false, None);
    // What a kubelet before has limited is lifted, unless it is to be.
    let mut kept = None;
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
        let reserved = memory_of_others(&context);
        if kept != Some(reserved) {
            match limit_classes(&context, reserved) {
                Ok(()) => kept = Some(reserved),
                Err(err) => tracing::warn!(err = %err, "memory cannot be kept for pods that have asked for it"),
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

/// What the burstable pods, and those that ask for nothing, may have of the memory together.
type ClassLimits = (i64, i64);

/// What is left of the memory when part of what others have asked for is kept for them, if it is to be.
fn memory_of_others(context: &Context) -> Option<ClassLimits> {
    let percent = context.config.qos_reserved_percent.filter(|percent| *percent > 0)?;
    let memory = |amounts: &Amounts| amounts.get("memory").copied().unwrap_or(0);
    let asked = |class: QosClass| -> i64 {
        let pods = context.pods.list().into_iter();
        let all = pods.filter(|pod| context.allocations.holds(spec::uid(pod)) && qos_class(pod) == class);
        all.map(|pod| memory(&pod_requests(&context.allocations.allocated(&pod)))).sum()
    };
    let (guaranteed, burstable) = (asked(QosClass::Guaranteed), asked(QosClass::Burstable));
    Some(left(memory(&context.allocatable()), guaranteed, burstable, percent))
}

fn left(all: i64, guaranteed: i64, burstable: i64, percent: u8) -> ClassLimits {
    let part = |asked: i64| asked / 100 * i64::from(percent) + asked % 100 * i64::from(percent) / 100;
    let for_burstable = all - part(guaranteed);
    (for_burstable.max(0), (for_burstable - part(burstable)).max(0))
}

fn limit_classes(context: &Context, limits: Option<ClassLimits>) -> std::io::Result<()> {
    let (burstable, best_effort) = limits.unzip();
    context.cgroups.limit_class_memory(QosClass::Burstable, burstable)?;
    context.cgroups.limit_class_memory(QosClass::BestEffort, best_effort)
}

/// The shares of the pods that ask for something, but not for all they may use.
fn burstable(context: &Context) -> i64 {
    let pods = context.pods.list().into_iter();
    let all = pods.filter(|pod| context.allocations.holds(spec::uid(pod)) && qos_class(pod) == QosClass::Burstable);
    let cpu = |pod| pod_requests(&context.allocations.allocated(&pod)).get("cpu").copied().unwrap_or(0);
    shares(all.map(cpu).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_kept_in_part_or_as_a_whole() {
        for (guaranteed, burstable, percent, expected) in [
            (0, 0, 100, (1000, 1000)),
            (300, 200, 100, (700, 500)),
            (300, 200, 50, (850, 750)),
            (333, 0, 10, (967, 967)),
            (900, 200, 100, (100, 0)),
        ] {
            assert_eq!(left(1000, guaranteed, burstable, percent), expected, "{guaranteed} {burstable} {percent}");
        }
    }
}
