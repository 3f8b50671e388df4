//! What happens when nodes fall silent: conditions and taints say so ([`health`]), and pods that do not tolerate it
//! are deleted ([`eviction`]), so that their owners start others elsewhere.

pub(crate) mod eviction;
pub(crate) mod health;
mod heartbeat;
mod rate;
mod taints;
mod tolerations;

use k8s_openapi::api::core::v1::{Node, NodeCondition};

/// Finds a condition by type.
pub(crate) fn condition<'a>(node: &'a Node, type_: &str) -> Option<&'a NodeCondition> {
    node.status.as_ref()?.conditions.iter().flatten().find(|condition| condition.type_ == type_)
}

/// Whether a node says that it is ready.
pub(crate) fn is_ready(node: &Node) -> bool {
    condition(node, "Ready").is_some_and(|condition| condition.status == "True")
}
