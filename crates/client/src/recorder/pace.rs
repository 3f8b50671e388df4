//! How fast events are written.

use std::time::Duration;

use tokio::time::Instant;

/// Lets so many events through at once after a quiet time, and then as many in a second as it is told.
#[derive(Debug)]
pub(super) struct Pace {
    interval: Duration,
    /// How much earlier than at the rate an event may be written.
    slack: Duration,
    /// When the next one would be written at the rate.
    due: Option<Instant>,
}

impl Pace {
    /// None where there is no limit.
    pub(super) fn new(per_second: u32, burst: u32) -> Option<Self> {
        let interval = Duration::from_secs(1).checked_div(per_second)?;
        Some(Self { interval, slack: interval * burst.saturating_sub(1), due: None })
    }

    /// How long the next event has to wait.
    pub(super) fn wait(&mut self, now: Instant) -> Duration {
        let due = self.due.map_or(now, |due| due.max(now));
        self.due = Some(due + self.interval);
        due.duration_since(now).saturating_sub(self.slack)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long events that come at once wait, in milliseconds.
    #[track_caller]
    fn check(pace: &mut Pace, now: Instant, expected: &[u128]) {
        let waits: Vec<u128> = expected.iter().map(|_| pace.wait(now).as_millis()).collect();
        assert_eq!(waits, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn events_are_written_in_bursts_and_then_at_their_rate() {
        let now = base::Env::system().instant();
        let mut pace = Pace::new(2, 3).expect("a limit");
        check(&mut pace, now, &[0, 0, 0, 500, 1000]);
        // All five have been written by then, the burst is there again only later.
        check(&mut pace, now + Duration::from_millis(1000), &[500]);
        check(&mut pace, now + Duration::from_secs(60), &[0, 0, 0, 500]);
        let mut single = Pace::new(10, 0).expect("a limit");
        check(&mut single, now, &[0, 100, 200]);
        assert!(Pace::new(0, 5).is_none());
    }
}
