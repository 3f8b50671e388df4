//! What the parts of the server note about a request for the audit log.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::policy::Level;
use crate::access::authorization::{Decision, Refused};

/// The annotations of one request, under keys such as `authorization.k8s.io/decision`.
#[derive(Debug)]
pub(crate) struct Annotations {
    /// How much is kept of the request.
    level: Level,
    noted: Mutex<BTreeMap<String, String>>,
}

impl Annotations {
    /// Nothing is noted yet about a request of which so much is kept.
    pub(super) fn new(level: Level) -> Self {
        Self { level, noted: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes something that shows parts of the request's body: where that is kept.
    pub(crate) fn add_of_body(&self, key: impl Into<String>, value: impl FnOnce() -> String) {
        if self.level >= Level::Request {
            self.add(key, value());
        }
    }

    /// Notes something. What is noted first under a key stays; another value is told to the operator.
    pub(crate) fn add(&self, key: impl Into<String>, value: impl Into<String>) {
        let value = value.into();
        match self.lock().entry(key.into()) {
            Entry::Vacant(entry) => drop(entry.insert(value)),
            Entry::Occupied(entry) if *entry.get() == value => {}
            Entry::Occupied(entry) => {
                tracing::warn!(key = entry.key(), value, kept = entry.get(), "audit annotation is there already");
            }
        }
    }

    /// Notes what authorization said.
    pub(crate) fn decided(&self, decision: &Decision) {
        let (decision, reason) = match decision {
            Decision::Allow(reason) => ("allow", &**reason),
            Decision::Deny(Refused { error: Some(_), .. }) | Decision::NoOpinion(Refused { error: Some(_), .. }) => {
                self.add("authorization.k8s.io/reason", "internal error");
                return;
            }
            Decision::Deny(refused) | Decision::NoOpinion(refused) => ("forbid", refused.reason.as_str()),
        };
        self.add("authorization.k8s.io/decision", decision);
        self.add("authorization.k8s.io/reason", reason);
    }

    /// Everything that was noted until now.
    pub(crate) fn all(&self) -> BTreeMap<String, String> {
        self.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_of_a_key_stays() {
        let annotations = Annotations::new(Level::Metadata);
        annotations.decided(&Decision::NoOpinion(Refused::default()));
        annotations.add("authorization.k8s.io/decision", "allow");
        let all = annotations.all();
        assert_eq!(all["authorization.k8s.io/decision"], "forbid");
        assert_eq!(all["authorization.k8s.io/reason"], "");
    }
}
