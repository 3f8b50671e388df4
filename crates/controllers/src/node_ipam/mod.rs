//! Gives every node its part of the cluster's pod addresses.

mod allocate;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::{Drain, Networks};
use client::{Controller, ControllerError, EventType, Lister, ObjectKey, objects};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::context::Context;
use crate::error::{Attempt, SyncError};

struct Allocator {
    context: Context,
    nodes: Lister<Node>,
    cluster: Networks,
    /// What was given away and the informer may not have shown yet, by node.
    given: Mutex<HashMap<String, Vec<IpNet>>>,
}

/// Runs the controller until the drain signal. One worker, so that no part is given away twice.
pub(crate) async fn run(context: Context, drain: Drain) -> Result<(), ControllerError> {
    let Some(cluster) = context.config.cluster_cidr else {
        drain.drained().await;
        return Ok(());
    };
    let nodes = context.informers.of::<Node>();
    let allocator = Arc::new(Allocator { nodes: nodes.lister(), cluster, given: Mutex::default(), context });
    let (for_events, lister) = (Arc::clone(&allocator), nodes.lister());
    Controller::new("node-ipam-controller", allocator.context.env.clone())
        .watch(&nodes, move |event, queue| {
            let node = event.object();
            if event.is_deleted() {
                for_events.given().remove(objects::name(&**node));
                // Its part may be what another node waits for.
                for waiting in lister.list().iter().filter(|node| parts(node).is_empty()) {
                    queue.add(ObjectKey::of(&**waiting));
                }
            } else if parts(node).is_empty() {
                queue.add(ObjectKey::of(&**node));
            }
        })
        .run(drain, move |key| {
            let allocator = Arc::clone(&allocator);
            async move { allocator.sync(&key).await }
        })
        .await
}

/// The parts that a node has.
fn parts(node: &Node) -> Vec<IpNet> {
    let Some(spec) = &node.spec else { return Vec::new() };
    spec.pod_cidrs.iter().flatten().chain(&spec.pod_cidr).filter_map(|cidr| cidr.parse().ok()).collect()
}

impl Allocator {
    fn given(&self) -> std::sync::MutexGuard<'_, HashMap<String, Vec<IpNet>>> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A free part of each network.
    fn free_parts(&self) -> Option<Vec<IpNet>> {
        let mut used: Vec<IpNet> = self.nodes.list().iter().flat_map(|node| parts(node)).collect();
        used.extend(self.given().values().flatten());
        let free = |network| allocate::first_free(network, self.context.config.node_cidr_mask(network), &used);
        self.cluster.iter().map(free).collect()
    }

    async fn sync(&self, key: &ObjectKey) -> Result<Option<Duration>, SyncError> {
        let node = self.nodes.get_key(key).filter(|node| parts(node).is_empty() && !objects::is_deleting(&**node));
        let Some(node) = node else { return Ok(None) };
        let already = self.given().get(&key.name).cloned();
        let Some(given) = already.or_else(|| self.free_parts()) else {
            let (recorder, about) = (self.context.recorder(), objects::reference(&*node));
            let message = format!("Node {} status is now: CIDRNotAvailable", key.name);
            recorder.event(&about, EventType::Normal, "CIDRNotAvailable", message);
            // The end of another node makes room and adds this key again.
            return Ok(None);
        };
        self.given().insert(key.name.clone(), given.clone());
        let api: Api<Node> = self.context.cluster();
        let patch = json!({
            "metadata": { "uid": node.metadata.uid },
            "spec": { "podCIDR": given.first(), "podCIDRs": given },
        });
        let patched = api.patch(&key.name, &PatchParams::default(), &Patch::Strategic(patch)).await;
        if patched.is_err() {
            self.given().remove(&key.name);
        }
        objects::ignore_not_found(patched).attempt("give pod addresses to node", key)?;
        Ok(None)
    }
}
