//! One scheduling cycle: a pure step from a pod and the nodes to a node, or to why there is none.

use base::Random;

use crate::diagnosis::Diagnosis;
use crate::framework::{Candidates, Refusal};
use crate::node_info::NodeInfo;
use crate::plugins::PLUGINS;
use crate::pod_info::PodInfo;

/// So many feasible nodes are always looked for.
const MIN_FEASIBLE: usize = 100;
/// Of very large clusters at least this share is looked at, in percent.
const MIN_PERCENTAGE: usize = 5;

/// Where the search for feasible nodes goes on, so that all nodes get their turn.
#[derive(Debug, Default)]
pub(crate) struct Rotation(usize);

/// Picks a node for a pod; `total` of the nodes exist.
pub(crate) fn schedule(
    pod: &PodInfo,
    nodes: &[NodeInfo],
    total: usize,
    rotation: &mut Rotation,
    random: &Random,
) -> Result<String, Diagnosis> {
    let (feasible, diagnosis) = feasible(pod, nodes, total, rotation);
    match feasible.as_slice() {
        [] => Err(diagnosis),
        [only] => Ok(only.name.clone()),
        several => Ok(best(pod, several, total, random).name.clone()),
    }
}

/// How many feasible nodes are enough to choose among: all of a small cluster, a shrinking share of a large one.
fn enough(total: usize) -> usize {
    if total <= MIN_FEASIBLE {
        return total;
    }
    let percentage = 50_usize.saturating_sub(total / 125).max(MIN_PERCENTAGE);
    (total * percentage / 100).max(MIN_FEASIBLE)
}

fn feasible<'a>(
    pod: &PodInfo,
    nodes: &'a [NodeInfo],
    total: usize,
    rotation: &mut Rotation,
) -> (Vec<&'a NodeInfo>, Diagnosis) {
    let (mut found, mut diagnosis) = (Vec::new(), Diagnosis::new(total));
    let start = if nodes.is_empty() { 0 } else { rotation.0 % nodes.len() };
    let enough = enough(total);
    let mut seen = 0;
    for node in nodes[start..].iter().chain(&nodes[..start]) {
        seen += 1;
        if !node.exists {
            continue;
        }
        match filter(pod, node) {
            Ok(()) => found.push(node),
            Err((plugin, refusal)) => diagnosis.refuse(plugin, refusal),
        }
        if found.len() == enough {
            break;
        }
    }
    rotation.0 = if nodes.is_empty() { 0 } else { (start + seen) % nodes.len() };
    (found, diagnosis)
}

fn filter(pod: &PodInfo, node: &NodeInfo) -> Result<(), (&'static str, Refusal)> {
    PLUGINS.iter().try_for_each(|plugin| plugin.filter(pod, node).map_err(|refusal| (plugin.name(), refusal)))
}

fn best<'a>(pod: &PodInfo, nodes: &[&'a NodeInfo], total: usize, random: &Random) -> &'a NodeInfo {
    let candidates = Candidates { nodes, total };
    let mut sums = vec![0_i64; nodes.len()];
    let mut scores = vec![0_i64; nodes.len()];
    for plugin in PLUGINS.iter().filter(|plugin| plugin.scores(pod)) {
        for (score, node) in scores.iter_mut().zip(nodes) {
            *score = plugin.score(pod, node, candidates);
        }
        plugin.normalize(&mut scores);
        for (sum, score) in sums.iter_mut().zip(&scores) {
            *sum += score * plugin.weight();
        }
    }
    let highest = sums.iter().copied().max().unwrap_or(0);
    let winners: Vec<usize> = (0..nodes.len()).filter(|index| sums[*index] == highest).collect();
    let draw = random.below(winners.len() as u64);
    nodes[winners[usize::try_from(draw).unwrap_or(0)]]
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use k8s_openapi::api::core::v1::Pod;
    use testkit::{node, pod};

    use super::*;
    use crate::plugins::test_support::node_info;

    fn machine(name: &str, cpu: &str, pods: &[Pod]) -> NodeInfo {
        node_info(&node(name).capacity(&[("cpu", cpu), ("memory", "8Gi"), ("pods", "110")]).build(), pods)
    }

    fn asking(cpu: &str) -> Pod {
        pod("ns/p").container("c", "i").requests(&[("cpu", cpu)]).build()
    }

    fn run(pod: &Pod, nodes: &[NodeInfo]) -> Result<String, String> {
        let pod = PodInfo::new(Arc::new(pod.clone()));
        let picked = schedule(&pod, nodes, nodes.len(), &mut Rotation::default(), &Random::seeded(1));
        picked.map_err(|diagnosis| diagnosis.message())
    }

    #[test]
    fn the_emptiest_node_that_fits_wins() {
        let nodes = [machine("small", "1", &[]), machine("full", "4", &[asking("3")]), machine("empty", "4", &[])];
        assert_eq!(run(&asking("500m"), &nodes).as_deref(), Ok("empty"));
        assert_eq!(run(&asking("2"), &nodes).as_deref(), Ok("empty"));
    }

    #[test]
    fn refusals_are_told() {
        let nodes = [machine("a", "1", &[]), machine("b", "1", &[])];
        assert_eq!(run(&asking("2"), &nodes), Err("0/2 nodes are available: 2 Insufficient cpu.".to_owned()));
    }

    #[test]
    fn equals_are_drawn_among() {
        let nodes = [machine("a", "4", &[]), machine("b", "4", &[])];
        let pod = PodInfo::new(Arc::new(asking("1")));
        let (random, mut rotation) = (Random::seeded(3), Rotation::default());
        let mut draws: Vec<_> =
            (0..32).map(|_| schedule(&pod, &nodes, nodes.len(), &mut rotation, &random).unwrap_or_default()).collect();
        draws.sort();
        draws.dedup();
        assert_eq!(draws, ["a", "b"]);
    }

    #[test]
    fn large_clusters_are_sampled_in_turn() {
        assert_eq!((enough(50), enough(100), enough(1000), enough(5000)), (50, 100, 420, 500));
        let nodes: Vec<NodeInfo> = (0..400).map(|index| machine(&format!("n{index}"), "4", &[])).collect();
        let mut rotation = Rotation::default();
        let pod = PodInfo::new(Arc::new(asking("1")));
        let _ = schedule(&pod, &nodes, nodes.len(), &mut rotation, &Random::seeded(1));
        assert_eq!(rotation.0, enough(400));
    }
}
