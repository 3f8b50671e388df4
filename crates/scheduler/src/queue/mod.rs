//! The pods that wait for a node.
//!
//! A pod is *active* (tried next, by priority, then by age), in *back-off* (failed lately, tried after a pause that
//! grows with its failures), or *unschedulable* (fits nowhere; waits for a change that helps the plugins which refused
//! it). A pod with scheduling gates is not tried until they are lifted.

mod waiting;

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use base::Env;
use tokio::time::Instant;

use crate::framework::Changes;
use crate::plugins::PLUGINS;
use crate::pod_info::PodInfo;
use waiting::Waiting;

/// The pause after the first failure; each further failure doubles it.
const INITIAL_BACKOFF: Duration = Duration::from_secs(1);
/// The longest pause.
const MAX_BACKOFF: Duration = Duration::from_secs(10);
/// A pod that fits nowhere is tried again after this long, in case a change was missed.
const MAX_UNSCHEDULABLE: Duration = Duration::from_secs(300);

/// A pod in the queue, with its history.
#[derive(Clone, Debug)]
pub(crate) struct Queued {
    pub(crate) pod: Arc<PodInfo>,
    /// How often it was tried.
    pub(crate) attempts: u32,
    /// The order in which it came among pods of one priority.
    sequence: u64,
}

/// Where a pod of the queue is.
#[derive(Debug)]
enum State {
    Active,
    Backoff,
    Unschedulable {
        refused_by: BTreeSet<&'static str>,
    },
    Gated,
    /// Taken by a cycle; `changes` came meanwhile.
    InFlight {
        changes: Changes,
    },
}

/// The queue. Time comes from [`Env`].
pub(crate) struct Queue {
    env: Env,
    entries: HashMap<String, (Queued, State)>,
    active: BTreeSet<Rank>,
    waiting: Waiting,
    next_sequence: u64,
}

/// The order of active pods: the smallest is tried first.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rank {
    priority: i32,
    sequence: u64,
    uid: String,
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_priority = other.priority.cmp(&self.priority);
        by_priority.then(self.sequence.cmp(&other.sequence)).then_with(|| self.uid.cmp(&other.uid))
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

fn rank(queued: &Queued) -> Rank {
    Rank { priority: queued.pod.priority, sequence: queued.sequence, uid: queued.pod.uid.clone() }
}

impl Queue {
    /// An empty queue.
    pub(crate) fn new(env: Env) -> Self {
        let (entries, active) = (HashMap::new(), BTreeSet::new());
        Self { env, entries, active, waiting: Waiting::default(), next_sequence: 0 }
    }

    /// Puts in a pod, or its new version. A pod whose specification changed is tried again at once.
    pub(crate) fn put(&mut self, pod: Arc<PodInfo>, gated: bool) {
        let uid = pod.uid.clone();
        let queued = match self.take(&uid) {
            Some((known, State::InFlight { .. })) => {
                // The running cycle decides; what it needs of the new version comes with the retry.
                let changes = Changes::ALL;
                self.entries.insert(uid, (Queued { pod, ..known }, State::InFlight { changes }));
                return;
            }
            Some((known, state)) => {
                let same_spec = known.pod.pod.spec == pod.pod.spec;
                let queued = Queued { pod, ..known };
                if same_spec && !matches!(state, State::Gated) {
                    self.insert(queued, state);
                    return;
                }
                queued
            }
            None => {
                self.next_sequence += 1;
                Queued { pod, attempts: 0, sequence: self.next_sequence }
            }
        };
        self.insert(queued, if gated { State::Gated } else { State::Active });
    }

    /// Takes out a pod that went away or got a node.
    pub(crate) fn remove(&mut self, uid: &str) {
        self.take(uid);
    }

    /// The next pod to try; it is in flight until [`Queue::done`] or one of the retries is called for it.
    pub(crate) fn pop(&mut self) -> Option<Queued> {
        let rank = self.active.pop_first()?;
        let (queued, state) = self.entries.get_mut(&rank.uid)?;
        queued.attempts += 1;
        *state = State::InFlight { changes: Changes::NONE };
        Some(queued.clone())
    }

    /// Whether [`Queue::pop`] would give a pod.
    pub(crate) fn has_active(&self) -> bool {
        !self.active.is_empty()
    }

    /// A popped pod has its node: it leaves the queue.
    pub(crate) fn done(&mut self, uid: &str) {
        self.take(uid);
    }

    /// A popped pod fits nowhere. If a change that may help came meanwhile, it is tried after its back-off.
    pub(crate) fn retry_after_change(&mut self, uid: &str, refused_by: BTreeSet<&'static str>) {
        let Some((queued, State::InFlight { changes })) = self.take(uid) else { return };
        if helps(changes, &refused_by) {
            self.insert(queued, State::Backoff);
        } else {
            self.insert(queued, State::Unschedulable { refused_by });
        }
    }

    /// A popped pod could not be bound: it is tried after its back-off.
    pub(crate) fn retry_after_backoff(&mut self, uid: &str) {
        if let Some((queued, _)) = self.take(uid) {
            self.insert(queued, State::Backoff);
        }
    }

    /// Tells of changes in the cluster: pods that they may help are tried, after what is left of their back-off.
    pub(crate) fn note_changes(&mut self, happened: Changes) {
        if happened.is_empty() {
            return;
        }
        let mut helped = Vec::new();
        for (uid, (_, state)) in &mut self.entries {
            match state {
                State::Unschedulable { refused_by } if helps(happened, refused_by) => helped.push(uid.clone()),
                State::InFlight { changes } => *changes = *changes | happened,
                _ => {}
            }
        }
        for uid in helped {
            let since = self.waiting.since(&uid);
            if let Some((queued, _)) = self.take(&uid) {
                let ready = since.map(|since| since + backoff(queued.attempts));
                let state =
                    if ready.is_some_and(|ready| ready > self.env.instant()) { State::Backoff } else { State::Active };
                self.insert_since(queued, state, since);
            }
        }
    }

    /// When [`Queue::wake`] has something to do.
    pub(crate) fn next_wake(&self) -> Option<Instant> {
        self.waiting.next()
    }

    /// Activates the pods whose pause is over.
    pub(crate) fn wake(&mut self) {
        for uid in self.waiting.due(self.env.instant()) {
            if let Some((queued, _)) = self.take(&uid) {
                self.insert(queued, State::Active);
            }
        }
    }

    fn take(&mut self, uid: &str) -> Option<(Queued, State)> {
        let (queued, state) = self.entries.remove(uid)?;
        self.active.remove(&rank(&queued));
        self.waiting.remove(uid);
        Some((queued, state))
    }

    fn insert(&mut self, queued: Queued, state: State) {
        self.insert_since(queued, state, None);
    }

    fn insert_since(&mut self, queued: Queued, state: State, since: Option<Instant>) {
        let since = since.unwrap_or_else(|| self.env.instant());
        let uid = queued.pod.uid.clone();
        match &state {
            State::Active => {
                self.active.insert(rank(&queued));
            }
            State::Backoff => self.waiting.insert(&uid, since, backoff(queued.attempts)),
            State::Unschedulable { .. } => self.waiting.insert(&uid, since, MAX_UNSCHEDULABLE),
            State::Gated | State::InFlight { .. } => {}
        }
        self.entries.insert(uid, (queued, state));
    }
}

fn backoff(attempts: u32) -> Duration {
    let doublings = attempts.saturating_sub(1).min(16);
    (INITIAL_BACKOFF * 2_u32.pow(doublings)).min(MAX_BACKOFF)
}

/// Whether changes may help a pod that these plugins refused.
fn helps(changes: Changes, refused_by: &BTreeSet<&'static str>) -> bool {
    if refused_by.is_empty() {
        // There was no node at all to be refused by.
        return !changes.is_empty();
    }
    let refusers = PLUGINS.iter().filter(|plugin| refused_by.contains(plugin.name()));
    refusers.into_iter().any(|plugin| plugin.helped_by().intersects(changes))
}

#[cfg(test)]
mod tests;
