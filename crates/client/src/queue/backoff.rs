//! Growing pauses between retries of one key.

use std::time::Duration;

/// An exponential back-off: `first`, doubled with every further failure, up to `longest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The pause after the first failure.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_millis(5), longest: Duration::from_secs(1000) }
    }
}

impl Backoff {
    /// The pause after that many failures in a row.
    pub fn delay(&self, failures: u32) -> Duration {
        if failures == 0 {
            return Duration::ZERO;
        }
        let factor = 2_u32.checked_pow(failures - 1).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.longest)
    }
}
