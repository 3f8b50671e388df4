//! What a worker knows of its pod between two looks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use client::EventType;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use tokio::time::Instant;

use super::backoff::BackOff;
use super::conditions::OWNED;
use super::messages;
use super::observe::{self, ObserveError};
use super::observed::Observed;
use super::plan::Waiting;
use super::resize::{self, Pending, Progress};
use super::spec;
use super::status::{self, Failure};
use crate::context::Context;
use crate::managers::CpuSet;
use crate::probes::PodProbes;
use crate::resources::PodLimits;

/// What a worker knows of its pod between two looks.
pub struct PodState {
    /// The pod as the API has it.
    pub desired: Arc<Pod>,
    /// The same with the resources that the node has agreed to.
    pub pod: Arc<Pod>,
    /// What the runtime has of it.
    pub observed: Observed,
    /// Why the kubelet ended it, if it did.
    pub failure: Option<Failure>,
    /// Whether it was let in.
    pub admitted: bool,
    /// What its cgroup was last set to.
    pub limits: Option<PodLimits>,
    /// Whether all of it has stopped for good.
    pub stopped: bool,
    /// Waiting times of containers that end again and again.
    pub back_off: BackOff,
    /// When what failed to start is tried again.
    pub held: BTreeMap<String, Timestamp>,
    /// Why containers failed to start.
    pub failed: BTreeMap<String, Waiting>,
    /// Containers that wait until their back-off is over.
    pub crash_looping: BTreeMap<String, Waiting>,
    /// Containers that are being started.
    pub starting: Vec<String>,
    /// Instances that were stopped so that another one follows, by their identifier.
    pub restarting: BTreeSet<String>,
    /// How often in a row the sandbox could not be made.
    pub sandbox_failures: u32,
    /// A change of resources that the node has not agreed to, and the generation that asks for it.
    pub pending: Option<(Pending, Option<i64>)>,
    /// A change of resources that goes on.
    pub progress: Option<Progress>,
    /// What running instances were last told to keep to, by their identifier.
    pub resized: BTreeMap<String, cri::LinuxContainerResources>,
    /// The CPUs to which running instances were moved, by their identifier.
    pub pinned: BTreeMap<String, CpuSet>,
    /// When the pod was seen first.
    seen: Instant,
    /// The status as it was last computed.
    last: Option<PodStatus>,
}

impl PodState {
    /// Nothing is known but the pod.
    pub fn new(pod: Arc<Pod>, max_back_off: Duration, seen: Instant) -> Self {
        Self {
            desired: Arc::clone(&pod),
            pod,
            observed: Observed::default(),
            failure: None,
            admitted: false,
            limits: None,
            stopped: false,
            back_off: BackOff::up_to(max_back_off),
            held: BTreeMap::new(),
            failed: BTreeMap::new(),
            crash_looping: BTreeMap::new(),
            starting: Vec::new(),
            restarting: BTreeSet::new(),
            sandbox_failures: 0,
            pending: None,
            progress: None,
            resized: BTreeMap::new(),
            pinned: BTreeMap::new(),
            seen,
            last: None,
        }
    }

    /// Looks at what the runtime has.
    pub async fn observe(&mut self, context: &Context) -> Result<(), ObserveError> {
        let mut observed = observe::observe(context, spec::uid(&self.pod)).await?;
        messages::read_messages(context, &self.pod, &mut observed).await;
        self.restarting.retain(|id| observed.containers.iter().any(|instance| instance.id == *id));
        self.observed = observed;
        Ok(())
    }

    /// Whether the pod is to stop, as far as the API or the kubelet itself has decided.
    pub fn is_ending(&self) -> bool {
        spec::is_deleted(&self.pod) || self.failure.is_some() || spec::is_terminal(&self.pod)
    }

    /// What was last said of the pod, here or by a kubelet before this one.
    pub fn status(&self) -> Option<&PodStatus> {
        self.last.as_ref().or(self.pod.status.as_ref())
    }

    /// The pod's address.
    pub fn pod_ip(&self) -> Option<String> {
        self.observed.sandboxes.first().and_then(|sandbox| sandbox.ips.first()).cloned()
    }

    /// Takes over which containers wait for their back-off, and says so of those that have begun to.
    pub fn note_crash_loops(&mut self, context: &Context, waiting: BTreeMap<String, Waiting>) {
        for name in waiting.keys().filter(|name| !self.crash_looping.contains_key(*name)) {
            let pod = spec::full_name(&self.pod);
            let message = format!("Back-off restarting failed container {name} in pod {pod}");
            context.event(&self.pod, Some(name), EventType::Warning, "BackOff", message);
        }
        self.crash_looping = waiting;
    }

    /// Computes the pod's status and has it written.
    pub fn publish(&mut self, context: &Context, probes: &PodProbes) {
        let known = self.with_last_status();
        let mut waiting = self.failed.clone();
        waiting.extend(self.crash_looping.clone());
        let results = probes.results();
        let resizes = resize::conditions(self);
        let status = status::status(&status::Input {
            pod: &known,
            observed: &self.observed,
            probes: &results,
            waiting: &waiting,
            starting: &self.starting,
            restarting: &self.restarting,
            failure: self.failure.as_ref(),
            resizes: &resizes,
            resources: &|container| context.container_resources(&known, container),
            ending: self.is_ending(),
            stopped: self.stopped,
            runtime: &context.runtime_name,
            node_ips: &context.node_ips,
            now: context.env.now(),
        });
        let was_pending = self.last.as_ref().is_some_and(|last| last.phase.as_deref() == Some("Pending"));
        if was_pending && status.phase.as_deref() == Some("Running") {
            let made = self.pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
            let in_all = made.and_then(|made| Duration::try_from(context.env.now().duration_since(made)).ok());
            context.metrics.pod_started(self.seen.elapsed(), in_all);
        }
        context.statuses.publish(&self.pod, status.clone());
        self.last = Some(status);
    }

    /// The pod with the status that was computed last, which may be newer than what the API has; what others wrote
    /// into the status is taken from the API.
    fn with_last_status(&self) -> Pod {
        let mut pod = (*self.pod).clone();
        let Some(mut last) = self.last.clone() else { return pod };
        let api = pod.status.take().unwrap_or_default();
        let mut conditions = last.conditions.take().unwrap_or_default();
        conditions.retain(|condition| OWNED.contains(&condition.type_.as_str()));
        let others = api.conditions.into_iter().flatten().filter(|c| !OWNED.contains(&c.type_.as_str()));
        conditions.extend(others);
        last.conditions = Some(conditions);
        last.resize = api.resize;
        last.nominated_node_name = api.nominated_node_name;
        // An end that somebody else decided (a garbage collector, an eviction) holds here too.
        if matches!(api.phase.as_deref(), Some("Failed" | "Succeeded")) {
            last.phase = api.phase;
            last.reason = api.reason;
            last.message = api.message;
        }
        pod.status = Some(last);
        pod
    }
}
