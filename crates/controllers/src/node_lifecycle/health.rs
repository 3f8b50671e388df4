//! Watches over nodes: silence becomes the condition Unknown, conditions become taints, and pods on nodes that are
//! not ready are marked so.
//!
//! A node is heard by its Lease or by its status. Nothing is polled: a sync asks to be called again when the node's
//! grace period would end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::Drain;
use client::{Controller, ControllerError, Event, EventType, ListSelector, Lister, ObjectKey, Queue, objects};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

use super::heartbeat::Heartbeats;
use super::rate::{Disruption, Limiter, Permission, all_full, disruptions, zone};
use super::{condition, is_ready, taints};
use crate::context::Context;
use crate::error::{Attempt, SyncError};
use crate::pod_gc::BY_NODE;
use crate::pods;

const WORKERS: usize = 4;
const LEASE_NAMESPACE: &str = "kube-node-lease";
/// The conditions that become Unknown with silence.
const WATCHED: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

struct Health {
    context: Context,
    nodes: Lister<Node>,
    pods: Lister<Pod>,
    heartbeats: Heartbeats,
    limiter: Mutex<Limiter>,
    /// Whether no node was ready when last looked.
    blind: Mutex<bool>,
}

/// Runs the controller until the drain signal.
pub(crate) async fn run(context: Context, drain: Drain) -> Result<(), ControllerError> {
    let (nodes, pods) = (context.informers.of::<Node>(), context.informers.of::<Pod>());
    let leases =
        context.informers.filtered::<Lease>(ListSelector::fields(format!("metadata.namespace={LEASE_NAMESPACE}")));
    pods.add_index(BY_NODE, |pod| vec![pods::node_name(pod).to_owned()]);
    let health = Arc::new(Health {
        nodes: nodes.lister(),
        pods: pods.lister(),
        heartbeats: Heartbeats::new(context.env.clone()),
        limiter: Mutex::default(),
        blind: Mutex::default(),
        context,
    });
    let (for_nodes, for_leases, for_pods) = (Arc::clone(&health), Arc::clone(&health), Arc::clone(&health));
    Controller::new("node-lifecycle-controller", health.context.env.clone())
        .workers(WORKERS)
        .watch(&nodes, move |event, queue| for_nodes.on_node(event, queue))
        .watch(&leases, move |event, queue| for_leases.on_lease(event, queue))
        .watch(&pods, move |event, queue| for_pods.on_pod(event, queue))
        .run(drain, move |key| {
            let health = Arc::clone(&health);
            async move { health.sync(&key).await }
        })
        .await
}

impl Health {
    fn on_node(&self, event: &Event<Node>, queue: &Queue<ObjectKey>) {
        let node = event.object();
        let name = objects::name(&**node);
        if event.is_deleted() {
            self.heartbeats.forget(name);
        } else {
            let reported = condition(node, "Ready").and_then(|ready| ready.last_heartbeat_time.as_ref());
            self.heartbeats.status(name, reported.map(|time| time.0));
            queue.add(ObjectKey::of(&**node));
        }
        let readiness_changed = event.old().is_none_or(|old| is_ready(old) != is_ready(node));
        if readiness_changed || event.is_deleted() {
            // How a zone is doing decides on what its other silent nodes wait for.
            for other in self.nodes.list().iter().filter(|other| !is_ready(other)) {
                queue.add(ObjectKey::of(&**other));
            }
        }
    }

    /// A renewal moves the end of the grace period; only for a node that was given up there is something to do now.
    fn on_lease(&self, event: &Event<Lease>, _queue: &Queue<ObjectKey>) {
        let lease = event.object();
        let renewed = lease.spec.as_ref().and_then(|spec| spec.renew_time.as_ref());
        if let Some(renewed) = renewed
            && !event.is_deleted()
            && objects::namespace(&**lease) == LEASE_NAMESPACE
        {
            self.heartbeats.lease(objects::name(&**lease), renewed.0);
        }
    }

    /// A pod that says it is ready on a node that is not.
    fn on_pod(&self, event: &Event<Pod>, queue: &Queue<ObjectKey>) {
        let pod = event.object();
        let node = pods::node_name(pod);
        if event.is_deleted() || node.is_empty() || !pods::is_ready(pod) {
            return;
        }
        if self.nodes.get(None, node).is_some_and(|node| !is_ready(&node)) {
            queue.add(ObjectKey::cluster(node));
        }
    }

    async fn sync(&self, key: &ObjectKey) -> Result<Option<Duration>, SyncError> {
        let Some(node) = self.nodes.get_key(key) else { return Ok(None) };
        let grace = self.context.config.node_monitor_grace_period;
        let silence = self.heartbeats.silence(&key.name);
        let mut node = Node::clone(&node);
        let mut again = None;
        if silence >= grace {
            if let Some(written) = self.mark_unknown(key, &node).await? {
                node = written;
            }
        } else {
            again = Some(grace - silence);
        }
        if !is_ready(&node) && condition(&node, "Ready").is_some() {
            self.mark_pods(&node).await?;
        }
        let later = self.sync_taints(key, &node).await?;
        Ok(match (again, later) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        })
    }

    /// Writes Unknown into the conditions that are not. Returns the node as written, `None` where nothing changed.
    async fn mark_unknown(&self, key: &ObjectKey, node: &Node) -> Result<Option<Node>, SyncError> {
        let Some(conditions) = unknown_conditions(node, self.context.env.now()) else { return Ok(None) };
        let mut changed = node.clone();
        changed.status.get_or_insert_default().conditions = Some(conditions);
        let api: Api<Node> = self.context.cluster();
        let written = api.replace_status(&key.name, &PostParams::default(), &changed).await;
        let written = written.attempt("mark as unknown node", key)?;
        if is_ready(node) {
            tracing::warn!(name = key.name, "node is silent");
            let message = format!("Node {} status is now: NodeNotReady", key.name);
            let about = objects::reference(node);
            self.context.recorder().event(&about, EventType::Normal, "NodeNotReady", message);
        }
        Ok(Some(written))
    }

    /// Pods on a node that is not ready are not ready, whatever they said last.
    async fn mark_pods(&self, node: &Node) -> Result<(), SyncError> {
        for pod in self.pods.by_index(BY_NODE, objects::name(node)) {
            if !pods::is_ready(&pod) || pods::is_terminal(&pod) {
                continue;
            }
            let key = ObjectKey::of(&*pod);
            let now = Time(self.context.env.now());
            let patch = json!({
                "metadata": { "uid": pod.metadata.uid },
                "status": { "conditions": [{ "type": "Ready", "status": "False", "lastTransitionTime": now }] },
            });
            let api: Api<Pod> = self.context.namespaced(key.namespace());
            let patched = api.patch_status(&key.name, &PatchParams::default(), &Patch::Strategic(patch)).await;
            if objects::ignore_not_found(patched).attempt("mark as not ready pod", &key)?.is_some() {
                let about = objects::reference(&*pod);
                self.context.recorder().event(&about, EventType::Warning, "NodeNotReady", "Node is not ready");
            }
        }
        Ok(())
    }

    /// Brings the taints in line with the conditions. Those against the pods of the node are set at a limited rate;
    /// returns when to ask again.
    async fn sync_taints(&self, key: &ObjectKey, node: &Node) -> Result<Option<Duration>, SyncError> {
        let nodes = self.nodes.list();
        let zones = disruptions(nodes.iter().map(|node| &**node));
        self.note_blindness(&zones);
        let mut later = None;
        let wanted = taints::no_execute_wanted(node).filter(|_| condition(node, "Ready").is_some());
        let no_execute = match wanted {
            _ if all_full(&zones) => None,
            None => None,
            // One kind becomes the other without asking: the node is given up already.
            Some(key) if !taints::no_execute_present(node).is_empty() => Some(key),
            Some(key) => {
                let now = self.context.env.instant();
                let mut limiter = self.limiter.lock().unwrap_or_else(PoisonError::into_inner);
                match limiter.ask(&zone(node), &zones, now) {
                    Permission::Granted => Some(key),
                    Permission::Later(pause) => {
                        later = Some(pause);
                        None
                    }
                    Permission::Denied => None,
                }
            }
        };
        let taints = taints::wanted(node, no_execute, self.context.env.now());
        let present = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
        if taints != present {
            let api: Api<Node> = self.context.cluster();
            // With the version read: the kubelet and people write taints as well.
            let patch = json!({
                "metadata": { "resourceVersion": node.metadata.resource_version },
                "spec": { "taints": taints },
            });
            let patched = api.patch(&key.name, &PatchParams::default(), &Patch::Merge(patch)).await;
            objects::ignore_not_found(patched).attempt("taint node", key)?;
        }
        Ok(later)
    }

    /// When no node at all was ready and one is again, it was this process that could not hear: all silence counts
    /// from now.
    fn note_blindness(&self, zones: &HashMap<String, Disruption>) {
        let blind = all_full(zones);
        let mut was = self.blind.lock().unwrap_or_else(PoisonError::into_inner);
        if *was && !blind {
            self.heartbeats.reset();
        }
        *was = blind;
    }
}

/// The conditions of a node with the watched ones Unknown; `None` where they are already.
fn unknown_conditions(node: &Node, now: Timestamp) -> Option<Vec<NodeCondition>> {
    let mut conditions = node.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let mut changed = false;
    for type_ in WATCHED {
        let unknown = |reason: &str, message: &str| NodeCondition {
            type_: type_.to_owned(),
            status: "Unknown".to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_transition_time: Some(Time(now)),
            last_heartbeat_time: None,
        };
        match conditions.iter_mut().find(|condition| condition.type_ == type_) {
            Some(known) if known.status == "Unknown" => {}
            Some(known) => {
                *known = NodeCondition {
                    last_heartbeat_time: known.last_heartbeat_time.clone(),
                    ..unknown("NodeStatusUnknown", "Kubelet stopped posting node status.")
                };
                changed = true;
            }
            None => {
                let created = node.metadata.creation_timestamp.clone();
                let never = unknown("NodeStatusNeverUpdated", "Kubelet never posted node status.");
                conditions.push(NodeCondition { last_heartbeat_time: created, ..never });
                changed = true;
            }
        }
    }
    changed.then_some(conditions)
}

#[cfg(test)]
mod tests {
    use testkit::{at, node};

    use super::*;

    #[test]
    fn silence_makes_conditions_unknown_once() {
        let silent = node("n").ready().condition("DiskPressure", "False", 0).build();
        let conditions = unknown_conditions(&silent, at(60)).expect("they change");
        let reasons: Vec<(&str, &str)> = conditions
            .iter()
            .map(|condition| (condition.type_.as_str(), condition.reason.as_deref().unwrap_or_default()))
            .collect();
        assert_eq!(
            reasons,
            [
                ("Ready", "NodeStatusUnknown"),
                ("DiskPressure", "NodeStatusUnknown"),
                ("MemoryPressure", "NodeStatusNeverUpdated"),
                ("PIDPressure", "NodeStatusNeverUpdated"),
            ]
        );
        let marked = node("n").with(|made| {
            made.status.get_or_insert_default().conditions = Some(conditions);
        });
        assert_eq!(unknown_conditions(&marked.build(), at(90)), None);
    }
}
