//! The keyed work queue between informers and syncs.
//!
//! A key that is added twice before it is taken is handed out once. A key that is added while it is worked on is
//! handed out again after [`Queue::done`], never to two workers at once. Delayed keys wait in order of their time; of
//! two delays for one key the earlier one counts.

mod backoff;
mod workers;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::Env;
use tokio::sync::Notify;
use tokio::time::Instant;

pub use backoff::Backoff;
pub use workers::run_workers;

/// A keyed queue. Cheap to clone; all clones are the same queue.
pub struct Queue<T>(Arc<Inner<T>>);

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

struct Inner<T> {
    env: Env,
    backoff: Backoff,
    state: Mutex<State<T>>,
    changed: Notify,
}

struct State<T> {
    ready: VecDeque<T>,
    /// Keys that are in `ready`, or that are worked on and will be again.
    dirty: HashSet<T>,
    processing: HashSet<T>,
    delayed: BTreeMap<(Instant, u64), T>,
    delayed_keys: HashMap<T, (Instant, u64)>,
    sequence: u64,
    failures: HashMap<T, u32>,
    shut_down: bool,
}

impl<T: Clone + Eq + Hash> Queue<T> {
    /// An empty queue with the usual back-off, 5 ms to 1000 s.
    pub fn new(env: Env) -> Self {
        Self::with_backoff(env, Backoff::default())
    }

    /// An empty queue with its own back-off.
    pub fn with_backoff(env: Env, backoff: Backoff) -> Self {
        let state = State {
            ready: VecDeque::new(),
            dirty: HashSet::new(),
            processing: HashSet::new(),
            delayed: BTreeMap::new(),
            delayed_keys: HashMap::new(),
            sequence: 0,
            failures: HashMap::new(),
            shut_down: false,
        };
        Self(Arc::new(Inner { env, backoff, state: Mutex::new(state), changed: Notify::new() }))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State<T>> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a key ready now.
    pub fn add(&self, key: T) {
        self.state().add(key);
        self.0.changed.notify_one();
    }

    /// Makes a key ready after `delay`, unless it is to be earlier anyway.
    pub fn add_after(&self, key: T, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        self.state().add_at(key, self.0.env.instant() + delay);
        self.0.changed.notify_one();
    }

    /// Makes a key ready after the pause that its failures so far ask for, and counts one more.
    pub fn add_rate_limited(&self, key: T) {
        let failures = {
            let mut state = self.state();
            let failures = state.failures.entry(key.clone()).or_default();
            *failures = failures.saturating_add(1);
            *failures
        };
        self.add_after(key, self.0.backoff.delay(failures));
    }

    /// Forgets the failures of a key.
    pub fn forget(&self, key: &T) {
        self.state().failures.remove(key);
    }

    /// How often a key has failed since it was last forgotten.
    pub fn failures(&self, key: &T) -> u32 {
        self.state().failures.get(key).copied().unwrap_or_default()
    }

    /// How many keys are ready.
    pub fn len(&self) -> usize {
        self.state().ready.len()
    }

    /// Whether no key is ready.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends the queue: `get` returns `None` from now on, and nothing is added any more.
    pub fn shut_down(&self) {
        let mut state = self.state();
        state.shut_down = true;
        state.ready.clear();
        state.delayed.clear();
        state.delayed_keys.clear();
        drop(state);
        self.0.changed.notify_waiters();
        self.0.changed.notify_one();
    }

    /// The next key, once there is one; `None` when the queue was shut down. The caller must call
    /// [`done`](Queue::done) for it. Cancel safe.
    pub async fn get(&self) -> Option<T> {
        loop {
            let changed = self.0.changed.notified();
            let wake = {
                let mut state = self.state();
                if state.shut_down {
                    // Passes the wake-up on to the next worker.
                    self.0.changed.notify_one();
                    return None;
                }
                state.promote(self.0.env.instant());
                if let Some(key) = state.take() {
                    if !state.ready.is_empty() || !state.delayed.is_empty() {
                        self.0.changed.notify_one();
                    }
                    return Some(key);
                }
                state.delayed.first_key_value().map(|((at, _), _)| *at)
            };
            match wake {
                Some(at) => {
                    let pause = at.saturating_duration_since(self.0.env.instant());
                    tokio::select! {
                        () = changed => {}
                        () = self.0.env.sleep(pause) => {}
                    }
                }
                None => changed.await,
            }
        }
    }

    /// Says that work on a key has ended; if it was added meanwhile it is ready again.
    pub fn done(&self, key: &T) {
        let mut state = self.state();
        state.processing.remove(key);
        if state.dirty.contains(key) {
            state.ready.push_back(key.clone());
            drop(state);
            self.0.changed.notify_one();
        }
    }
}

impl<T: Clone + Eq + Hash> State<T> {
    fn add(&mut self, key: T) {
        if self.shut_down || !self.dirty.insert(key.clone()) {
            return;
        }
        if !self.processing.contains(&key) {
            self.ready.push_back(key);
        }
    }

    fn add_at(&mut self, key: T, at: Instant) {
        if self.shut_down {
            return;
        }
        if let Some(known) = self.delayed_keys.get(&key).copied() {
            if known.0 <= at {
                return;
            }
            self.delayed.remove(&known);
        }
        self.sequence += 1;
        let slot = (at, self.sequence);
        self.delayed.insert(slot, key.clone());
        self.delayed_keys.insert(key, slot);
    }

    /// Moves the delayed keys whose time has come to the ready ones.
    fn promote(&mut self, now: Instant) {
        while let Some(entry) = self.delayed.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let key = entry.remove();
            self.delayed_keys.remove(&key);
            self.add(key);
        }
    }

    fn take(&mut self) -> Option<T> {
        let key = self.ready.pop_front()?;
        self.dirty.remove(&key);
        self.processing.insert(key.clone());
        Some(key)
    }
}

#[cfg(test)]
mod tests;
