//! NodeUnschedulable: cordoned nodes take no pods, unless those tolerate it.

use crate::framework::{Changes, ClusterChange, Plugin, Refusal};
use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;

/// The taint that stands for being cordoned.
const TAINT: &str = "node.kubernetes.io/unschedulable";

pub(super) struct NodeUnschedulable;

impl Plugin for NodeUnschedulable {
    fn name(&self) -> &'static str {
        "NodeUnschedulable"
    }

    fn helped_by(&self) -> Changes {
        ClusterChange::NodeAdded | ClusterChange::NodeTaints
    }

    fn filter(&self, pod: &PodInfo, node: &NodeInfo) -> Result<(), Refusal> {
        if !node.unschedulable || pod.tolerates(TAINT, "", "NoSchedule") {
            return Ok(());
        }
        Err(Refusal::new("node(s) were unschedulable"))
    }
}

#[cfg(test)]
mod tests {
    use testkit::{node, pod};

    use super::*;
    use crate::plugins::test_support::{check_filter, node_info};

    #[test]
    fn cordoned_nodes_are_left_alone() {
        let cordoned = node_info(&node("a").unschedulable().build(), &[]);
        let tolerant = pod("ns/p").toleration(TAINT, "NoSchedule", None).build();
        check_filter(&NodeUnschedulable, &pod("ns/p").build(), &node_info(&node("a").build(), &[]), &[]);
        check_filter(&NodeUnschedulable, &pod("ns/p").build(), &cordoned, &["node(s) were unschedulable"]);
        check_filter(&NodeUnschedulable, &tolerant, &cordoned, &[]);
    }
}
