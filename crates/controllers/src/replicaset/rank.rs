//! Which pods go first when there are too many: those whose loss hurts least.

use std::cmp::Ordering;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::manage::OnNode;
use crate::pods;

const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// Counts pods by node.
pub(super) fn pods_on_nodes<'a>(pods: impl Iterator<Item = &'a Pod>) -> OnNode {
    let mut on_node = OnNode::new();
    for pod in pods {
        *on_node.entry(pods::node_name(pod).to_owned()).or_default() += 1;
    }
    on_node
}

/// The `count` pods to delete.
pub(super) fn to_delete(active: &[Arc<Pod>], on_node: &OnNode, count: usize, now: Timestamp) -> Vec<Arc<Pod>> {
    let mut ranked = active.to_vec();
    if count < ranked.len() {
        ranked.sort_by(|a, b| compare(a, b, on_node, now));
        ranked.truncate(count);
    }
    ranked
}

/// `Less` where `a` should go before `b`.
fn compare(a: &Pod, b: &Pod, on_node: &OnNode, now: Timestamp) -> Ordering {
    // Bound to no node, then pending, then unknown, then running.
    let assigned = |pod: &Pod| !pods::node_name(pod).is_empty();
    let phase = |pod: &Pod| match pods::phase(pod) {
        "Pending" => 0,
        "Unknown" => 1,
        _ => 2,
    };
    let crowd = |pod: &Pod| on_node.get(pods::node_name(pod)).copied().unwrap_or_default();
    assigned(a)
        .cmp(&assigned(b))
        .then_with(|| phase(a).cmp(&phase(b)))
        .then_with(|| pods::is_ready(a).cmp(&pods::is_ready(b)))
        .then_with(|| deletion_cost(a).cmp(&deletion_cost(b)))
        // From the node that has most.
        .then_with(|| crowd(b).cmp(&crowd(a)))
        .then_with(|| match (pods::is_ready(a), pods::is_ready(b)) {
            (true, true) => younger_first(pods::ready_since(a), pods::ready_since(b), a, b, now),
            _ => Ordering::Equal,
        })
        .then_with(|| pods::restarts(b).cmp(&pods::restarts(a)))
        .then_with(|| younger_first(created(a), created(b), a, b, now))
}

fn created(pod: &Pod) -> Option<Timestamp> {
    pod.metadata.creation_timestamp.as_ref().map(|time| time.0)
}

fn deletion_cost(pod: &Pod) -> i32 {
    let annotation = pod.metadata.annotations.as_ref().and_then(|all| all.get(DELETION_COST));
    annotation.and_then(|cost| cost.parse().ok()).unwrap_or_default()
}

/// Ages are compared by order of magnitude only and then by UID, which is as good as random: else scaling down would
/// always take from the youngest zone.
fn younger_first(a: Option<Timestamp>, b: Option<Timestamp>, first: &Pod, second: &Pod, now: Timestamp) -> Ordering {
    if a == b {
        return Ordering::Equal;
    }
    let magnitude = |since: Option<Timestamp>| {
        since.map_or(0, |since| {
            let age = since.duration_until(now).as_nanos();
            u128::try_from(age).map_or(0, |age| u128::BITS - age.leading_zeros())
        })
    };
    magnitude(a).cmp(&magnitude(b)).then_with(|| first.metadata.uid.cmp(&second.metadata.uid))
}

#[cfg(test)]
mod tests {
    use testkit::{Maker, at, pod};

    use super::*;

    /// `first` goes before `second`, in whatever order they come.
    #[track_caller]
    fn check(first: Maker<Pod>, second: Maker<Pod>) {
        let (first, second) = (Arc::new(first.build()), Arc::new(second.build()));
        let on_node = OnNode::from([("crowded".to_owned(), 3), ("n".to_owned(), 1)]);
        for pods in [[&first, &second], [&second, &first]] {
            let got = to_delete(&pods.map(Arc::clone), &on_node, 1, at(10_000));
            assert_eq!(got[0].metadata.name, first.metadata.name);
        }
    }

    #[test]
    fn pods_that_serve_least_go_first() {
        let serving = |name: &str| pod(name).node("n").ready();
        check(pod("a"), pod("b").node("n"));
        check(pod("a").node("n").phase("Pending"), pod("b").node("n").phase("Unknown"));
        check(pod("a").node("n").phase("Unknown"), pod("b").node("n").phase("Running"));
        check(pod("a").node("n").phase("Running"), serving("b"));
        check(serving("a").annotation(DELETION_COST, "-1"), serving("b"));
        check(serving("a"), serving("b").annotation(DELETION_COST, "1"));
        check(pod("a").node("crowded").ready(), serving("b"));
        check(serving("a").ready_since(9_000), serving("b"));
        check(serving("a").restarts("c", 2), serving("b").restarts("c", 1));
        check(serving("a").created(9_000), serving("b"));
    }

    #[test]
    fn ages_of_one_magnitude_are_decided_by_uid() {
        let ready = |name: &str, since: i64, uid: &str| pod(name).node("n").ready_since(since).uid(uid);
        check(ready("a", 10, "1"), ready("b", 20, "2"));
        check(ready("a", 20, "1"), ready("b", 10, "2"));
    }

    #[test]
    fn all_go_when_none_are_wanted() {
        let pods = [Arc::new(pod("a").build()), Arc::new(pod("b").build())];
        assert_eq!(to_delete(&pods, &OnNode::new(), 2, at(0)).len(), 2);
    }
}
