//! The second round of what changes objects: when a webhook or policy has changed one, plugins see it once more, and those
//! that ask for it (`reinvocationPolicy: IfNeeded`) are called again.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

#[derive(Debug, Default)]
struct State {
    is_second: bool,
    has_changed: bool,
    /// The webhooks that were called since the object was last changed, and are willing to be called again.
    willing: HashSet<String>,
    /// Those to be called in the second round.
    again: HashSet<String>,
    /// The object as the webhooks of the first round left it.
    output: Option<Value>,
}

impl State {
    fn require_willing(&mut self) {
        self.again.extend(self.willing.drain());
    }
}

/// The rounds of one request.
#[derive(Debug, Default)]
pub(crate) struct Reinvocation(Mutex<State>);

impl Reinvocation {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a webhook or policy has changed the object.
    pub(super) fn has_changed(&self) -> bool {
        self.lock().has_changed
    }

    /// Begins the second round.
    pub(super) fn begin_second(&self) {
        self.lock().is_second = true;
    }

    /// The number of the round, from 0.
    pub(crate) fn round(&self) -> usize {
        usize::from(self.lock().is_second)
    }

    /// A policy has changed the object.
    pub(crate) fn changed(&self) {
        self.lock().has_changed = true;
    }

    /// Webhooks are about to be called. What others have done to the object since the first round calls for all that are
    /// willing.
    pub(crate) fn begin(&self, object: &Value) {
        let mut state = self.lock();
        if state.is_second && state.output.as_ref().is_some_and(|output| output != object) {
            state.require_willing();
        }
    }

    /// Whether a webhook may be called: in the second round none for the first time.
    pub(crate) fn may_call(&self, id: &str) -> bool {
        let state = self.lock();
        !state.is_second || state.again.contains(id)
    }

    /// A webhook was called.
    pub(crate) fn called(&self, id: String, is_willing: bool, has_changed: bool) {
        let mut state = self.lock();
        state.has_changed |= has_changed;
        if has_changed {
            state.require_willing();
        }
        if is_willing {
            state.willing.insert(id);
        }
    }

    /// All webhooks have been called.
    pub(crate) fn end(&self, object: &Value) {
        let mut state = self.lock();
        // Without a change there is no second round, and after it nobody asks.
        if state.has_changed && !state.is_second {
            state.output = Some(object.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn who_was_called_before_a_change_is_called_again() {
        let rounds = Reinvocation::default();
        rounds.begin(&json!(0));
        rounds.called("a".to_owned(), true, false);
        rounds.called("b".to_owned(), false, false);
        rounds.called("c".to_owned(), true, true);
        rounds.end(&json!(1));
        assert!(rounds.has_changed());
        rounds.begin_second();
        rounds.begin(&json!(1));
        let called: Vec<bool> = ["a", "b", "c", "d"].iter().map(|id| rounds.may_call(id)).collect();
        assert_eq!(called, [true, false, false, false]);
    }

    #[test]
    fn what_others_change_calls_all_that_are_willing() {
        let rounds = Reinvocation::default();
        rounds.begin(&json!(0));
        rounds.called("a".to_owned(), true, true);
        rounds.end(&json!(1));
        rounds.begin_second();
        rounds.begin(&json!(2));
        assert!(rounds.may_call("a"));
    }
}
