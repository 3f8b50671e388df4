//! Answers that are believed for a while.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

/// How many answers are kept; those who ask for more are answered anew.
const MOST: usize = 4096;

/// Answers, each with its end.
pub(super) struct Kept<K, V>(Mutex<HashMap<K, (V, Timestamp)>>);

impl<K, V> Default for Kept<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, V: Clone> Kept<K, V> {
    fn all(&self) -> MutexGuard<'_, HashMap<K, (V, Timestamp)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer, if it is still believed.
    pub(super) fn get(&self, key: &K, now: Timestamp) -> Option<V> {
        self.all().get(key).filter(|(_, until)| now < *until).map(|(value, _)| value.clone())
    }

    /// Keeps an answer for so long.
    pub(super) fn insert(&self, key: K, value: V, now: Timestamp, time: Duration) {
        let mut all = self.all();
        if all.len() >= MOST {
            all.retain(|_, (_, until)| now < *until);
        }
        if all.len() >= MOST {
            all.clear();
        }
        all.insert(key, (value, now.saturating_add(time).unwrap_or(Timestamp::MAX)));
    }
}
