//! What can change in a cluster so that a pod that fitted nowhere may fit.

use std::ops::BitOr;

use k8s_openapi::api::core::v1::Node;

/// A set of kinds of change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes(u8);

/// One kind of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClusterChange {
    /// A node came, or came back.
    NodeAdded = 1,
    /// A node has more to give.
    NodeAllocatable = 1 << 1,
    /// A node's labels changed.
    NodeLabels = 1 << 2,
    /// A node's taints changed, or it became schedulable.
    NodeTaints = 1 << 3,
    /// A pod that had a node ended or went away.
    AssignedPodGone = 1 << 4,
    /// Devices, their classes or claims of them changed.
    Devices = 1 << 5,
}

impl Changes {
    /// No change.
    pub(crate) const NONE: Self = Self(0);
    /// Any change.
    pub(crate) const ALL: Self = Self(u8::MAX);

    /// Whether both sets share a change.
    pub(crate) fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether nothing changed.
    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// What an update of a node object changed, as far as scheduling is concerned.
    pub(crate) fn of_node_update(old: &Node, new: &Node) -> Self {
        let allocatable = |node: &Node| node.status.as_ref().and_then(|status| status.allocatable.clone());
        let taints = |node: &Node| node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
        let unschedulable = |node: &Node| node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false);
        let mut changes = Self::NONE;
        if allocatable(old) != allocatable(new) {
            changes = changes | ClusterChange::NodeAllocatable;
        }
        if old.metadata.labels != new.metadata.labels {
            changes = changes | ClusterChange::NodeLabels;
        }
        if taints(old) != taints(new) || unschedulable(old) != unschedulable(new) {
            changes = changes | ClusterChange::NodeTaints;
        }
        changes
    }
}

impl From<ClusterChange> for Changes {
    fn from(change: ClusterChange) -> Self {
        Self(change as u8)
    }
}

impl<C: Into<Changes>> BitOr<C> for Changes {
    type Output = Self;

    fn bitor(self, other: C) -> Self {
        Self(self.0 | other.into().0)
    }
}

impl BitOr for ClusterChange {
    type Output = Changes;

    fn bitor(self, other: Self) -> Changes {
        Changes::from(self) | other
    }
}

#[cfg(test)]
mod tests {
    use testkit::node;

    use super::*;

    #[test]
    fn node_updates_tell_what_changed() {
        let plain = node("a").build();
        let check = |new: Node, expected: Changes| assert_eq!(Changes::of_node_update(&plain, &new), expected);
        check(plain.clone(), Changes::NONE);
        check(node("a").label("zone", "b").build(), ClusterChange::NodeLabels.into());
        check(node("a").taint("k", "NoSchedule").build(), ClusterChange::NodeTaints.into());
        check(node("a").unschedulable().build(), ClusterChange::NodeTaints.into());
        check(node("a").capacity(&[("cpu", "64")]).build(), ClusterChange::NodeAllocatable.into());
    }
}
