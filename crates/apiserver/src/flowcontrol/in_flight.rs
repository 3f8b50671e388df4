//! Two numbers in place of priority and fairness: how many reads and how many changes are served at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// How many requests are served.
pub(crate) struct InFlight {
    reads: Count,
    changes: Count,
}

struct Count {
    /// 0 is no limit.
    limit: u32,
    now: AtomicU32,
}

/// One request that is counted, until this is dropped.
pub(crate) struct Counted {
    of: Arc<InFlight>,
    is_change: bool,
}

impl InFlight {
    pub(crate) fn new(reads: u32, changes: u32) -> Arc<Self> {
        let count = |limit| Count { limit, now: AtomicU32::new(0) };
        Arc::new(Self { reads: count(reads), changes: count(changes) })
    }

    fn count(&self, is_change: bool) -> &Count {
        if is_change { &self.changes } else { &self.reads }
    }

    /// Counts a request, unless there are too many.
    pub(super) fn enter(self: &Arc<Self>, is_change: bool) -> Option<Counted> {
        let count = self.count(is_change);
        let counted = Counted { of: self.clone(), is_change };
        let before = count.now.fetch_add(1, Ordering::Relaxed);
        (count.limit == 0 || before < count.limit).then_some(counted)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.of.count(self.is_change).now.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_changes_are_counted_apart() {
        let limits = InFlight::new(1, 0);
        let read = limits.enter(false);
        assert!(read.is_some() && limits.enter(false).is_none());
        let changes: Vec<_> = (0..10).map(|_| limits.enter(true)).collect();
        assert!(changes.iter().all(Option::is_some));
        drop(read);
        assert!(limits.enter(false).is_some());
    }
}
