//! Pods that wait for a moment in time.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

/// Uids with the moment at which each is due.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    by_moment: BTreeSet<(Instant, String)>,
    /// Since when each waits, and when it is due.
    by_uid: HashMap<String, (Instant, Instant)>,
}

impl Waiting {
    /// Lets `uid` wait until `since + pause`.
    pub(super) fn insert(&mut self, uid: &str, since: Instant, pause: Duration) {
        self.remove(uid);
        self.by_moment.insert((since + pause, uid.to_owned()));
        self.by_uid.insert(uid.to_owned(), (since, since + pause));
    }

    /// Lets it wait no more.
    pub(super) fn remove(&mut self, uid: &str) {
        if let Some((_, moment)) = self.by_uid.remove(uid) {
            self.by_moment.remove(&(moment, uid.to_owned()));
        }
    }

    /// Since when `uid` waits.
    pub(super) fn since(&self, uid: &str) -> Option<Instant> {
        self.by_uid.get(uid).map(|(since, _)| *since)
    }

    /// The next moment at which one is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.by_moment.first().map(|(moment, _)| *moment)
    }

    /// Those that are due.
    pub(super) fn due(&self, now: Instant) -> Vec<String> {
        let due = self.by_moment.iter().take_while(|(moment, _)| *moment <= now);
        due.map(|(_, uid)| uid.clone()).collect()
    }
}
