//! Whether the cache follows the datastore.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// Whether the cache follows the datastore, or since when it is being filled.
pub(super) struct Readiness(watch::Sender<Option<Instant>>);

impl Readiness {
    /// Nothing is there yet.
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(Some(Instant::now())))
    }

    /// Everything up to a revision is there, and what comes will follow.
    pub(super) fn gained(&self) {
        self.0.send_replace(None);
    }

    /// Nobody knows what has happened since.
    pub(super) fn lost(&self) {
        self.0.send_replace(Some(Instant::now()));
    }

    /// For how long it has been filled; `None` if it is ready.
    pub(super) fn downtime(&self) -> Option<Duration> {
        self.0.borrow().map(|since| since.elapsed())
    }

    /// Waits until it is ready; for how long it was not where that takes longer than `patience`. Cancel safe.
    pub(super) async fn wait(&self, patience: Duration) -> Result<(), Duration> {
        if self.0.borrow().is_none() {
            return Ok(());
        }
        let mut changes = self.0.subscribe();
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = tokio::time::timeout(patience, changes.wait_for(Option::is_none)).await;
        self.downtime().map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn readers_wait_for_a_while() {
        let readiness = Readiness::new();
        let patience = Duration::from_secs(1);
        assert_eq!(readiness.wait(patience).await, Err(patience));
        let (waited, ()) = tokio::join!(readiness.wait(patience), async { readiness.gained() });
        assert_eq!((waited, readiness.downtime()), (Ok(()), None));
        readiness.lost();
        tokio::time::advance(patience).await;
        assert_eq!((readiness.wait(patience).await, readiness.downtime()), (Err(patience * 2), Some(patience * 2)));
    }
}
