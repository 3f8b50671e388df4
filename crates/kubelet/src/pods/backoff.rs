//! Waiting times that double, by key, and start anew after a long quiet time.

use std::collections::HashMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// The first waiting time.
const INITIAL: Duration = Duration::from_secs(10);
/// The longest waiting time, unless another is set.
pub const MAXIMUM: Duration = Duration::from_secs(300);
/// After so long without trouble the count starts anew.
const QUIET: SignedDuration = SignedDuration::from_secs(600);

/// Waiting times by key, as data: the caller brings the clock.
#[derive(Clone, Debug)]
pub struct BackOff {
    longest: Duration,
    entries: HashMap<String, Entry>,
}

impl Default for BackOff {
    fn default() -> Self {
        Self::up_to(MAXIMUM)
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    delay: Duration,
    updated: Timestamp,
}

impl BackOff {
    /// Waiting times that grow no longer than `longest`.
    pub fn up_to(longest: Duration) -> Self {
        Self { longest, entries: HashMap::new() }
    }

    /// The waiting time that applies to `key` at present.
    pub fn delay(&self, key: &str) -> Duration {
        self.entries.get(key).map_or(Duration::ZERO, |entry| entry.delay)
    }

    /// When `key` may be tried again, if something failed at `event` and the time has not come.
    pub fn waits_until(&self, key: &str, event: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let entry = self.entries.get(key)?;
        if expired(entry, event) {
            return None;
        }
        let until = event.saturating_add(entry.delay).unwrap_or(Timestamp::MAX);
        (until > now).then_some(until)
    }

    /// Like [`BackOff::waits_until`], counted from the last time that `key` was lengthened.
    pub fn waits_since_update(&self, key: &str, now: Timestamp) -> Option<Timestamp> {
        let entry = self.entries.get(key)?;
        self.waits_until(key, entry.updated, now)
    }

    /// Lengthens the waiting time of `key` after something failed at `event`.
    pub fn next(&mut self, key: &str, event: Timestamp, now: Timestamp) {
        let entry = self.entries.entry(key.to_owned()).or_insert(Entry { delay: Duration::ZERO, updated: now });
        let delay = if entry.delay.is_zero() || expired(entry, event) { INITIAL } else { entry.delay * 2 };
        entry.delay = delay.min(self.longest);
        entry.updated = now;
    }

    /// Forgets `key`.
    pub fn forget(&mut self, key: &str) {
        self.entries.remove(key);
    }
}

fn expired(entry: &Entry, event: Timestamp) -> bool {
    event.duration_since(entry.updated) > QUIET
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).expect("a valid time")
    }

    #[test]
    fn waiting_doubles_up_to_five_minutes_and_starts_anew_after_ten() {
        let mut back_off = BackOff::default();
        assert_eq!(back_off.waits_until("a", at(0), at(0)), None);
        let mut delays = Vec::new();
        let mut now = 0;
        for _ in 0..7 {
            back_off.next("a", at(now), at(now));
            delays.push(back_off.delay("a").as_secs());
            now += i64::try_from(back_off.delay("a").as_secs()).expect("small");
        }
        assert_eq!(delays, [10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(back_off.waits_until("a", at(now), at(now)), Some(at(now + 300)));
        back_off.next("a", at(now), at(now));
        back_off.next("a", at(now + 601), at(now + 601));
        assert_eq!(back_off.delay("a").as_secs(), 10);
    }

    #[test]
    fn the_longest_wait_can_be_set() {
        let mut back_off = BackOff::up_to(Duration::from_secs(15));
        back_off.next("a", at(0), at(0));
        back_off.next("a", at(20), at(20));
        back_off.next("a", at(40), at(40));
        assert_eq!(back_off.delay("a").as_secs(), 15);
        let mut back_off = BackOff::up_to(Duration::from_secs(2));
        back_off.next("a", at(0), at(0));
        assert_eq!(back_off.delay("a").as_secs(), 2);
    }
}
