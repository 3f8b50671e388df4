//! Events that are lost: counted, and told to the operator.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use base::Env;

/// Counts events that are lost, and tells the operator of them, once a minute at most.
#[derive(Debug, Default)]
pub(super) struct Losses {
    count: AtomicU64,
    /// How many the operator knows of, and when that was told.
    told: AtomicU64,
    told_at: AtomicI64,
}

/// The seconds between two messages about losses.
const TELL_INTERVAL: i64 = 60;

impl Losses {
    pub(super) fn add(&self, count: u64, why: &str, env: &Env) {
        self.count.fetch_add(count, Ordering::Relaxed);
        let (now, told) = (env.now().as_second(), self.told_at.load(Ordering::Relaxed));
        if now >= told + TELL_INTERVAL
            && self.told_at.compare_exchange(told, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            self.tell(why);
        }
    }

    pub(super) fn tell(&self, why: &str) {
        let lost = self.count.load(Ordering::Relaxed);
        if self.told.swap(lost, Ordering::Relaxed) != lost {
            tracing::error!(lost, why, "audit events are lost");
        }
    }

    /// How many were lost.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// How long the writer may wait before it tells of losses that came since the last message.
    pub(super) fn patience(&self) -> Duration {
        let is_told = self.told.load(Ordering::Relaxed) == self.count.load(Ordering::Relaxed);
        if is_told { Duration::MAX } else { Duration::from_secs(TELL_INTERVAL.unsigned_abs()) }
    }

    /// How many were lost, and of how many the operator knows.
    #[cfg(test)]
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.count.load(Ordering::Relaxed), self.told.load(Ordering::Relaxed))
    }
}
