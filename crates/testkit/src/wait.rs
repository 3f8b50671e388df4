//! Conditions with a deadline, for tests that watch the outside world.

use std::time::{Duration, Instant};

/// How often a condition is looked at.
const PAUSE: Duration = Duration::from_millis(50);

/// Waits until `condition` gives a value; `None` where it did not before the deadline. Blocks its thread.
pub fn poll<T>(deadline: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return Some(value);
        }
        if start.elapsed() > deadline {
            return None;
        }
        std::thread::sleep(PAUSE);
    }
}

/// The same for a condition that has to be awaited.
pub async fn poll_async<T>(deadline: Duration, mut condition: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let looking = async {
        loop {
            if let Some(value) = condition().await {
                return value;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(deadline, looking).await.ok()
}

/// Waits like [`poll`], but fails the test, naming what it waited for.
#[track_caller]
pub fn until<T>(deadline: Duration, what: &str, condition: impl FnMut() -> Option<T>) -> T {
    poll(deadline, condition).unwrap_or_else(|| panic!("timed out after {deadline:?} waiting for {what}"))
}
