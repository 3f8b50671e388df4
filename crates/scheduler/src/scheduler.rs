//! The component: one task that owns cache and queue, and runs a cycle whenever a pod is due.

use std::sync::Arc;
use std::time::Duration;

use base::{Drain, Env, TaskFailure, Tasks};
use client::{Event, EventRecorder, EventType, EventWriter, Events, Informers, leader, objects};
use k8s_openapi::api::core::v1::{Node, Pod, PodResourceClaimStatus};
use k8s_openapi::api::resource::v1::{DeviceClass, ResourceClaim, ResourceSlice};
use tokio::sync::mpsc;

use crate::binder::{self, Bound};
use crate::cache::Cache;
use crate::cycle::{self, Rotation};
use crate::dynamic_resources::Devices;
use crate::framework::{Changes, ClusterChange};
use crate::pod_info::{self, PodInfo};
use crate::queue::{Queue, Queued};

/// How long requests that are under way may take after the drain signal.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(5);
/// So many events are taken in a row before a pod is tried.
const EVENT_BATCH: usize = 256;

/// How to run the scheduler.
#[derive(Clone, Debug)]
pub struct Config {
    /// What this replica is called in the Lease `kube-system/kube-scheduler`.
    pub identity: String,
}

/// Why the scheduler ended early.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Another replica took over; the process must start anew.
    #[error("lost the lease kube-system/kube-scheduler")]
    LeadershipLost,
    /// A task of the scheduler failed.
    #[error(transparent)]
    Task(#[from] TaskFailure),
}

/// The scheduler of one cluster.
pub struct Scheduler {
    config: Config,
    informers: Informers,
}

/// What came of a binding.
struct Outcome {
    pod: Arc<PodInfo>,
    node: String,
    bound: Bound,
    /// Claims for which nothing was written.
    open: Vec<String>,
}

impl Scheduler {
    /// A scheduler that reads through `informers`, which somebody runs.
    pub fn build(config: Config, informers: Informers) -> Self {
        Self { config, informers }
    }

    /// Schedules while it is the leader, until the drain signal.
    pub async fn run(self, drain: Drain) -> Result<(), RunError> {
        let lease = leader::Config::new("kube-system", "kube-scheduler", self.config.identity.clone());
        let (client, env) = (self.informers.client().clone(), self.informers.env().clone());
        let informers = self.informers;
        let term = |drain| async move {
            let (state, writer) = State::new(&informers);
            state.run(writer, drain).await
        };
        match leader::elect(lease, client, env, drain, term).await {
            leader::Outcome::NeverElected => Ok(()),
            leader::Outcome::Ended(result) => Ok(result?),
            leader::Outcome::Lost(result) => {
                result?;
                Err(RunError::LeadershipLost)
            }
        }
    }
}

/// All that scheduling knows. One task owns it, so there is nothing to lock.
struct State {
    client: kube::Client,
    env: Env,
    recorder: EventRecorder,
    informers: Informers,
    cache: Cache,
    devices: Devices,
    queue: Queue,
    rotation: Rotation,
    requests: Tasks,
    outcomes: mpsc::UnboundedSender<Outcome>,
    bound: mpsc::UnboundedReceiver<Outcome>,
}

impl State {
    fn new(informers: &Informers) -> (Self, EventWriter) {
        let (client, env) = (informers.client().clone(), informers.env().clone());
        let (recorder, writer) = EventRecorder::new(client.clone(), env.clone(), "default-scheduler", None);
        let (outcomes, bound) = mpsc::unbounded_channel();
        let state = Self {
            client,
            recorder,
            informers: informers.clone(),
            cache: Cache::default(),
            devices: Devices::new(informers),
            queue: Queue::new(env.clone()),
            rotation: Rotation::default(),
            requests: Tasks::new(),
            outcomes,
            bound,
            env,
        };
        (state, writer)
    }

    async fn run(mut self, writer: EventWriter, drain: Drain) -> Result<(), TaskFailure> {
        let (nodes, pods) = (self.informers.of::<Node>(), self.informers.of::<Pod>());
        let (mut node_events, mut pod_events) = (nodes.subscribe(), pods.subscribe());
        let (claims, slices) = (self.informers.of::<ResourceClaim>(), self.informers.of::<ResourceSlice>());
        let classes = self.informers.of::<DeviceClass>();
        let mut device_events = DeviceEvents(claims.subscribe(), slices.subscribe(), classes.subscribe());
        let mut background = Tasks::new();
        background.spawn("event writer", writer.run(drain.clone()));
        let synced =
            async { tokio::join!(nodes.synced(), pods.synced(), claims.synced(), slices.synced(), classes.synced()) };
        if drain.until(synced).await.is_some() {
            self.serve(&mut node_events, &mut pod_events, &mut device_events, &drain).await?;
        }
        let failures = self.requests.shutdown(SHUTDOWN_DEADLINE).await;
        let failures = failures.into_iter().chain(background.shutdown(SHUTDOWN_DEADLINE).await);
        failures.into_iter().next().map_or(Ok(()), Err)
    }

    async fn serve(
        &mut self,
        nodes: &mut Events<Node>,
        pods: &mut Events<Pod>,
        devices: &mut DeviceEvents,
        drain: &Drain,
    ) -> Result<(), TaskFailure> {
        loop {
            let (wake, active) = (self.queue.next_wake(), self.queue.has_active());
            let woken = async {
                match wake {
                    Some(moment) => tokio::time::sleep_until(moment).await,
                    None => std::future::pending().await,
                }
            };
            // In this order, a pod is tried only when all that is known has been taken in.
            tokio::select! {
                biased;
                () = drain.drained() => return Ok(()),
                Some((_, ended)) = self.requests.join_next(), if !self.requests.is_empty() => ended?,
                Some(outcome) = self.bound.recv() => self.settle(outcome),
                event = nodes.next() => self.node_event(&event),
                event = pods.next() => self.pod_event(&event),
                claim = devices.next() => self.device_event(claim),
                () = woken => self.queue.wake(),
                () = std::future::ready(()), if active => self.schedule_some().await,
            }
        }
    }

    /// Runs cycles until no pod is active or it is time to look at events again.
    async fn schedule_some(&mut self) {
        for _ in 0..EVENT_BATCH {
            let Some(queued) = self.queue.pop() else { break };
            self.schedule(queued);
        }
        tokio::task::yield_now().await;
    }

    fn schedule(&mut self, queued: Queued) {
        let pod = match self.devices.plan(&queued.pod.pod).transpose() {
            None => queued.pod,
            Some(plan) => Arc::new(queued.pod.with_devices(plan)),
        };
        let random = self.env.random();
        let nodes = self.cache.nodes();
        match cycle::schedule(&pod, nodes, self.cache.existing(), &mut self.rotation, random) {
            Ok(node) => {
                let decisions = pod.decisions(&node);
                self.devices.assume(&decisions);
                self.cache.place(pod.clone(), &node);
                let (client, outcomes) = (self.client.clone(), self.outcomes.clone());
                self.requests.spawn("binding", async move {
                    let mut open = Vec::new();
                    let bound = binder::bind(client, pod.clone(), node.clone(), &decisions, &mut open).await;
                    // Nobody receives any more only at shutdown: the next run reads the truth from the API server.
                    let _ = outcomes.send(Outcome { pod, node, bound, open });
                });
            }
            Err(diagnosis) => {
                let message = diagnosis.message();
                tracing::debug!(key = %pod.key, reason = %message, "pod fits nowhere");
                let reference = objects::reference(&*pod.pod);
                self.recorder.event(&reference, EventType::Warning, "FailedScheduling", message.clone());
                self.queue.retry_after_change(&pod.uid, diagnosis.plugins().clone());
                self.report(pod, "Unschedulable", message);
            }
        }
    }

    fn report(&mut self, pod: Arc<PodInfo>, reason: &'static str, message: String) {
        let (client, now) = (self.client.clone(), self.env.now());
        self.requests.spawn("condition", async move {
            let key = pod.key.clone();
            if let Err(err) = binder::report(client, pod, reason, message, now).await {
                tracing::warn!(%key, %err, "cannot write the pod's condition");
            }
        });
    }

    /// Takes in how a binding ended.
    fn settle(&mut self, outcome: Outcome) {
        let Outcome { pod, node, bound, open } = outcome;
        self.devices.give_back(&open);
        match bound {
            Bound::Accepted => {
                let message = format!("Successfully assigned {} to {node}", pod.key);
                self.recorder.event(&objects::reference(&*pod.pod), EventType::Normal, "Scheduled", message);
                self.queue.done(&pod.uid);
            }
            Bound::Gone => {
                self.queue.done(&pod.uid);
                self.give_back(&pod.uid);
            }
            Bound::Refused(err) => {
                tracing::warn!(key = %pod.key, %node, %err, "cannot bind pod");
                self.queue.retry_after_backoff(&pod.uid);
                self.give_back(&pod.uid);
            }
        }
    }

    fn give_back(&mut self, uid: &str) {
        if self.cache.remove_pod(uid) {
            self.queue.note_changes(ClusterChange::AssignedPodGone.into());
        }
    }

    /// Takes in a change of devices, of a claim where one is given: its newest state, and whether it is gone.
    fn device_event(&mut self, claim: Option<(Arc<ResourceClaim>, bool)>) {
        if let Some((claim, is_gone)) = claim {
            self.devices.see(&claim, is_gone);
        }
        self.queue.note_changes(ClusterChange::Devices.into());
    }

    fn node_event(&mut self, event: &Event<Node>) {
        match event {
            Event::Added(node) => {
                self.cache.set_node(node);
                self.queue.note_changes(ClusterChange::NodeAdded.into());
            }
            Event::Updated { old, new } => {
                self.cache.set_node(new);
                self.queue.note_changes(Changes::of_node_update(old, new));
            }
            Event::Deleted(node) => self.cache.remove_node(objects::name(&**node)),
        }
    }

    fn pod_event(&mut self, event: &Event<Pod>) {
        let pod = event.object();
        let uid = objects::uid(&**pod);
        if event.old().is_some_and(|old| claims_of(old) != claims_of(pod)) {
            // A claim that was made for a pod is of use once the pod's status names it.
            self.queue.note_changes(ClusterChange::Devices.into());
        }
        // A name that was used again: the pod before is gone.
        if let Some(old) = event.old().filter(|old| objects::uid(&***old) != uid) {
            self.forget(objects::uid(&**old));
        }
        if matches!(event, Event::Deleted(_)) || pod_info::is_terminal(pod) {
            self.forget(uid);
        } else if let Some(node) = pod_info::node_name(pod) {
            self.queue.remove(uid);
            self.cache.place(Arc::new(PodInfo::new(pod.clone())), node);
        } else if pod_info::is_ours(pod) {
            self.enqueue(pod);
        } else {
            self.queue.remove(uid);
        }
    }

    fn enqueue(&mut self, pod: &Arc<Pod>) {
        // An assumed pod is on its way to its node; its binding decides what comes next.
        if self.cache.is_placed(objects::uid(&**pod)) {
            return;
        }
        let info = Arc::new(PodInfo::new(pod.clone()));
        let gated = pod_info::is_gated(pod);
        self.queue.put(info.clone(), gated);
        if gated {
            let message = "Scheduling is blocked due to non-empty scheduling gates".to_owned();
            self.report(info, "SchedulingGated", message);
        }
    }

    fn forget(&mut self, uid: &str) {
        self.queue.remove(uid);
        self.give_back(uid);
    }
}

/// The claims that a pod's status names.
fn claims_of(pod: &Pod) -> Option<&Vec<PodResourceClaimStatus>> {
    pod.status.as_ref()?.resource_claim_statuses.as_ref()
}

/// Changes of claims, of slices and of classes.
struct DeviceEvents(Events<ResourceClaim>, Events<ResourceSlice>, Events<DeviceClass>);

impl DeviceEvents {
    /// The next change; a claim with whether it is gone, if it is one of a claim.
    async fn next(&mut self) -> Option<(Arc<ResourceClaim>, bool)> {
        tokio::select! {
            event = self.0.next() => Some((Arc::clone(event.object()), event.is_deleted())),
            _ = self.1.next() => None,
            _ = self.2.next() => None,
        }
    }
}
