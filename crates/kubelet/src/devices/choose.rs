//! Which devices a container gets, of those that it can be given.

use std::collections::{BTreeMap, BTreeSet};

use super::ledger::NumaNodes;

/// The devices that are chosen so far.
#[derive(Debug)]
pub struct Choice {
    asked: usize,
    /// Those that the container gets.
    pub devices: BTreeSet<String>,
}

/// The devices that can be given, by how they lie to where the container is to run.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sorted {
    /// Near to it.
    pub aligned: BTreeSet<String>,
    /// Elsewhere.
    pub unaligned: BTreeSet<String>,
    /// Of which nothing is known.
    pub anywhere: BTreeSet<String>,
}

impl Choice {
    /// Nothing chosen yet, beside what the container shares with init containers before it.
    pub fn new(asked: usize, reusable: &BTreeSet<String>) -> Self {
        let mut choice = Self { asked, devices: BTreeSet::new() };
        choice.take(reusable);
        choice
    }

    /// Whether it has all that it asks for.
    pub fn is_complete(&self) -> bool {
        self.devices.len() >= self.asked
    }

    /// Takes from a set as much as it still needs.
    pub fn take<'a>(&mut self, from: impl IntoIterator<Item = &'a String>) {
        for id in from {
            if self.is_complete() {
                return;
            }
            self.devices.insert(id.clone());
        }
    }

    /// How many are missing.
    pub fn missing(&self) -> usize {
        self.asked.saturating_sub(self.devices.len())
    }
}

/// Sorts devices by how they lie to the NUMA nodes on which a container is to run; `None` if that may be anywhere.
pub fn sort(free: BTreeMap<String, NumaNodes>, affinity: Option<&NumaNodes>) -> Sorted {
    let mut sorted = Sorted::default();
    for (id, nodes) in free {
        let set = match affinity {
            _ if nodes.is_empty() => &mut sorted.anywhere,
            None => &mut sorted.anywhere,
            Some(affinity) if affinity.intersection(&nodes).next().is_some() => &mut sorted.aligned,
            Some(_) => &mut sorted.unaligned,
        };
        set.insert(id);
    }
    sorted
}
