//! What follows from thresholds over time: since when each is met, and which conditions still hold.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::conditions::Condition;
use super::observe::Observations;
use super::threshold::Threshold;

/// What was seen before. Thresholds are known by their place in the list.
#[derive(Debug, Default)]
pub struct Tracker {
    /// Since when each is met without a break.
    since: BTreeMap<usize, Instant>,
    /// Those that pods were to be ended for.
    due: BTreeSet<usize>,
    /// When each condition was last seen.
    seen: BTreeMap<Condition, Instant>,
}

/// What is to be done.
#[derive(Debug, Default, PartialEq)]
pub struct Verdict {
    /// The thresholds for which something has to go, the most urgent first.
    pub due: Vec<Threshold>,
    /// The conditions in which the node is.
    pub conditions: BTreeSet<Condition>,
}

impl Tracker {
    /// Takes note of what was seen.
    pub fn update(
        &mut self,
        thresholds: &[Threshold],
        observations: &Observations,
        transition: Duration,
        now: Instant,
    ) -> Verdict {
        let met: BTreeSet<usize> = (thresholds.iter().enumerate())
            .filter(|(index, threshold)| threshold.is_met_in(observations, self.due.contains(index)))
            .map(|(index, _)| index)
            .collect();
        self.since.retain(|index, _| met.contains(index));
        for index in &met {
            self.since.entry(*index).or_insert(now);
            self.seen.insert(thresholds[*index].signal.condition(), now);
        }
        self.seen.retain(|_, seen| *seen == now || now.saturating_duration_since(*seen) < transition);
        let lasts = |(index, since): (&usize, &Instant)| {
            let grace = thresholds[*index].grace.unwrap_or_default();
            (now.saturating_duration_since(*since) >= grace).then_some(*index)
        };
        self.due = self.since.iter().filter_map(lasts).collect();
        let mut due: Vec<Threshold> = self.due.iter().map(|index| thresholds[*index]).collect();
        // Memory before everything else; what the configuration lists first stays first.
        due.sort_by_key(|threshold| threshold.signal.condition() != Condition::Memory);
        Verdict { due, conditions: self.seen.keys().copied().collect() }
    }
}

#[cfg(test)]
mod tests {
    use base::Env;

    use super::*;
    use crate::eviction::observe::Observation;
    use crate::eviction::threshold::{Amount, Signal};

    const TRANSITION: Duration = Duration::from_secs(300);

    fn threshold(signal: Signal, value: i64, grace: Option<u64>, minimum_reclaim: Option<i64>) -> Threshold {
        let (grace, minimum_reclaim) = (grace.map(Duration::from_secs), minimum_reclaim.map(Amount::Quantity));
        Threshold { signal, value: Amount::Quantity(value), grace, minimum_reclaim }
    }

    /// Second, memory and disk that are left; what is due and which conditions hold.
    type Step<'a> = ((u64, i64, i64), &'a [&'a str], &'a [&'a str]);

    #[track_caller]
    fn check(thresholds: &[Threshold], steps: &[Step<'_>]) {
        let start = Env::system().instant();
        let mut tracker = Tracker::default();
        for ((second, memory, disk), due, conditions) in steps {
            let observations = Observations::from([
                (Signal::MemoryAvailable, Observation { available: *memory, capacity: 1000 }),
                (Signal::NodeFsAvailable, Observation { available: *disk, capacity: 1000 }),
            ]);
            let now = start + Duration::from_secs(*second);
            let verdict = tracker.update(thresholds, &observations, TRANSITION, now);
            let signals: Vec<&str> = verdict.due.iter().map(|threshold| threshold.signal.as_str()).collect();
            let held: Vec<&str> = verdict.conditions.iter().map(|condition| condition.as_str()).collect();
            assert_eq!((signals.as_slice(), held.as_slice()), (*due, *conditions), "at {second} s");
        }
    }

    #[test]
    fn a_condition_holds_until_its_cause_was_away_for_long_enough() {
        let hard = [threshold(Signal::MemoryAvailable, 100, None, None)];
        check(
            &hard,
            &[
                ((0, 500, 0), &[], &[]),
                ((10, 99, 0), &["memory.available"], &["MemoryPressure"]),
                ((20, 100, 0), &[], &["MemoryPressure"]),
                ((309, 100, 0), &[], &["MemoryPressure"]),
                ((310, 100, 0), &[], &[]),
            ],
        );
    }

    #[test]
    fn a_soft_threshold_is_due_when_it_was_met_all_the_time() {
        let soft = [threshold(Signal::MemoryAvailable, 100, Some(30), None)];
        check(
            &soft,
            &[
                ((0, 99, 0), &[], &["MemoryPressure"]),
                ((20, 99, 0), &[], &["MemoryPressure"]),
                ((25, 200, 0), &[], &["MemoryPressure"]),
                ((29, 99, 0), &[], &["MemoryPressure"]),
                ((58, 99, 0), &[], &["MemoryPressure"]),
                ((59, 99, 0), &["memory.available"], &["MemoryPressure"]),
            ],
        );
    }

    #[test]
    fn what_was_due_stays_due_until_enough_is_given_back() {
        let hard = [threshold(Signal::MemoryAvailable, 100, None, Some(50))];
        check(
            &hard,
            &[
                ((0, 120, 0), &[], &[]),
                ((10, 99, 0), &["memory.available"], &["MemoryPressure"]),
                ((20, 120, 0), &["memory.available"], &["MemoryPressure"]),
                ((30, 150, 0), &[], &["MemoryPressure"]),
                ((40, 120, 0), &[], &["MemoryPressure"]),
            ],
        );
    }

    #[test]
    fn memory_is_more_urgent_than_disk() {
        let both =
            [threshold(Signal::NodeFsAvailable, 100, None, None), threshold(Signal::MemoryAvailable, 100, None, None)];
        let conditions: &[&str] = &["MemoryPressure", "DiskPressure"];
        check(&both, &[((0, 99, 99), &["memory.available", "nodefs.available"], conditions)]);
    }
}
