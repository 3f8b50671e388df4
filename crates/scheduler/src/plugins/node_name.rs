//! NodeName: a pod that names its node runs there or nowhere.

use crate::framework::{Changes, ClusterChange, Plugin, Refusal};
use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;

pub(super) struct NodeName;

impl Plugin for NodeName {
    fn name(&self) -> &'static str {
        "NodeName"
    }

    fn helped_by(&self) -> Changes {
        ClusterChange::NodeAdded.into()
    }

    fn filter(&self, pod: &PodInfo, node: &NodeInfo) -> Result<(), Refusal> {
        if pod.node_name().is_none_or(|name| name == node.name) {
            return Ok(());
        }
        Err(Refusal::new("node(s) didn't match the requested node name"))
    }
}

#[cfg(test)]
mod tests {
    use testkit::{node, pod};

    use super::*;
    use crate::plugins::test_support::{check_filter, node_info};

    #[test]
    fn a_named_node_is_the_only_one() {
        let node = node_info(&node("a").build(), &[]);
        check_filter(&NodeName, &pod("ns/p").build(), &node, &[]);
        check_filter(&NodeName, &pod("ns/p").node("a").build(), &node, &[]);
        let reasons = ["node(s) didn't match the requested node name"];
        check_filter(&NodeName, &pod("ns/p").node("b").build(), &node, &reasons);
    }
}
