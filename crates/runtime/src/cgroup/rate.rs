//! How fast CPU time is used.

use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

/// The CPU time that a cgroup had used when somebody last asked, and when that was.
#[derive(Debug, Default)]
pub(crate) struct CpuRate(Mutex<Option<(Timestamp, u64)>>);

impl CpuRate {
    /// Nanoseconds of CPU a second since the last time somebody asked; `used` are all nanoseconds by `now`.
    pub(crate) fn since_last(&self, now: Timestamp, used: u64) -> Option<u64> {
        let (then, before) = self.0.lock().unwrap_or_else(PoisonError::into_inner).replace((now, used))?;
        let elapsed = u64::try_from(now.duration_since(then).as_nanos()).ok().filter(|elapsed| *elapsed > 0)?;
        let rate = u128::from(used.saturating_sub(before)) * 1_000_000_000 / u128::from(elapsed);
        u64::try_from(rate).ok()
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn the_rate_is_of_the_time_between() {
        let (rate, start) = (CpuRate::default(), Timestamp::UNIX_EPOCH);
        assert_eq!(rate.since_last(start, 5_000_000_000), None);
        assert_eq!(rate.since_last(start + SignedDuration::from_secs(2), 6_000_000_000), Some(500_000_000));
        // A clock that stands still or goes back, or a count that begins anew, says nothing or nothing much.
        assert_eq!(rate.since_last(start + SignedDuration::from_secs(2), 7_000_000_000), None);
        assert_eq!(rate.since_last(start, 8_000_000_000), None);
        assert_eq!(rate.since_last(start + SignedDuration::from_secs(1), 1), Some(0));
    }
}
