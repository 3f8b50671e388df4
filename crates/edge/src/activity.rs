//! Whether anything happens on a connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// The requests of a connection.
#[derive(Default)]
pub(crate) struct Activity {
    /// How many have begun.
    begun: AtomicUsize,
    /// How many of them have ended.
    ended: AtomicUsize,
}

/// A request that has begun. It ends when this is dropped.
pub(crate) struct Ongoing(Arc<Activity>);

impl Drop for Ongoing {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

impl Activity {
    /// A request begins.
    pub(crate) fn begin(self: &Arc<Self>) -> Ongoing {
        self.begun.fetch_add(1, Ordering::Relaxed);
        Ongoing(self.clone())
    }

    /// Whether there was any request.
    pub(crate) fn is_new(&self) -> bool {
        self.begun.load(Ordering::Relaxed) == 0
    }

    /// Completes when no first request comes in time, or when there was none for a while: for as long as `idle` at
    /// least, and twice as long at most.
    pub(crate) async fn idle(&self, first: Duration, idle: Duration) {
        tokio::time::sleep(first).await;
        if self.is_new() {
            return;
        }
        loop {
            let before = self.begun.load(Ordering::Relaxed);
            let is_quiet = self.ended.load(Ordering::Relaxed) == before;
            tokio::time::sleep(idle).await;
            if is_quiet && self.begun.load(Ordering::Relaxed) == before {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    const FIRST: Duration = Duration::from_secs(30);
    const IDLE: Duration = Duration::from_secs(90);

    /// After how many seconds a connection is idle with requests that begin and end at these.
    #[track_caller]
    fn check(requests: &'static [(u64, u64)], expected: std::ops::RangeInclusive<u64>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let seconds = runtime.expect("a runtime").block_on(async {
            let (activity, began) = (Arc::new(Activity::default()), Instant::now());
            let each = requests.iter().map(async |(begin, end)| {
                tokio::time::sleep_until(began + Duration::from_secs(*begin)).await;
                let ongoing = activity.begin();
                tokio::time::sleep_until(began + Duration::from_secs(*end)).await;
                drop(ongoing);
            });
            let idle = async {
                activity.idle(FIRST, IDLE).await;
                began.elapsed().as_secs()
            };
            let (seconds, _) = tokio::join!(idle, futures::future::join_all(each));
            seconds
        });
        assert!(expected.contains(&seconds), "{seconds}");
    }

    #[test]
    fn a_connection_without_requests_is_idle() {
        check(&[], 30..=30);
        check(&[(31, 32)], 30..=30);
        check(&[(10, 11)], 101..=191);
        check(&[(10, 11), (99, 1000)], 1090..=1180);
        check(&[(10, 1000), (20, 30)], 1090..=1180);
    }
}
