//! NodeResourcesFit: what a pod asks for must be free, and emptier nodes are better (least allocated).

use crate::framework::{Candidates, Changes, ClusterChange, MAX_SCORE, Plugin, Refusal};
use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;

pub(super) struct ResourcesFit;

impl Plugin for ResourcesFit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn helped_by(&self) -> Changes {
        ClusterChange::NodeAdded | ClusterChange::NodeAllocatable | ClusterChange::AssignedPodGone
    }

    fn filter(&self, pod: &PodInfo, node: &NodeInfo) -> Result<(), Refusal> {
        let (asked, used, all) = (&pod.requests.requested, &node.requested, &node.allocatable);
        let mut reasons = Vec::new();
        if node.pod_count() + 1 > all.pods {
            reasons.push("Too many pods".to_owned());
        }
        let standard = [
            ("cpu", asked.milli_cpu, used.milli_cpu, all.milli_cpu),
            ("memory", asked.memory, used.memory, all.memory),
            ("ephemeral-storage", asked.ephemeral_storage, used.ephemeral_storage, all.ephemeral_storage),
        ];
        let short = standard.iter().filter(|(_, asked, used, all)| *asked > 0 && *asked > all.saturating_sub(*used));
        reasons.extend(short.map(|(name, ..)| format!("Insufficient {name}")));
        for (name, asked) in asked.scalar.iter().filter(|(_, asked)| **asked > 0) {
            let amount = |list: &std::collections::BTreeMap<String, i64>| list.get(name).copied().unwrap_or(0);
            if *asked > amount(&all.scalar) - amount(&used.scalar) {
                reasons.push(format!("Insufficient {name}"));
            }
        }
        if reasons.is_empty() { Ok(()) } else { Err(Refusal { reasons }) }
    }

    fn scores(&self, _pod: &PodInfo) -> bool {
        true
    }

    fn score(&self, pod: &PodInfo, node: &NodeInfo, _candidates: Candidates<'_>) -> i64 {
        let (asked, used, all) = (&pod.requests.scored, &node.scored, &node.allocatable);
        let parts = [(asked.milli_cpu + used.milli_cpu, all.milli_cpu), (asked.memory + used.memory, all.memory)];
        let free = parts
            .iter()
            .filter(|(_, all)| *all > 0)
            .map(|(wanted, all)| if wanted > all { 0 } else { (all - wanted).saturating_mul(MAX_SCORE) / all });
        let counted = parts.iter().filter(|(_, all)| *all > 0).count();
        free.sum::<i64>() / i64::try_from(counted.max(1)).unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{Node, Pod};
    use testkit::{node, pod};

    use super::*;
    use crate::plugins::test_support::{check_filter, check_scores, node_info};

    fn machine(pods: &str) -> Node {
        node("a").capacity(&[("cpu", "4"), ("memory", "8Gi"), ("pods", pods), ("example.com/gpu", "1")]).build()
    }

    fn asking(requests: &[(&str, &str)]) -> Pod {
        pod("ns/p").requests(requests).build()
    }

    #[test]
    fn every_shortage_is_named() {
        let node = node_info(&machine("2"), &[asking(&[("cpu", "3"), ("example.com/gpu", "1")])]);
        check_filter(&ResourcesFit, &asking(&[("cpu", "1"), ("memory", "8Gi")]), &node, &[]);
        check_filter(&ResourcesFit, &asking(&[]), &node, &[]);
        let greedy = asking(&[("cpu", "1001m"), ("memory", "9Gi"), ("example.com/gpu", "1")]);
        let reasons = ["Insufficient cpu", "Insufficient memory", "Insufficient example.com/gpu"];
        check_filter(&ResourcesFit, &greedy, &node, &reasons);
    }

    #[test]
    fn a_node_takes_so_many_pods() {
        check_filter(&ResourcesFit, &asking(&[]), &node_info(&machine("1"), &[asking(&[])]), &["Too many pods"]);
    }

    #[test]
    fn emptier_nodes_score_higher() {
        let half = asking(&[("cpu", "2"), ("memory", "4Gi")]);
        let nodes = [node_info(&machine("10"), &[]), node_info(&machine("10"), std::slice::from_ref(&half))];
        check_scores(&ResourcesFit, &half, &nodes, &[50, 0]);
    }
}
