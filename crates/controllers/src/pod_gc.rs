//! Removes pods that nobody will ever remove otherwise: bound to a node that is gone, deleted before they were bound,
//! or terminated and too many.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base::Drain;
use client::{Controller, ControllerError, Event, Lister, ObjectKey, Queue, objects};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use crate::context::Context;
use crate::error::{Attempt, SyncError};
use crate::pods;

/// How long a node must be gone before its pods go: it may only be registering anew.
const QUARANTINE: Duration = Duration::from_secs(40);
/// The API server removes a deleted pod of no node itself, by a second write. What is there after this was left over.
const REMOVAL: Duration = Duration::from_secs(20);
/// Pods by node; empty for those on none.
pub(crate) const BY_NODE: &str = "node";
/// Terminated pods, all under one value.
const TERMINATED: &str = "terminated";
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Task {
    /// One pod.
    Pod(ObjectKey),
    /// The number of terminated pods.
    Terminated,
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod(key) => write!(f, "{key}"),
            Self::Terminated => f.write_str("terminated pods"),
        }
    }
}

struct Collector {
    context: Context,
    pods: Lister<Pod>,
    nodes: Lister<Node>,
}

/// Runs the controller until the drain signal.
pub(crate) async fn run(context: Context, drain: Drain) -> Result<(), ControllerError> {
    let (pods, nodes) = (context.informers.of::<Pod>(), context.informers.of::<Node>());
    pods.add_index(BY_NODE, |pod| vec![pods::node_name(pod).to_owned()]);
    pods.add_index(TERMINATED, |pod| if pods::is_terminal(pod) { vec![String::new()] } else { Vec::new() });
    let collector = Arc::new(Collector { pods: pods.lister(), nodes: nodes.lister(), context });
    let (for_pods, for_nodes) = (Arc::clone(&collector), Arc::clone(&collector));
    Controller::new("pod-garbage-collector-controller", collector.context.env.clone())
        .workers(2)
        .watch(&pods, move |event, queue| for_pods.on_pod(event, queue))
        .watch(&nodes, move |event, queue| for_nodes.on_node(event, queue))
        .run(drain, move |task| {
            let collector = Arc::clone(&collector);
            async move { collector.sync(task).await }
        })
        .await
}

impl Collector {
    fn on_pod(&self, event: &Event<Pod>, queue: &Queue<Task>) {
        if event.is_deleted() {
            return;
        }
        let pod = event.object();
        let (task, node) = (Task::Pod(ObjectKey::of(&**pod)), pods::node_name(pod));
        if pods::is_terminal(pod) {
            queue.add(Task::Terminated);
        }
        if node.is_empty() {
            if objects::is_deleting(&**pod) {
                queue.add_after(task, REMOVAL);
            }
        } else if self.nodes.get(None, node).is_none() {
            queue.add_after(task, QUARANTINE);
        } else if objects::is_deleting(&**pod) && self.is_out_of_service(node) {
            queue.add(task);
        }
    }

    fn on_node(&self, event: &Event<Node>, queue: &Queue<Task>) {
        let name = objects::name(&**event.object());
        let delay = match event.is_deleted() {
            true => QUARANTINE,
            false if self.is_out_of_service(name) => Duration::ZERO,
            false => return,
        };
        for pod in self.pods.by_index(BY_NODE, name) {
            queue.add_after(Task::Pod(ObjectKey::of(&*pod)), delay);
        }
    }

    /// Whether somebody has said that a node is off for good, by a taint, and it is not ready.
    fn is_out_of_service(&self, name: &str) -> bool {
        self.nodes.get(None, name).is_some_and(|node| {
            let tainted = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
            tainted.into_iter().any(|taint| taint.key == OUT_OF_SERVICE) && !crate::node_lifecycle::is_ready(&node)
        })
    }

    async fn sync(&self, task: Task) -> Result<Option<Duration>, SyncError> {
        match task {
            Task::Pod(key) => self.sync_pod(&key).await?,
            Task::Terminated => self.sync_terminated().await?,
        }
        Ok(None)
    }

    async fn sync_pod(&self, key: &ObjectKey) -> Result<(), SyncError> {
        let Some(pod) = self.pods.get_key(key) else { return Ok(()) };
        let node = pods::node_name(&pod);
        if node.is_empty() {
            return if objects::is_deleting(&*pod) { self.delete(&pod, None).await } else { Ok(()) };
        }
        if self.nodes.get(None, node).is_some() {
            let forced = objects::is_deleting(&*pod) && self.is_out_of_service(node);
            return if forced { self.delete(&pod, None).await } else { Ok(()) };
        }
        // The informer may be behind; this cannot be taken back.
        let nodes: Api<Node> = self.context.cluster();
        let found = nodes.get_opt(node).await.attempt("look for node", &ObjectKey::cluster(node))?;
        if found.is_none() {
            self.delete(&pod, Some("PodGC: node no longer exists")).await?;
        }
        Ok(())
    }

    /// Deletes the oldest terminated pods above the threshold.
    async fn sync_terminated(&self) -> Result<(), SyncError> {
        let threshold = self.context.config.terminated_pod_threshold;
        let mut terminated = self.pods.by_index(TERMINATED, "");
        if threshold == 0 || terminated.len() <= threshold {
            return Ok(());
        }
        terminated.sort_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0));
        let surplus = terminated.len() - threshold;
        for pod in terminated.into_iter().take(surplus) {
            self.delete(&pod, None).await?;
        }
        Ok(())
    }

    /// Deletes at once. A pod that has not ended is said to have failed first, or its owner would wait for it.
    async fn delete(&self, pod: &Pod, disruption: Option<&str>) -> Result<(), SyncError> {
        let key = ObjectKey::of(pod);
        let api: Api<Pod> = self.context.namespaced(key.namespace());
        if !pods::is_terminal(pod) && !pods::node_name(pod).is_empty() {
            let mut status = json!({ "phase": "Failed" });
            if let Some(message) = disruption {
                status["conditions"] = json!([{
                    "type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC", "message": message,
                    "lastTransitionTime": k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(self.context.env.now()),
                }]);
            }
            let patch = json!({ "metadata": { "uid": pod.metadata.uid }, "status": status });
            let patched = api.patch_status(&key.name, &PatchParams::default(), &Patch::Strategic(patch)).await;
            if objects::ignore_not_found(patched).attempt("mark pod as failed", &key)?.is_none() {
                return Ok(());
            }
        }
        tracing::info!(namespace = key.namespace(), name = key.name, "pod is removed by force");
        let parameters = DeleteParams { grace_period_seconds: Some(0), ..objects::delete_uid(objects::uid(pod)) };
        objects::ignore_not_found(api.delete(&key.name, &parameters).await).attempt("delete pod", &key)?;
        Ok(())
    }
}
