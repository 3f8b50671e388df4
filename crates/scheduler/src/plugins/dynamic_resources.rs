//! DynamicResources: the claims of a pod must have devices that can be used from the node, or get some.

use crate::framework::{Changes, ClusterChange, Plugin, Refusal};
use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;

pub(super) struct DynamicResources;

impl Plugin for DynamicResources {
    fn name(&self) -> &'static str {
        "DynamicResources"
    }

    fn helped_by(&self) -> Changes {
        ClusterChange::NodeAdded | ClusterChange::NodeLabels | ClusterChange::Devices | ClusterChange::AssignedPodGone
    }

    fn filter(&self, pod: &PodInfo, node: &NodeInfo) -> Result<(), Refusal> {
        match &pod.devices {
            None => Ok(()),
            Some(Ok(plan)) => plan.fits(node).map_err(Refusal::new),
            Some(Err(why)) => Err(Refusal::new(why.clone())),
        }
    }
}
