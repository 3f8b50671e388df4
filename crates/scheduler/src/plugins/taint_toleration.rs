//! TaintToleration: taints keep pods away that do not tolerate them, or make nodes less wanted.

use crate::framework::{Candidates, Changes, ClusterChange, Plugin, Refusal, stretch};
use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;

pub(super) struct TaintToleration;

impl Plugin for TaintToleration {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }

    fn helped_by(&self) -> Changes {
        ClusterChange::NodeAdded | ClusterChange::NodeTaints
    }

    fn filter(&self, pod: &PodInfo, node: &NodeInfo) -> Result<(), Refusal> {
        let repels = node.taints.iter().filter(|taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute"));
        let mut untolerated = repels
            .filter(|taint| !pod.tolerates(&taint.key, taint.value.as_deref().unwrap_or_default(), &taint.effect));
        match untolerated.next() {
            None => Ok(()),
            Some(taint) => Err(Refusal::new(format!(
                "node(s) had untolerated taint {{{}: {}}}",
                taint.key,
                taint.value.as_deref().unwrap_or_default()
            ))),
        }
    }

    fn scores(&self, _pod: &PodInfo) -> bool {
        true
    }

    fn score(&self, pod: &PodInfo, node: &NodeInfo, _candidates: Candidates<'_>) -> i64 {
        let soft = node.taints.iter().filter(|taint| taint.effect == "PreferNoSchedule");
        let untolerated =
            soft.filter(|taint| !pod.tolerates(&taint.key, taint.value.as_deref().unwrap_or_default(), &taint.effect));
        i64::try_from(untolerated.count()).unwrap_or(i64::MAX)
    }

    fn normalize(&self, scores: &mut [i64]) {
        stretch(scores, true);
    }

    fn weight(&self) -> i64 {
        3
    }
}

#[cfg(test)]
mod tests {
    use testkit::{node, pod};

    use super::*;
    use crate::plugins::test_support::{check_filter, check_scores, node_info};

    #[test]
    fn hard_taints_need_a_toleration() {
        let tainted = node_info(&node("a").taint("dedicated", "NoSchedule").build(), &[]);
        let tolerant = pod("ns/p").toleration("dedicated", "NoSchedule", None).build();
        check_filter(&TaintToleration, &tolerant, &tainted, &[]);
        check_filter(
            &TaintToleration,
            &pod("ns/p").build(),
            &tainted,
            &["node(s) had untolerated taint {dedicated: }"],
        );
        let soft = node_info(&node("a").taint("dedicated", "PreferNoSchedule").build(), &[]);
        check_filter(&TaintToleration, &pod("ns/p").build(), &soft, &[]);
    }

    #[test]
    fn soft_taints_make_nodes_less_wanted() {
        let one = node("a").taint("x", "PreferNoSchedule").build();
        let two = node("b").taint("x", "PreferNoSchedule").taint("y", "PreferNoSchedule").build();
        let nodes = [node_info(&node("c").build(), &[]), node_info(&one, &[]), node_info(&two, &[])];
        check_scores(&TaintToleration, &pod("ns/p").build(), &nodes, &[100, 50, 0]);
    }
}
