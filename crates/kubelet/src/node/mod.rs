//! The node itself: its registration, its heartbeat, its status, and what its runtime is told.

mod events;
mod identity;
mod lease;
mod machine;
mod oom;
mod process;
mod register;
mod runtime;
mod shares;
mod status;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base::Drain;
use client::EventType;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerImage, Node, NodeCondition, NodeStatus, ObjectReference};
use kube::Api;

pub use lease::renew;
pub use machine::{Machine, MachineError, architecture, disk_usage, kubelet_version, meminfo, memory};
pub use oom::watch_oom;
pub use process::{KernelError, prepare};
pub use runtime::cgroup_driver;
pub use shares::share;

use crate::context::Shared;
use crate::csi;
use crate::shutdown;

/// How often the images are listed for the status.
const IMAGES_INTERVAL: Duration = Duration::from_secs(60);
/// Between attempts to reach the API server at the start.
const RETRY: Duration = Duration::from_millis(500);

/// A reference to the node, as events carry it.
pub fn node_reference(name: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Node".to_owned()),
        name: Some(name.to_owned()),
        // Upstream's kubelet puts the name here, and what lists a node's events looks for it.
        uid: Some(name.to_owned()),
        ..ObjectReference::default()
    }
}

/// Registers the node and keeps its status until the drain signal. `port` is the server's.
pub async fn run(context: Shared, port: u16, drain: Drain) {
    let name = context.config.node_name.clone();
    let event = |kind, reason, message: String| context.recorder.event(&node_reference(&name), kind, reason, message);
    event(EventType::Normal, "Starting", "Starting kubelet.".to_owned());
    if !context.cgroups.is_v2() {
        let message = "this machine has cgroup v1, which Kubernetes does no more than maintain; cgroup v2 is advised";
        event(EventType::Warning, "CgroupV1", message.to_owned());
    }
    let mut keeper = Keeper {
        context: Arc::clone(&context),
        port,
        images: Vec::new(),
        images_at: None,
        pod_cidr: None,
        runtime_handlers: Vec::new(),
        runtime_features: None,
        problem: runtime::Problem::new(context.env.now()),
        reported: None,
        written: None,
        is_cordoned: false,
    };
    loop {
        let status = keeper.status(None).await;
        match drain.until(register::register(&context, status)).await {
            None => return,
            Some(Ok(node)) => break keeper.written = Some(Arc::new(node)),
            Some(Err(err)) => tracing::info!(err = %err, "node cannot be registered yet"),
        }
        if drain.until(context.env.sleep(RETRY)).await.is_none() {
            return;
        }
    }
    tracing::info!(name, "node is registered");
    if let Some(Err(err)) = drain.until(csi::initialize(&context)).await {
        // The first driver makes it as well.
        tracing::warn!(name, err = %err, "CSINode cannot be made");
    }
    let mut changes = context.node.subscribe();
    let mut conditions = context.conditions.subscribe();
    let mut shutdowns = context.shutdown.changes();
    loop {
        let next = drain.until(keeper.keep()).await;
        let pause = match next {
            None => return,
            Some(Ok(())) => context.config.status_update_interval,
            Some(Err(err)) => {
                tracing::warn!(err = %err, "node status cannot be written");
                RETRY
            }
        };
        let wait = context.env.sleep(pause);
        tokio::pin!(wait);
        tokio::select! {
            () = drain.drained() => return,
            () = &mut wait => {}
            // Only a change of what the kubelet reads from its node matters before the time is over.
            () = keeper.relevant_change(&mut changes) => {}
            // The sender lives as long as the context.
            _ = conditions.changed() => {}
            _ = shutdowns.changed() => {}
            // A volume is not mounted before it is known that it is used.
            () = context.csi.attachments.unreported(), if pause != RETRY => {}
            () = context.devices.changed(), if pause != RETRY => {}
        }
    }
}

/// Which of an object's versions one is: the API's are numbers that rise.
fn version(node: &Node) -> Option<u64> {
    node.metadata.resource_version.as_ref()?.parse().ok()
}

/// The node's status cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the status of node {name}: {source}")]
pub struct KeepError {
    name: String,
    source: Box<kube::Error>,
}

struct Keeper {
    context: Shared,
    port: u16,
    images: Vec<ContainerImage>,
    images_at: Option<Timestamp>,
    pod_cidr: Option<String>,
    runtime_handlers: Vec<k8s_openapi::api::core::v1::NodeRuntimeHandler>,
    runtime_features: Option<k8s_openapi::api::core::v1::NodeFeatures>,
    problem: runtime::Problem,
    /// What was written last, and when.
    reported: Option<(NodeStatus, Timestamp)>,
    /// The node as the API had it after that, or after it was registered.
    written: Option<Arc<Node>>,
    /// Whether it was told last that nothing more is placed on the node.
    is_cordoned: bool,
}

impl Keeper {
    /// Waits for a change of the node that has to be acted on.
    async fn relevant_change(&self, changes: &mut client::Events<Node>) {
        loop {
            let change = changes.next().await;
            let gone = matches!(change, client::Event::Deleted(_));
            let node = change.object();
            let cidr = node.spec.as_ref().and_then(|spec| spec.pod_cidr.clone());
            let has_cidr = cidr.is_some_and(|cidr| Some(cidr) != self.pod_cidr);
            let is_turned = events::is_cordoned(node) != self.is_cordoned;
            if gone || has_cidr || is_turned || status::is_doubted(node) {
                return;
            }
        }
    }

    /// The node as the API has it, as far as is known: watches may be behind what was written, and others write too.
    fn node(&self) -> Option<Arc<Node>> {
        let listed = self.context.node.lister().get(None, &self.context.config.node_name);
        [listed, self.written.clone()].into_iter().flatten().max_by_key(|node| version(node))
    }

    /// Looks at machine and runtime, and writes the status if the API has another one or it was not written for long.
    async fn keep(&mut self) -> Result<(), KeepError> {
        let node = self.node();
        if let Some(node) = &node {
            self.tell_pod_cidr(node).await;
            self.tell_scheduling(node);
        }
        let name = self.context.config.node_name.clone();
        let fail = |source| KeepError { name: name.clone(), source: Box::new(source) };
        let known = node.as_ref().and_then(|node| node.status.as_ref());
        let status = self.status(known).await;
        let now = self.context.env.now();
        let interval = jiff::SignedDuration::try_from(self.context.config.status_interval).unwrap_or_default();
        let is_recent = self.reported.as_ref().is_some_and(|(_, at)| now.duration_since(*at) < interval);
        let in_use = status.volumes_in_use.clone().unwrap_or_default();
        if is_recent && known.is_some_and(|known| !status::differs(known, &status)) {
            // Also where the answer to the write was lost.
            self.context.csi.attachments.report(&in_use);
            return Ok(());
        }
        let mut told = events::of_conditions(&name, known.filter(|_| self.reported.is_some()), &status);
        told.extend(events::of_boot(&name, known, &status));
        let api: Api<Node> = Api::all(self.context.client.clone());
        let gone = self.reported.as_ref().map(|(old, _)| status::gone(old, &status)).unwrap_or_default();
        let written = match status::write(&api, &name, &status, &gone).await {
            // Somebody deleted the node while its kubelet runs: it comes back.
            Err(kube::Error::Api(err)) if err.code == 404 => {
                register::register(&self.context, status.clone()).await.map_err(fail)?;
                status::write(&api, &name, &status, &gone).await
            }
            written => written,
        };
        self.written = Some(Arc::new(written.map_err(fail)?));
        told.into_iter().for_each(|one| self.record(one));
        self.reported = Some((status, now));
        self.context.csi.attachments.report(&in_use);
        Ok(())
    }

    async fn tell_pod_cidr(&mut self, node: &Node) {
        let spec = node.spec.as_ref();
        let Some(cidr) = spec.and_then(|spec| spec.pod_cidr.clone()) else { return };
        if self.pod_cidr.as_ref() == Some(&cidr) {
            return;
        }
        let all = spec.and_then(|spec| spec.pod_cidrs.clone()).filter(|list| !list.is_empty());
        let all = all.map_or_else(|| cidr.clone(), |list| list.join(","));
        match runtime::set_pod_cidr(&self.context, &all).await {
            Ok(()) => {
                tracing::info!(pod_cidr = all, "the runtime knows the node's pod addresses");
                self.pod_cidr = Some(cidr);
            }
            Err(err) => tracing::warn!(err = %err.message(), "the runtime did not take the node's pod addresses"),
        }
    }

    /// The status; `known` is the one that the API has.
    async fn status(&mut self, known: Option<&NodeStatus>) -> NodeStatus {
        let now = self.context.env.now();
        let pause = jiff::SignedDuration::try_from(IMAGES_INTERVAL).unwrap_or_default();
        if self.images_at.is_none_or(|at| now.duration_since(at) >= pause)
            && let Ok(images) = runtime::images(&self.context).await
        {
            self.images = images;
            self.images_at = Some(now);
        }
        let answer = runtime::readiness(&self.context).await;
        let ready = match answer {
            Ok(runtime) => {
                if !runtime.handlers.is_empty() {
                    self.runtime_handlers = runtime.handlers;
                }
                self.runtime_features = runtime.features.or(self.runtime_features.take());
                self.problem.note(Ok(runtime.problem), now)
            }
            Err(err) => self.problem.note(Err(err.message()), now),
        };
        let old: BTreeMap<String, NodeCondition> = known
            .and_then(|status| status.conditions.clone())
            .unwrap_or_default()
            .into_iter()
            .map(|condition| (condition.type_.clone(), condition))
            .collect();
        status::status(&status::Inputs {
            context: &self.context,
            port: self.port,
            images: self.images_at.map(|_| self.images.as_slice()),
            handlers: &self.runtime_handlers,
            features: self.runtime_features.as_ref(),
            ready: if self.context.shutdown.has_begun() { Some(shutdown::NODE_MESSAGE) } else { ready },
            pressures: &self.context.conditions.all(),
            old: &old,
            now,
        })
    }

    /// Tells of it when nothing more is to be placed on the node, or something again.
    fn tell_scheduling(&mut self, node: &Node) {
        if events::is_cordoned(node) != self.is_cordoned {
            self.is_cordoned = !self.is_cordoned;
            self.record(events::of_scheduling(&self.context.config.node_name, self.is_cordoned));
        }
    }

    fn record(&self, told: events::Told) {
        let node = node_reference(&self.context.config.node_name);
        self.context.recorder.event(&node, told.kind, told.reason, told.message);
    }
}
