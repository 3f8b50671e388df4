//! What a controller has asked for and not yet seen.
//!
//! A sync that counts children from an informer must not act on a count from before its own writes. It records how
//! many creations and which deletions it expects; events fulfil them; until then the next sync waits. An expectation
//! that is not fulfilled within five minutes no longer holds anything up: an event may have been lost with a restart.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::Env;
use tokio::time::Instant;

use crate::ObjectKey;

const TIMEOUT: Duration = Duration::from_secs(300);

/// The expectations of one controller, by the key of the owner. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct Expectations {
    env: Env,
    open: Arc<Mutex<HashMap<ObjectKey, Open>>>,
}

struct Open {
    creations: usize,
    /// Children by UID, so that a deletion seen twice, or one by somebody else, is not counted for ours.
    deletions: HashSet<String>,
    since: Instant,
}

impl Expectations {
    /// None.
    pub fn new(env: Env) -> Self {
        Self { env, open: Arc::default() }
    }

    fn open(&self) -> std::sync::MutexGuard<'_, HashMap<ObjectKey, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Expects that many creations; to be called before the first of them is requested. Replaces what was expected.
    pub fn expect_creations(&self, owner: &ObjectKey, count: usize) {
        let open = Open { creations: count, deletions: HashSet::new(), since: self.env.instant() };
        self.open().insert(owner.clone(), open);
    }

    /// Expects the deletion of these UIDs; to be called before the first is requested. Replaces what was expected.
    pub fn expect_deletions(&self, owner: &ObjectKey, uids: impl IntoIterator<Item = String>) {
        let open = Open { creations: 0, deletions: uids.into_iter().collect(), since: self.env.instant() };
        self.open().insert(owner.clone(), open);
    }

    /// A creation was seen, or failed.
    pub fn creation_observed(&self, owner: &ObjectKey) {
        self.creations_observed(owner, 1);
    }

    /// Creations were seen, or given up.
    pub fn creations_observed(&self, owner: &ObjectKey, count: usize) {
        if let Some(open) = self.open().get_mut(owner) {
            open.creations = open.creations.saturating_sub(count);
        }
    }

    /// The deletion of a UID was seen, or failed.
    pub fn deletion_observed(&self, owner: &ObjectKey, uid: &str) {
        if let Some(open) = self.open().get_mut(owner) {
            open.deletions.remove(uid);
        }
    }

    /// Whether everything that was expected has been seen, or has been waited for long enough.
    pub fn satisfied(&self, owner: &ObjectKey) -> bool {
        self.open().get(owner).is_none_or(|open| {
            (open.creations == 0 && open.deletions.is_empty()) || self.env.instant() - open.since > TIMEOUT
        })
    }

    /// Forgets an owner.
    pub fn forget(&self, owner: &ObjectKey) {
        self.open().remove(owner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn expectations_hold_until_seen_or_too_old() {
        let env = Env::simulated(jiff::Timestamp::UNIX_EPOCH, 1);
        let (expectations, key) = (Expectations::new(env.clone()), ObjectKey::namespaced("a", "b"));
        assert!(expectations.satisfied(&key));
        expectations.expect_creations(&key, 2);
        expectations.creation_observed(&key);
        assert!(!expectations.satisfied(&key));
        expectations.creation_observed(&key);
        assert!(expectations.satisfied(&key));

        expectations.expect_deletions(&key, ["u1".to_owned(), "u2".to_owned()]);
        expectations.deletion_observed(&key, "u1");
        expectations.deletion_observed(&key, "u1");
        assert!(!expectations.satisfied(&key));
        env.sleep(TIMEOUT + Duration::from_secs(1)).await;
        assert!(expectations.satisfied(&key));
    }
}
