//! NodeResourcesBalancedAllocation: nodes are better where CPU and memory fill up evenly.

use crate::framework::{Candidates, MAX_SCORE, Plugin};
use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;

pub(super) struct BalancedAllocation;

impl Plugin for BalancedAllocation {
    fn name(&self) -> &'static str {
        "NodeResourcesBalancedAllocation"
    }

    fn scores(&self, pod: &PodInfo) -> bool {
        // A pod that asks for nothing unbalances nothing.
        let requested = &pod.requests.requested;
        requested.milli_cpu > 0 || requested.memory > 0
    }

    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "fractions need no more digits")]
    fn score(&self, pod: &PodInfo, node: &NodeInfo, _candidates: Candidates<'_>) -> i64 {
        let (asked, used, all) = (&pod.requests.requested, &node.requested, &node.allocatable);
        let fraction = |wanted: i64, all: i64| if all > 0 { (wanted as f64 / all as f64).min(1.0) } else { 1.0 };
        let cpu = fraction(asked.milli_cpu + used.milli_cpu, all.milli_cpu);
        let memory = fraction(asked.memory + used.memory, all.memory);
        // Of two values, the standard deviation is half their distance.
        let deviation = (cpu - memory).abs() / 2.0;
        ((1.0 - deviation) * MAX_SCORE as f64) as i64
    }
}

#[cfg(test)]
mod tests {
    use testkit::{node, pod};

    use super::*;
    use crate::plugins::test_support::{check_scores, node_info};

    #[test]
    fn even_use_scores_higher() {
        let machine = |memory: &str| node("a").capacity(&[("cpu", "4"), ("memory", memory), ("pods", "9")]).build();
        let nodes = [node_info(&machine("4Gi"), &[]), node_info(&machine("2Gi"), &[])];
        let pod = pod("ns/p").container("c", "i").requests(&[("cpu", "2"), ("memory", "2Gi")]).build();
        check_scores(&BalancedAllocation, &pod, &nodes, &[100, 75]);
    }
}
