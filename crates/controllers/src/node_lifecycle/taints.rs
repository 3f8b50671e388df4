//! The taints that follow from a node's conditions.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::condition;

pub(super) const NOT_READY: &str = "node.kubernetes.io/not-ready";
pub(super) const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
const NO_SCHEDULE: &str = "NoSchedule";
pub(super) const NO_EXECUTE: &str = "NoExecute";

/// Which condition, with which status, gives which taint that keeps new pods away.
const BY_CONDITION: [(&str, &str, &str); 6] = [
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
];

/// The taint that a node's readiness asks for against the pods on it.
pub(super) fn no_execute_wanted(node: &Node) -> Option<&'static str> {
    match condition(node, "Ready").map(|condition| condition.status.as_str()) {
        Some("True") => None,
        Some("False") => Some(NOT_READY),
        _ => Some(UNREACHABLE),
    }
}

/// The NoExecute taints of ours that a node has.
pub(super) fn no_execute_present(node: &Node) -> Vec<&str> {
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    let ours = taints.filter(|taint| taint.effect == NO_EXECUTE && [NOT_READY, UNREACHABLE].contains(&&*taint.key));
    ours.map(|taint| taint.key.as_str()).collect()
}

/// The taints that a node should have: others' as they are, ours as its conditions ask. `no_execute` is what of
/// those against its pods may be set now.
pub(super) fn wanted(node: &Node, no_execute: Option<&str>, now: Timestamp) -> Vec<Taint> {
    let spec = node.spec.as_ref();
    let present = spec.and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let mut ours: Vec<(&str, &str)> = Vec::new();
    for (type_, status, key) in BY_CONDITION {
        // A node without a Ready condition has not reported yet.
        if condition(node, type_).is_some_and(|condition| condition.status == status) {
            ours.push((key, NO_SCHEDULE));
        }
    }
    if spec.and_then(|spec| spec.unschedulable) == Some(true) {
        ours.push((UNSCHEDULABLE, NO_SCHEDULE));
    }
    ours.extend(no_execute.map(|key| (key, NO_EXECUTE)));
    let managed = |taint: &Taint| {
        let ours = BY_CONDITION.iter().any(|(_, _, key)| *key == taint.key) || taint.key == UNSCHEDULABLE;
        let executes = taint.effect == NO_EXECUTE && [NOT_READY, UNREACHABLE].contains(&taint.key.as_str());
        (ours && taint.effect == NO_SCHEDULE) || executes
    };
    let mut taints: Vec<Taint> = present
        .into_iter()
        .filter(|taint| !managed(taint) || ours.contains(&(taint.key.as_str(), taint.effect.as_str())))
        .collect();
    for (key, effect) in ours {
        if !taints.iter().any(|taint| taint.key == key && taint.effect == effect) {
            taints.push(Taint {
                key: key.to_owned(),
                effect: effect.to_owned(),
                value: None,
                time_added: Some(Time(now)),
            });
        }
    }
    taints
}

#[cfg(test)]
mod tests {
    use testkit::{Maker, at, node};

    use super::*;

    /// The taints as `key:effect`, without the common prefix.
    #[track_caller]
    fn check(node: Maker<Node>, no_execute: Option<&str>, expected: &[&str]) {
        let taints = wanted(&node.build(), no_execute, at(0));
        let got: Vec<String> = taints
            .iter()
            .map(|taint| format!("{}:{}", taint.key.trim_start_matches("node.kubernetes.io/"), taint.effect))
            .collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn taints_follow_conditions() {
        let silent = || node("n").condition("Ready", "Unknown", 0);
        check(node("n").ready(), None, &[]);
        check(silent(), None, &["unreachable:NoSchedule"]);
        check(silent(), Some(UNREACHABLE), &["unreachable:NoSchedule", "unreachable:NoExecute"]);
        check(
            node("n").condition("Ready", "False", 0),
            Some(NOT_READY),
            &["not-ready:NoSchedule", "not-ready:NoExecute"],
        );
        check(node("n").ready().condition("DiskPressure", "True", 0), None, &["disk-pressure:NoSchedule"]);
        check(node("n").ready().unschedulable(), None, &["unschedulable:NoSchedule"]);
    }

    #[test]
    fn taints_that_no_longer_hold_go_and_others_stay() {
        let back = node("n").ready().taint(UNREACHABLE, "NoSchedule").taint(UNREACHABLE, "NoExecute");
        check(back.taint("team", "NoSchedule"), None, &["team:NoSchedule"]);
        let changed = node("n").condition("Ready", "False", 0).taint(UNREACHABLE, "NoExecute");
        check(changed, Some(NOT_READY), &["not-ready:NoSchedule", "not-ready:NoExecute"]);
    }
}
