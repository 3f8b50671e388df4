//! Deletes pods from nodes whose NoExecute taints they do not, or no longer, tolerate.

use std::sync::Arc;
use std::time::Duration;

use base::Drain;
use client::{Controller, ControllerError, Event, EventType, Lister, ObjectKey, Queue, objects};
use k8s_openapi::api::core::v1::{Node, Pod, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::tolerations::{Stay, stay};
use crate::context::Context;
use crate::error::{Attempt, SyncError};
use crate::pod_gc::BY_NODE;
use crate::pods;

const WORKERS: usize = 8;

struct Eviction {
    context: Context,
    nodes: Lister<Node>,
    pods: Lister<Pod>,
}

/// Runs the controller until the drain signal.
pub(crate) async fn run(context: Context, drain: Drain) -> Result<(), ControllerError> {
    let context = context.recording_as(|all| &all.taint_eviction);
    let (nodes, pods) = (context.informers.of::<Node>(), context.informers.of::<Pod>());
    pods.add_index(BY_NODE, |pod| vec![pods::node_name(pod).to_owned()]);
    let eviction = Arc::new(Eviction { nodes: nodes.lister(), pods: pods.lister(), context });
    let (for_nodes, for_pods) = (Arc::clone(&eviction), Arc::clone(&eviction));
    Controller::new("taint-eviction-controller", eviction.context.env.clone())
        .workers(WORKERS)
        .watch(&nodes, move |event, queue| for_nodes.on_node(event, queue))
        .watch(&pods, move |event, queue| for_pods.on_pod(event, queue))
        .run(drain, move |key| {
            let eviction = Arc::clone(&eviction);
            async move { eviction.sync(&key).await }
        })
        .await
}

fn no_execute(node: &Node) -> Vec<Taint> {
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    taints.filter(|taint| taint.effect == super::taints::NO_EXECUTE).cloned().collect()
}

impl Eviction {
    fn on_node(&self, event: &Event<Node>, queue: &Queue<ObjectKey>) {
        let node = event.object();
        let before = event.old().map(|old| no_execute(old)).unwrap_or_default();
        let now = no_execute(node);
        if event.is_deleted() || now == before || now.is_empty() {
            // A pod whose time was running finds no taint when it is over, and stays.
            return;
        }
        for pod in self.pods.by_index(BY_NODE, objects::name(&**node)) {
            queue.add(ObjectKey::of(&*pod));
        }
    }

    fn on_pod(&self, event: &Event<Pod>, queue: &Queue<ObjectKey>) {
        let pod = event.object();
        let moved = event.old().is_none_or(|old| {
            let facts = |pod: &Pod| pod.spec.as_ref().map(|spec| (spec.node_name.clone(), spec.tolerations.clone()));
            facts(old) != facts(pod)
        });
        let node = pods::node_name(pod);
        if !event.is_deleted() && moved && !node.is_empty() {
            let tainted = self.nodes.get(None, node).is_some_and(|node| !no_execute(&node).is_empty());
            if tainted {
                queue.add(ObjectKey::of(&**pod));
            }
        }
    }

    async fn sync(&self, key: &ObjectKey) -> Result<Option<Duration>, SyncError> {
        let pod = self.pods.get_key(key).filter(|pod| !objects::is_deleting(&**pod) && !pods::is_terminal(pod));
        let Some(pod) = pod else { return Ok(None) };
        let Some(node) = self.nodes.get(None, pods::node_name(&pod)) else { return Ok(None) };
        match stay(&pod, &no_execute(&node)) {
            Stay::ForEver => Ok(None),
            Stay::No => self.evict(key, &pod).await.map(|()| None),
            Stay::Until(end) => {
                let now = self.context.env.now();
                if now >= end {
                    return self.evict(key, &pod).await.map(|()| None);
                }
                Ok(Some(Duration::try_from(now.duration_until(end)).unwrap_or_default()))
            }
        }
    }

    async fn evict(&self, key: &ObjectKey, pod: &Pod) -> Result<(), SyncError> {
        let about = objects::reference(pod);
        let message = format!("Marking for deletion Pod {key}");
        self.context.recorder().event(&about, EventType::Normal, "TaintManagerEviction", message);
        let api: Api<Pod> = self.context.namespaced(key.namespace());
        let patch = json!({
            "metadata": { "uid": pod.metadata.uid },
            "status": { "conditions": [{
                "type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager",
                "message": "Taint manager: deleting due to NoExecute taint",
                "lastTransitionTime": Time(self.context.env.now()),
            }] },
        });
        let patched = api.patch_status(&key.name, &PatchParams::default(), &Patch::Strategic(patch)).await;
        objects::ignore_not_found(patched).attempt("mark for deletion pod", key)?;
        let deleted = api.delete(&key.name, &objects::delete_uid(objects::uid(pod))).await;
        objects::ignore_not_found(deleted).attempt("delete pod", key)?;
        Ok(())
    }
}
