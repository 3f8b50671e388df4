//! Bounds how often something is done: so many at once, and then so many a second.

use std::time::Duration;

use tokio::time::Instant;

/// A bucket that fills by itself.
#[derive(Debug)]
pub(crate) struct TokenBucket {
    per_second: f64,
    burst: f64,
    tokens: f64,
    filled_at: Instant,
}

impl TokenBucket {
    /// A full bucket.
    pub(crate) fn new(per_second: f64, burst: u32, now: Instant) -> Self {
        Self { per_second, burst: f64::from(burst), tokens: f64::from(burst), filled_at: now }
    }

    /// Takes a token, if there is one.
    pub(crate) fn try_take(&mut self, now: Instant) -> bool {
        self.fill(now);
        let is_there = self.tokens >= 1.0;
        if is_there {
            self.tokens -= 1.0;
        }
        is_there
    }

    /// When it was used last.
    pub(crate) fn used_at(&self) -> Instant {
        self.filled_at
    }

    /// Takes a token that may have yet to come; after what time it is there.
    pub(crate) fn take(&mut self, now: Instant) -> Duration {
        self.fill(now);
        self.tokens -= 1.0;
        Duration::try_from_secs_f64(-self.tokens / self.per_second).unwrap_or_default()
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.tokens = (self.tokens + passed * self.per_second).min(self.burst);
        self.filled_at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_let_through_and_then_so_many_a_second() {
        let begin = Instant::now();
        let mut bucket = TokenBucket::new(2.0, 3, begin);
        let pauses: Vec<u128> = (0..5).map(|_| bucket.take(begin).as_millis()).collect();
        assert_eq!(pauses, [0, 0, 0, 500, 1000]);
        let later = begin + Duration::from_secs(60);
        assert_eq!(bucket.take(later), Duration::ZERO, "it fills again");
    }
}
