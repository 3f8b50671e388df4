//! What is told of the node as events when its status changes, under upstream's reasons.

use client::EventType;
use k8s_openapi::api::core::v1::{Node, NodeStatus};

/// An event about the node.
#[derive(Debug, PartialEq, Eq)]
pub struct Told {
    /// Whether somebody should look.
    pub kind: EventType,
    /// The reason.
    pub reason: &'static str,
    /// The message.
    pub message: String,
}

/// What is to be told of the status of a node that follows another one: which conditions have turned. Where nothing is
/// known of the one before, what holds is told.
pub fn of_conditions(name: &str, before: Option<&NodeStatus>, after: &NodeStatus) -> Vec<Told> {
    let status_before = |type_: &str| {
        let conditions = before.and_then(|status| status.conditions.as_ref());
        conditions.into_iter().flatten().find(|condition| condition.type_ == type_).map(|c| c.status.as_str())
    };
    let turned = after.conditions.iter().flatten().filter(|now| status_before(&now.type_) != Some(&now.status));
    let reason = |(type_, holds): (&str, bool)| match (type_, holds) {
        ("Ready", true) => Some("NodeReady"),
        ("Ready", false) => Some("NodeNotReady"),
        ("MemoryPressure", true) => Some("NodeHasInsufficientMemory"),
        ("MemoryPressure", false) => Some("NodeHasSufficientMemory"),
        ("DiskPressure", true) => Some("NodeHasDiskPressure"),
        ("DiskPressure", false) => Some("NodeHasNoDiskPressure"),
        ("PIDPressure", true) => Some("NodeHasInsufficientPID"),
        ("PIDPressure", false) => Some("NodeHasSufficientPID"),
        _ => None,
    };
    turned.filter_map(|now| Some(is_now(name, reason((&now.type_, now.status == "True"))?))).collect()
}

/// What is to be told of a machine that was started anew since the node's status was written.
pub fn of_boot(name: &str, before: Option<&NodeStatus>, after: &NodeStatus) -> Option<Told> {
    let boot = |status: &NodeStatus| status.node_info.as_ref().map(|info| info.boot_id.clone()).unwrap_or_default();
    let (before, after) = (boot(before?), boot(after));
    (!before.is_empty() && before != after).then(|| Told {
        kind: EventType::Warning,
        reason: "Rebooted",
        message: format!("Node {name} has been rebooted, boot id: {after}"),
    })
}

/// What is to be told of a node on which pods may be placed no more, or again.
pub fn of_scheduling(name: &str, is_cordoned: bool) -> Told {
    is_now(name, if is_cordoned { "NodeNotSchedulable" } else { "NodeSchedulable" })
}

/// Whether nothing more is to be placed on a node.
pub fn is_cordoned(node: &Node) -> bool {
    node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false)
}

fn is_now(name: &str, reason: &'static str) -> Told {
    Told { kind: EventType::Normal, reason, message: format!("Node {name} status is now: {reason}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(boot: &str, conditions: &[(&str, &str)]) -> NodeStatus {
        let conditions = conditions.iter().map(|(type_, status)| json!({"type": type_, "status": status}));
        let info = json!({
            "bootID": boot, "architecture": "", "containerRuntimeVersion": "", "kernelVersion": "", "kubeProxyVersion": "",
            "kubeletVersion": "", "machineID": "", "operatingSystem": "", "osImage": "", "systemUUID": "",
        });
        let status = json!({"nodeInfo": info, "conditions": conditions.collect::<Vec<_>>()});
        serde_json::from_value(status).expect("a status")
    }

    #[track_caller]
    fn check(before: Option<&[(&str, &str)]>, after: &[(&str, &str)], expected: &[&str]) {
        let before = before.map(|conditions| status("a", conditions));
        let told = of_conditions("n1", before.as_ref(), &status("a", after));
        assert_eq!(told.iter().map(|one| one.reason).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn conditions_that_turn_are_told() {
        let (ready, lost) = (("Ready", "True"), ("Ready", "Unknown"));
        check(Some(&[ready]), &[ready], &[]);
        check(Some(&[lost]), &[ready], &["NodeReady"]);
        check(Some(&[ready]), &[("Ready", "False")], &["NodeNotReady"]);
        check(None, &[ready, ("DiskPressure", "False")], &["NodeReady", "NodeHasNoDiskPressure"]);
        check(Some(&[("PIDPressure", "False")]), &[("PIDPressure", "True")], &["NodeHasInsufficientPID"]);
        check(None, &[("Dry", "True")], &[]);
    }

    #[test]
    fn a_machine_that_was_started_anew_is_told_of() {
        let message = |before: Option<&str>, after: &str| {
            let before = before.map(|boot| status(boot, &[]));
            of_boot("n1", before.as_ref(), &status(after, &[])).map(|told| told.message)
        };
        assert_eq!(message(Some("a"), "b").as_deref(), Some("Node n1 has been rebooted, boot id: b"));
        assert_eq!(message(Some("a"), "a"), None);
        assert_eq!(message(Some(""), "a"), None, "nobody knew");
        assert_eq!(message(None, "a"), None);
    }
}
