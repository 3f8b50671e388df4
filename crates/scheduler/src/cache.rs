//! The nodes and what runs on them, kept current by deltas.

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;

use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;

/// All nodes, in an order that only changes when nodes come and go, and on which of them each pod counts.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    nodes: Vec<NodeInfo>,
    /// How many of them exist.
    existing: usize,
    positions: HashMap<String, usize>,
    /// Pod uid to node name, for pods that were seen bound or are assumed to be.
    placed: HashMap<String, String>,
}

impl Cache {
    /// The nodes whose objects are there are those with [`NodeInfo::exists`].
    pub(crate) fn nodes(&self) -> &[NodeInfo] {
        &self.nodes
    }

    /// How many nodes exist.
    pub(crate) fn existing(&self) -> usize {
        self.existing
    }

    fn entry(&mut self, name: &str) -> &mut NodeInfo {
        let position = *self.positions.entry(name.to_owned()).or_insert_with(|| {
            self.nodes.push(NodeInfo::named(name));
            self.nodes.len() - 1
        });
        &mut self.nodes[position]
    }

    /// Takes over a node object.
    pub(crate) fn set_node(&mut self, node: &Node) {
        let entry = self.entry(node.metadata.name.as_deref().unwrap_or_default());
        let is_new = !entry.exists;
        entry.set_node(node);
        self.existing += usize::from(is_new);
    }

    /// Forgets a node object. Its pods still count, in case it comes back.
    pub(crate) fn remove_node(&mut self, name: &str) {
        let Some(position) = self.positions.get(name).copied() else { return };
        let existed = std::mem::replace(&mut self.nodes[position].exists, false);
        self.existing -= usize::from(existed);
        self.drop_if_empty(position);
    }

    fn drop_if_empty(&mut self, position: usize) {
        if self.nodes[position].exists || self.nodes[position].pod_count() > 0 {
            return;
        }
        let removed = self.nodes.swap_remove(position);
        self.positions.remove(&removed.name);
        if let Some(moved) = self.nodes.get(position) {
            self.positions.insert(moved.name.clone(), position);
        }
    }

    /// Counts a pod on a node, on that one alone.
    pub(crate) fn place(&mut self, pod: Arc<PodInfo>, node: &str) {
        if self.placed.get(&pod.uid).is_some_and(|current| current != node) {
            self.remove_pod(&pod.uid);
        }
        self.placed.insert(pod.uid.clone(), node.to_owned());
        self.entry(node).add_pod(pod);
    }

    /// Counts a pod no more. Whether it counted.
    pub(crate) fn remove_pod(&mut self, uid: &str) -> bool {
        let Some(node) = self.placed.remove(uid) else { return false };
        if let Some(position) = self.positions.get(&node).copied() {
            self.nodes[position].remove_pod(uid);
            self.drop_if_empty(position);
        }
        true
    }

    /// Whether a pod counts on some node.
    pub(crate) fn is_placed(&self, uid: &str) -> bool {
        self.placed.contains_key(uid)
    }
}

#[cfg(test)]
mod tests {
    use testkit::{node, pod};

    use super::*;

    fn info(name: &str, cpu: &str) -> Arc<PodInfo> {
        let pod = pod(name).uid(name).container("c", "i").requests(&[("cpu", cpu)]).build();
        Arc::new(PodInfo::new(Arc::new(pod)))
    }

    #[track_caller]
    fn check(cache: &Cache, expected: &[(&str, bool, i64, i64)]) {
        let mut seen: Vec<_> = cache
            .nodes()
            .iter()
            .map(|node| (node.name.as_str(), node.exists, node.pod_count(), node.requested.milli_cpu))
            .collect();
        seen.sort_unstable();
        assert_eq!(seen, expected);
        assert_eq!(cache.existing(), expected.iter().filter(|(_, exists, ..)| *exists).count());
    }

    #[test]
    fn a_pod_counts_once_wherever_it_was_last_seen() {
        let mut cache = Cache::default();
        cache.set_node(&node("a").build());
        cache.place(info("ns/p", "1"), "a");
        cache.place(info("ns/p", "2"), "a");
        check(&cache, &[("a", true, 1, 2000)]);
        cache.place(info("ns/p", "2"), "b");
        check(&cache, &[("a", true, 0, 0), ("b", false, 1, 2000)]);
        assert!(cache.remove_pod("ns/p"));
        assert!(!cache.remove_pod("ns/p"));
        check(&cache, &[("a", true, 0, 0)]);
    }

    #[test]
    fn a_node_that_comes_back_finds_its_pods() {
        let mut cache = Cache::default();
        for name in ["a", "b", "c"] {
            cache.set_node(&node(name).build());
        }
        cache.place(info("ns/p", "1"), "b");
        cache.remove_node("b");
        cache.remove_node("a");
        check(&cache, &[("b", false, 1, 1000), ("c", true, 0, 0)]);
        cache.set_node(&node("b").build());
        check(&cache, &[("b", true, 1, 1000), ("c", true, 0, 0)]);
    }
}
