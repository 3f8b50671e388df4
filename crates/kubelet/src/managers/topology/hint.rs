//! Where on the machine a resource could come from: sets of NUMA nodes, and which of them are as good as it gets.

use std::collections::{BTreeMap, BTreeSet};

use super::super::combinations::combinations;

/// A set of NUMA nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeMask(u64);

impl NodeMask {
    /// These nodes. The kernel's numbers of nodes that have memory or CPUs are below 64 on machines of any use.
    pub fn of(nodes: impl IntoIterator<Item = u32>) -> Self {
        Self(nodes.into_iter().filter_map(|node| 1_u64.checked_shl(node)).fold(0, |mask, bit| mask | bit))
    }

    /// Every set of these nodes but the empty one: the smaller ones first.
    pub fn all_of(nodes: &BTreeSet<u32>) -> impl Iterator<Item = Self> {
        let nodes: Vec<u32> = nodes.iter().copied().collect();
        (1..=nodes.len()).flat_map(move |size| combinations(&nodes, size)).map(Self::of)
    }

    /// The nodes in order.
    pub fn nodes(self) -> BTreeSet<u32> {
        (0..u64::BITS).filter(|node| self.0 & 1 << node != 0).collect()
    }

    /// How many nodes there are.
    pub fn count(self) -> usize {
        self.0.count_ones() as usize
    }

    /// The nodes that are in both.
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether these are fewer nodes than the other's, or as many with lower numbers.
    pub fn is_narrower_than(self, other: Self) -> bool {
        (self.count(), self.0) < (other.count(), other.0)
    }
}

/// A place from which a resource could come, or be the best for several resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hint {
    /// The nodes; `None` where it does not matter.
    pub nodes: Option<NodeMask>,
    /// Whether no other place is better.
    pub preferred: bool,
}

impl Hint {
    /// It does not matter.
    pub const ANY: Self = Self { nodes: None, preferred: true };
    /// There is no place at all.
    pub const NONE: Self = Self { nodes: None, preferred: false };
}

/// The hints for each resource that somebody asks for. A list that is empty says that no place will do; a resource
/// that is left out can come from anywhere.
pub type Hints = BTreeMap<String, Vec<Hint>>;

/// Marks those of the sets as preferred that have no more nodes than needed.
pub fn preferring(masks: Vec<NodeMask>, is_preferred: impl Fn(NodeMask) -> bool) -> Vec<Hint> {
    masks.into_iter().map(|mask| Hint { nodes: Some(mask), preferred: is_preferred(mask) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_nodes_are_narrower_and_lower_ones_before_higher_ones() {
        let narrower =
            |a: &[u32], b: &[u32]| NodeMask::of(a.iter().copied()).is_narrower_than(NodeMask::of(b.iter().copied()));
        assert!(narrower(&[3], &[0, 1]) && narrower(&[0], &[1]) && narrower(&[0, 1], &[0, 2]));
        assert!(!narrower(&[1], &[1]) && !narrower(&[1], &[0]) && !narrower(&[0, 1], &[1]));
    }

    #[test]
    fn sets_come_by_size() {
        let all: Vec<BTreeSet<u32>> = NodeMask::all_of(&[0, 2, 5].into()).map(NodeMask::nodes).collect();
        let expected: [&[u32]; 7] = [&[0], &[2], &[5], &[0, 2], &[0, 5], &[2, 5], &[0, 2, 5]];
        assert_eq!(all, expected.map(|nodes| nodes.iter().copied().collect()));
    }
}
