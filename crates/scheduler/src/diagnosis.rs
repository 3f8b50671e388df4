//! Why a pod fits nowhere, kept as data: per node the plugin that refused it and its reasons.

use std::collections::{BTreeMap, BTreeSet};

use crate::framework::Refusal;

/// The refusals of one scheduling cycle.
#[derive(Clone, Debug, Default)]
pub(crate) struct Diagnosis {
    total: usize,
    /// How many nodes gave each reason.
    reasons: BTreeMap<String, usize>,
    /// The plugins that refused some node.
    plugins: BTreeSet<&'static str>,
}

impl Diagnosis {
    /// A cycle over so many nodes.
    pub(crate) fn new(total: usize) -> Self {
        Self { total, ..Self::default() }
    }

    /// Notes that a plugin refused one node.
    pub(crate) fn refuse(&mut self, plugin: &'static str, refusal: Refusal) {
        self.plugins.insert(plugin);
        for reason in refusal.reasons {
            *self.reasons.entry(reason).or_default() += 1;
        }
    }

    /// The plugins whose refusals kept the pod off nodes.
    pub(crate) fn plugins(&self) -> &BTreeSet<&'static str> {
        &self.plugins
    }

    /// The message of the pod's condition and event.
    pub(crate) fn message(&self) -> String {
        if self.total == 0 {
            return "no nodes available to schedule pods".to_owned();
        }
        let mut reasons: Vec<String> = self.reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        reasons.sort();
        format!("0/{} nodes are available: {}.", self.total, reasons.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_count_nodes_by_reason() {
        let mut diagnosis = Diagnosis::new(3);
        let both = Refusal { reasons: vec!["Insufficient memory".to_owned(), "Insufficient cpu".to_owned()] };
        diagnosis.refuse("NodeResourcesFit", both);
        diagnosis.refuse("NodeResourcesFit", Refusal::new("Insufficient cpu"));
        diagnosis.refuse("NodeUnschedulable", Refusal::new("node(s) were unschedulable"));
        let expected =
            "0/3 nodes are available: 1 Insufficient memory, 1 node(s) were unschedulable, 2 Insufficient cpu.";
        assert_eq!(diagnosis.message(), expected);
        assert_eq!(Diagnosis::new(0).message(), "no nodes available to schedule pods");
    }
}
