//! NodePorts: two pods cannot have the same port of a node.

use crate::framework::{Changes, ClusterChange, Plugin, Refusal};
use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;

pub(super) struct NodePorts;

impl Plugin for NodePorts {
    fn name(&self) -> &'static str {
        "NodePorts"
    }

    fn helped_by(&self) -> Changes {
        ClusterChange::NodeAdded | ClusterChange::AssignedPodGone
    }

    fn filter(&self, pod: &PodInfo, node: &NodeInfo) -> Result<(), Refusal> {
        let taken = pod.host_ports.iter().any(|port| node.host_ports.iter().any(|other| port.conflicts(other)));
        if taken { Err(Refusal::new("node(s) didn't have free ports for the requested pod ports")) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use testkit::{node, pod};

    use super::*;
    use crate::plugins::test_support::{check_filter, node_info};

    fn with_host_port(port: i32) -> Pod {
        let with_port = pod("ns/p").container("c", "i").port("web", 80, "TCP");
        with_port
            .with(|pod| {
                let container = &mut pod.spec.as_mut().unwrap().containers[0];
                container.ports.as_mut().unwrap()[0].host_port = Some(port);
            })
            .build()
    }

    #[test]
    fn a_port_is_taken_once() {
        let node = node_info(&node("a").build(), &[with_host_port(8080)]);
        check_filter(&NodePorts, &with_host_port(9090), &node, &[]);
        let reasons = ["node(s) didn't have free ports for the requested pod ports"];
        check_filter(&NodePorts, &with_host_port(8080), &node, &reasons);
    }
}
