//! Answers that are good for a while.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::Env;

/// How many answers are kept.
const CAPACITY: usize = 8192;

/// Keeps answers until their end. Secrets must not be keys; their digests may.
#[derive(Debug)]
pub struct TtlCache<K, V> {
    answers: Mutex<HashMap<K, (Timestamp, V)>>,
    env: Env,
}

impl<K: Eq + Hash, V: Clone> TtlCache<K, V> {
    /// Nothing is kept yet.
    pub fn new(env: Env) -> Self {
        Self { answers: Mutex::default(), env }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, (Timestamp, V)>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An answer that is still good.
    pub fn get(&self, key: &K) -> Option<V> {
        self.lock().get(key).filter(|(end, _)| *end > self.env.now()).map(|(_, answer)| answer.clone())
    }

    /// How many answers are kept; some of them may be over.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Keeps an answer for a time.
    pub fn put(&self, key: K, answer: V, lifetime: Duration) {
        let now = self.env.now();
        let end = now.checked_add(lifetime).unwrap_or(Timestamp::MAX);
        let mut answers = self.lock();
        if answers.len() >= CAPACITY {
            answers.retain(|_, (end, _)| *end > now);
        }
        // A flood of questions must not push the memory up: it only makes the others be asked again.
        if answers.len() >= CAPACITY {
            answers.clear();
        }
        answers.insert(key, (end, answer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn answers_end_and_their_number_is_bounded() {
        let env = Env::system();
        let cache = TtlCache::new(env.clone());
        cache.put(0, "a", Duration::MAX);
        cache.put(1, "b", Duration::ZERO);
        assert_eq!((cache.get(&0), cache.get(&1), cache.get(&2)), (Some("a"), None, None));
        assert_eq!((cache.len(), cache.is_empty()), (2, false));
        for key in 2..=CAPACITY {
            cache.put(key, "c", Duration::MAX);
        }
        assert!(cache.lock().len() <= CAPACITY);
        assert_eq!(cache.get(&CAPACITY), Some("c"));
    }
}
