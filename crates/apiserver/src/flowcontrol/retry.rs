//! When clients that are turned away are told to come back: later, the more of them there are.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

const SHORTEST: u32 = 1;
const LONGEST: u32 = 8;

/// The time that a level tells.
#[derive(Debug)]
pub(super) struct RetryAfter(Mutex<State>);

#[derive(Debug)]
struct State {
    seconds: u32,
    since: Instant,
    /// How many were turned away since then.
    dropped: u32,
}

impl RetryAfter {
    pub(super) fn new(now: Instant) -> Self {
        Self(Mutex::new(State { seconds: SHORTEST, since: now, dropped: 0 }))
    }

    /// A client is turned away; the seconds that it is told.
    pub(super) fn dropped(&self, now: Instant) -> u32 {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.saturating_duration_since(state.since);
        let period = Duration::from_secs(state.seconds.into());
        if passed >= period {
            state.seconds = match state.dropped {
                // Long ago: what was then says nothing.
                _ if passed > period * 4 => SHORTEST,
                many if many >= 3 * state.seconds => (state.seconds + 1).min(LONGEST),
                few if few < state.seconds => (state.seconds - 1).max(SHORTEST),
                _ => state.seconds,
            };
            (state.since, state.dropped) = (now, 0);
        }
        state.dropped += 1;
        state.seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_told_to_wait_longer_and_longer() {
        let began = Instant::now();
        let retry = RetryAfter::new(began);
        let at = |millis: u64| began + Duration::from_millis(millis);
        let told: Vec<u32> =
            (0..60).map(|second| (0..50).map(|n| retry.dropped(at(second * 1000 + n))).max().expect("some")).collect();
        assert_eq!((told[0], told[1], told[59]), (1, 2, LONGEST));
        assert_eq!(retry.dropped(at(600_000)), SHORTEST);
    }
}
