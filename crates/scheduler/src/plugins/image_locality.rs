//! ImageLocality: nodes are better that have the pod's images already.

use crate::framework::{Candidates, MAX_SCORE, Plugin};
use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;

const MB: i64 = 1024 * 1024;
/// Below this many bytes having the images makes no difference.
const MIN: i64 = 23 * MB;
/// From this many bytes per container on it makes no more difference.
const MAX_PER_CONTAINER: i64 = 1000 * MB;

pub(super) struct ImageLocality;

impl Plugin for ImageLocality {
    fn name(&self) -> &'static str {
        "ImageLocality"
    }

    fn scores(&self, pod: &PodInfo) -> bool {
        !pod.images.is_empty()
    }

    fn score(&self, pod: &PodInfo, node: &NodeInfo, candidates: Candidates<'_>) -> i64 {
        let present: i64 = pod
            .images
            .iter()
            .filter_map(|image| {
                let name = normalized(image);
                let size = node.images.get(&name)?;
                // An image that few nodes have counts less, so that its nodes do not draw all pods that use it.
                let spread = candidates.nodes.iter().filter(|node| node.images.contains_key(&name)).count();
                let (spread, total) = (i64::try_from(spread).ok()?, i64::try_from(candidates.total.max(1)).ok()?);
                Some(size.saturating_mul(spread) / total)
            })
            .sum();
        let max = MAX_PER_CONTAINER * i64::try_from(pod.images.len()).unwrap_or(1);
        MAX_SCORE * (present.clamp(MIN, max) - MIN) / (max - MIN)
    }
}

/// A name with a tag, as nodes report it.
fn normalized(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or_default();
    if last.contains(':') || last.contains('@') { image.to_owned() } else { format!("{image}:latest") }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{ContainerImage, Node};
    use testkit::{node, pod};

    use super::*;
    use crate::plugins::test_support::{check_scores, node_info};

    fn with_image(name: &str, image: &str, size: i64) -> Node {
        let image = ContainerImage { names: Some(vec![image.to_owned()]), size_bytes: Some(size) };
        node(name).with(|node| node.status.get_or_insert_default().images = Some(vec![image])).build()
    }

    #[test]
    fn nodes_with_the_image_score_higher() {
        let nodes = [
            node_info(&with_image("a", "db:latest", 2 * MAX_PER_CONTAINER), &[]),
            node_info(&with_image("b", "web:1", 2 * MAX_PER_CONTAINER), &[]),
        ];
        check_scores(&ImageLocality, &pod("ns/p").container("c", "db").build(), &nodes, &[100, 0]);
    }
}
