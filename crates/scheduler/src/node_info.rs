//! A node with the pods that count on it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Taint};

use crate::pod_info::{HostPort, PodInfo};
use crate::resources::Resources;

/// What plugins read of a node. Sums are kept by deltas, never recomputed.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeInfo {
    pub(crate) name: String,
    /// Whether the node object is there. Pods may be known before their node, or outlive it.
    pub(crate) exists: bool,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) taints: Vec<Taint>,
    pub(crate) unschedulable: bool,
    pub(crate) allocatable: Resources,
    /// Images that the node has, by each of their names, with their sizes in bytes.
    pub(crate) images: HashMap<String, i64>,
    /// What all its pods ask for.
    pub(crate) requested: Resources,
    /// The same with defaults for those that do not say.
    pub(crate) scored: Resources,
    pub(crate) host_ports: Vec<HostPort>,
    pods: HashMap<String, Arc<PodInfo>>,
}

impl NodeInfo {
    /// A node of which only the name is known.
    pub(crate) fn named(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// Takes over what the node object says.
    pub(crate) fn set_node(&mut self, node: &Node) {
        let (spec, status) = (node.spec.clone().unwrap_or_default(), node.status.clone().unwrap_or_default());
        self.exists = true;
        self.labels = node.metadata.labels.clone().unwrap_or_default();
        self.taints = spec.taints.unwrap_or_default();
        self.unschedulable = spec.unschedulable.unwrap_or(false);
        self.allocatable = Resources::of(status.allocatable.as_ref().or(status.capacity.as_ref()));
        self.images = status
            .images
            .into_iter()
            .flatten()
            .flat_map(|image| {
                let size = image.size_bytes.unwrap_or(0);
                image.names.into_iter().flatten().map(move |name| (name, size))
            })
            .collect();
    }

    /// Counts a pod. A pod that counts already is replaced.
    pub(crate) fn add_pod(&mut self, pod: Arc<PodInfo>) {
        self.remove_pod(&pod.uid);
        self.requested.add(&pod.requests.requested);
        self.scored.add(&pod.requests.scored);
        self.host_ports.extend(pod.host_ports.iter().cloned());
        self.pods.insert(pod.uid.clone(), pod);
    }

    /// Counts a pod no more.
    pub(crate) fn remove_pod(&mut self, uid: &str) {
        let Some(pod) = self.pods.remove(uid) else { return };
        self.requested.subtract(&pod.requests.requested);
        self.scored.subtract(&pod.requests.scored);
        for port in &pod.host_ports {
            if let Some(position) = self.host_ports.iter().position(|other| other == port) {
                self.host_ports.swap_remove(position);
            }
        }
    }

    /// How many pods count.
    pub(crate) fn pod_count(&self) -> i64 {
        i64::try_from(self.pods.len()).unwrap_or(i64::MAX)
    }
}
