//! Answers that are good for a while.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use base::Env;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

/// How many answers are kept.
const CAPACITY: usize = 8192;

/// Keeps answers by the hash of their question, so that tokens are not kept.
pub(super) struct TtlCache<V> {
    answers: Mutex<HashMap<[u8; 32], (Timestamp, V)>>,
    env: Env,
}

impl<V: Clone> TtlCache<V> {
    pub(super) fn new(env: Env) -> Self {
        Self { answers: Mutex::default(), env }
    }

    /// The hash of a question.
    pub(super) fn key(question: &str) -> [u8; 32] {
        Sha256::digest(question).into()
    }

    /// An answer that is still good.
    pub(super) fn get(&self, key: &[u8; 32]) -> Option<V> {
        let answers = self.answers.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        answers.get(key).filter(|(end, _)| *end > self.env.now()).map(|(_, answer)| answer.clone())
    }

    /// Keeps an answer for a time.
    pub(super) fn put(&self, key: [u8; 32], answer: V, lifetime: Duration) {
        let now = self.env.now();
        let Ok(end) = now.checked_add(lifetime) else { return };
        let mut answers = self.answers.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
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
