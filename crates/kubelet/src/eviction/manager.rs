//! Looks at the node again and again, and ends pods when it is short of something.

use std::sync::Arc;
use std::time::Duration;

use base::Drain;
use client::EventType;
use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;

use super::memory_notice::MemoryNotices;
use super::message::{Message, message};
use super::observe::{Filesystems, Observations, observe};
use super::rank::rank;
use super::threshold::Threshold;
use super::track::Tracker;
use super::{local_storage, reclaim, usage};
use crate::context::{Shared, pod_reference};
use crate::node::node_reference;
use crate::pods::{Failure, spec};

/// How long a pod may take to end that has to go at once, in seconds.
const AT_ONCE: i64 = 1;
/// How long it is waited for what an ended pod leaves.
const CLEANUP_LIMIT: Duration = Duration::from_secs(30);

/// Keeps the node from running out of things until the drain signal.
pub async fn run(context: Shared, drain: Drain) {
    let settings = &context.config.eviction;
    let thresholds = settings.thresholds(context.config.reserved.enforces_pods());
    let mut notices = MemoryNotices::new(&context, &thresholds);
    let interval = settings.interval;
    let Some(places) = drain.until(Filesystems::find(&context)).await else { return };
    let mut manager = Manager { context: Arc::clone(&context), thresholds, tracker: Tracker::default(), places };
    while let Some(ended) = drain.until(Box::pin(manager.synchronize(&mut notices))).await {
        let pause = async {
            if ended.is_empty() {
                tokio::select! {
                    () = context.env.sleep(interval) => {}
                    () = notices.next() => {}
                }
            } else {
                let releases = ended.iter().map(|pod| context.workers.released(spec::uid(pod)));
                // One that takes longer does not keep others from having to go.
                let _ = tokio::time::timeout(CLEANUP_LIMIT, join_all(releases)).await;
            }
        };
        if drain.until(pause).await.is_none() {
            return;
        }
    }
}

struct Manager {
    context: Shared,
    thresholds: Vec<Threshold>,
    tracker: Tracker,
    places: Filesystems,
}

impl Manager {
    /// Looks at the node and does what is due; the pods that it has ended.
    async fn synchronize(&mut self, notices: &mut MemoryNotices) -> Vec<Arc<Pod>> {
        let context = Arc::clone(&self.context);
        self.places.refresh(&context).await;
        let observations = observe(&context.cgroups, &self.places);
        notices.arm(&observations);
        let transition = context.config.eviction.transition_period;
        let verdict = self.tracker.update(&self.thresholds, &observations, transition, context.env.instant());
        context.conditions.set(verdict.conditions);
        let pods = self.active();
        if context.config.eviction.local_storage {
            let mut ended = Vec::new();
            for pod in &pods {
                if let Some(excess) = local_storage::excess(&context, pod, self.places.layout).await
                    && end(&context, pod, excess.text, AT_ONCE)
                {
                    context.metrics.admission.evicted(excess.signal);
                    ended.push(Arc::clone(pod));
                }
            }
            if !ended.is_empty() {
                return ended;
            }
        }
        if verdict.due.is_empty() { Vec::new() } else { self.make_room(&verdict.due, &observations, pods).await }
    }

    /// The pods that run or may do so, and are not being ended already.
    fn active(&self) -> Vec<Arc<Pod>> {
        let context = &self.context;
        let pods = context.pods.list().into_iter();
        let active = pods.filter(|pod| !spec::is_terminal(pod) && !context.workers.is_ended(spec::uid(pod)));
        active.map(|pod| context.allocations.allocated(&pod)).collect()
    }

    /// Gives up what nothing uses, or ends one pod.
    async fn make_room(&self, due: &[Threshold], seen: &Observations, pods: Vec<Arc<Pod>>) -> Vec<Arc<Pod>> {
        let context = &self.context;
        let Some(first) = due.first() else { return Vec::new() };
        let (signal, layout) = (first.signal, self.places.layout);
        let text = format!("Attempting to reclaim {}", signal.resource());
        let node = node_reference(&context.config.node_name);
        context.recorder.event(&node, EventType::Warning, "EvictionThresholdMet", text);
        if reclaim::unused(context, signal, layout).await {
            let after = observe(&context.cgroups, &self.places);
            if !self.thresholds.iter().any(|threshold| threshold.is_met_in(&after, true)) {
                tracing::info!(signal = signal.as_str(), "what nothing uses was enough");
                return Vec::new();
            }
        }
        let mut candidates = usage::of_pods(context, pods).await;
        rank(&mut candidates, signal, layout);
        for (pod, usage) in candidates {
            let grace = match first.grace {
                None => AT_ONCE,
                // Less than nothing leaves it to the pod.
                Some(_) => u64::try_from(context.config.eviction.max_pod_grace_period)
                    .map_or(i64::MAX, |most| i64::try_from(most).unwrap_or(i64::MAX)),
            };
            let message = message(&pod, usage.as_ref(), due, seen, layout);
            if evict(context, &pod, message, grace) {
                context.metrics.admission.evicted(signal.as_str());
                return vec![pod];
            }
        }
        tracing::warn!(signal = signal.as_str(), "no pod of the node can be ended");
        Vec::new()
    }
}

/// Ends a pod because the node is short. The most important ones stay, whatever happens.
fn evict(context: &Shared, pod: &Arc<Pod>, message: Message, grace: i64) -> bool {
    if spec::is_critical(pod) {
        return false;
    }
    let (kind, reason) = (EventType::Warning, Failure::EVICTED);
    let Message { text, annotations } = message;
    tracing::info!(namespace = spec::namespace(pod), name = spec::name(pod), message = text, "evicting a pod");
    context.recorder.annotated(&pod_reference(pod, None), kind, reason, text.clone(), annotations);
    let failure = Failure { disruption: Some(text.clone()), grace: Some(grace), ..Failure::new(reason, text) };
    context.workers.end(spec::uid(pod), failure);
    true
}

/// Ends a pod that has taken more than it may: that is no disruption, it was its own doing.
fn end(context: &Shared, pod: &Arc<Pod>, text: String, grace: i64) -> bool {
    if spec::is_critical(pod) {
        return false;
    }
    context.event(pod, None, EventType::Warning, Failure::EVICTED, text.clone());
    context.workers.end(spec::uid(pod), Failure { grace: Some(grace), ..Failure::new(Failure::EVICTED, text) });
    true
}
