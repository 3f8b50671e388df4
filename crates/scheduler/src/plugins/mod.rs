//! The plugins, one module each.

mod balanced_allocation;
mod dynamic_resources;
mod image_locality;
mod node_affinity;
mod node_name;
mod node_ports;
mod node_unschedulable;
mod resources_fit;
mod taint_toleration;

use crate::framework::Plugin;

/// All plugins in the order in which they filter. The cheap ones and those that refuse most come first.
pub(crate) const PLUGINS: &[&dyn Plugin] = &[
    &node_unschedulable::NodeUnschedulable,
    &node_name::NodeName,
    &taint_toleration::TaintToleration,
    &node_affinity::NodeAffinity,
    &node_ports::NodePorts,
    &resources_fit::ResourcesFit,
    &dynamic_resources::DynamicResources,
    &balanced_allocation::BalancedAllocation,
    &image_locality::ImageLocality,
];

#[cfg(test)]
pub(crate) mod test_support {
    use std::sync::Arc;

    use k8s_openapi::api::core::v1::{Node, Pod};

    use crate::framework::{Candidates, Plugin};
    use crate::node_info::NodeInfo;
    use crate::pod_info::PodInfo;

    /// A node with pods on it.
    pub(crate) fn node_info(node: &Node, pods: &[Pod]) -> NodeInfo {
        let mut info = NodeInfo::named(node.metadata.name.as_deref().unwrap());
        info.set_node(node);
        for (index, pod) in pods.iter().enumerate() {
            let mut pod = pod.clone();
            pod.metadata.uid = Some(format!("uid-{index}"));
            info.add_pod(Arc::new(PodInfo::new(Arc::new(pod))));
        }
        info
    }

    /// What a plugin's filter says; the reasons where it refuses.
    #[track_caller]
    pub(crate) fn check_filter(plugin: &dyn Plugin, pod: &Pod, node: &NodeInfo, reasons: &[&str]) {
        let pod = PodInfo::new(Arc::new(pod.clone()));
        let refused = plugin.filter(&pod, node).err().map(|refusal| refusal.reasons).unwrap_or_default();
        assert_eq!(refused, reasons);
    }

    /// What a plugin scores for each node, normalised.
    #[track_caller]
    pub(crate) fn check_scores(plugin: &dyn Plugin, pod: &Pod, nodes: &[NodeInfo], expected: &[i64]) {
        let pod = PodInfo::new(Arc::new(pod.clone()));
        assert!(plugin.scores(&pod));
        let nodes: Vec<&NodeInfo> = nodes.iter().collect();
        let candidates = Candidates { nodes: &nodes, total: nodes.len() };
        let mut scores: Vec<i64> = nodes.iter().map(|node| plugin.score(&pod, node, candidates)).collect();
        plugin.normalize(&mut scores);
        assert_eq!(scores, expected);
    }
}
