//! The extension points of a scheduling cycle.
//!
//! A [`Plugin`] takes part where it overrides a method: queueing (which changes of the cluster may help a pod it
//! refused), filter, score and the normalisation of scores. The names are upstream's scheduling framework's.

mod events;

pub(crate) use events::{Changes, ClusterChange};

use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;

/// The best score of a plugin for a node, before its weight.
pub(crate) const MAX_SCORE: i64 = 100;

/// Why a plugin refuses a node for a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// What people read, for instance `Insufficient cpu`. One refusal can have several reasons.
    pub(crate) reasons: Vec<String>,
}

impl Refusal {
    /// A refusal with one reason.
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self { reasons: vec![reason.into()] }
    }
}

/// What scores of one pod are computed from beside the node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidates<'a> {
    /// The nodes that passed all filters.
    pub(crate) nodes: &'a [&'a NodeInfo],
    /// How many nodes there are in all.
    pub(crate) total: usize,
}

/// One concern of scheduling. Plugins have no state: all they need is in the pod and the node.
pub(crate) trait Plugin: Sync {
    /// Upstream's name of the plugin.
    fn name(&self) -> &'static str;

    /// Changes after which a pod that this plugin refused may fit.
    fn helped_by(&self) -> Changes {
        Changes::NONE
    }

    /// Whether the pod may run on the node. Pure; called for one pod with many nodes.
    fn filter(&self, _pod: &PodInfo, _node: &NodeInfo) -> Result<(), Refusal> {
        Ok(())
    }

    /// Whether [`Plugin::score`] can tell nodes apart for this pod. Where not, it is not called.
    fn scores(&self, _pod: &PodInfo) -> bool {
        false
    }

    /// How good the node is for the pod, from 0 to [`MAX_SCORE`] (after [`Plugin::normalize`]).
    fn score(&self, _pod: &PodInfo, _node: &NodeInfo, _candidates: Candidates<'_>) -> i64 {
        0
    }

    /// Brings the raw scores of all candidates into the range.
    fn normalize(&self, _scores: &mut [i64]) {}

    /// How much the plugin's scores count.
    fn weight(&self) -> i64 {
        1
    }
}

/// Stretches scores so that the best is [`MAX_SCORE`]; `reverse` makes the highest the worst.
pub(crate) fn stretch(scores: &mut [i64], reverse: bool) {
    let highest = scores.iter().copied().max().unwrap_or(0);
    for score in scores {
        *score = if highest == 0 { 0 } else { MAX_SCORE * *score / highest };
        if reverse {
            *score = MAX_SCORE - *score;
        }
    }
}
