//! NodeAffinity: node selectors and node affinity, required and preferred.

use crate::framework::{Candidates, Changes, ClusterChange, Plugin, Refusal, stretch};
use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;

pub(super) struct NodeAffinity;

impl Plugin for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    fn helped_by(&self) -> Changes {
        ClusterChange::NodeAdded | ClusterChange::NodeLabels
    }

    fn filter(&self, pod: &PodInfo, node: &NodeInfo) -> Result<(), Refusal> {
        if pod.placement.allows(&node.name, &node.labels) {
            return Ok(());
        }
        Err(Refusal::new("node(s) didn't match Pod's node affinity/selector"))
    }

    fn scores(&self, pod: &PodInfo) -> bool {
        pod.placement.has_preferences()
    }

    fn score(&self, pod: &PodInfo, node: &NodeInfo, _candidates: Candidates<'_>) -> i64 {
        pod.placement.preference(&node.name, &node.labels)
    }

    fn normalize(&self, scores: &mut [i64]) {
        stretch(scores, false);
    }

    fn weight(&self) -> i64 {
        2
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Affinity;
    use serde_json::json;
    use testkit::{node, pod};

    use super::*;
    use crate::plugins::test_support::{check_filter, check_scores, node_info};

    #[test]
    fn selectors_are_required() {
        let pod = pod("ns/p").node_selector("zone", "a").build();
        let reasons = ["node(s) didn't match Pod's node affinity/selector"];
        check_filter(&NodeAffinity, &pod, &node_info(&node("n").label("zone", "a").build(), &[]), &[]);
        check_filter(&NodeAffinity, &pod, &node_info(&node("n").label("zone", "b").build(), &[]), &reasons);
    }

    #[test]
    fn preferences_score_by_weight() {
        let wish = |weight: i32, zone: &str| {
            let expression = json!({"key": "zone", "operator": "In", "values": [zone]});
            json!({"weight": weight, "preference": {"matchExpressions": [expression]}})
        };
        let wishes = json!([wish(80, "a"), wish(20, "b")]);
        let affinity: Affinity = serde_json::from_value(
            json!({"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": wishes}}),
        )
        .unwrap();
        let pod = pod("ns/p").with(|pod| pod.spec.get_or_insert_default().affinity = Some(affinity)).build();
        let nodes = ["a", "b", "c"].map(|zone| node_info(&node(zone).label("zone", zone).build(), &[]));
        check_scores(&NodeAffinity, &pod, &nodes, &[100, 25, 0]);
    }
}
