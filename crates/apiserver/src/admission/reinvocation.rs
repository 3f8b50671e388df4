//! The second round of what changes objects: when a webhook or policy has changed one, plugins see it once more, and those
//! that ask for it (`reinvocationPolicy: IfNeeded`) are called again.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

/// Who changes objects: each kind of them remembers whom it has called.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Callers {
    Policies,
    Webhooks,
}

#[derive(Debug, Default)]
struct State {
    is_second: bool,
    has_changed: bool,
    calls: [Calls; 2],
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
        let mut state = self.lock();
        state.is_second = true;
        state.calls.iter_mut().for_each(|calls| calls.is_second = true);
    }

    /// The number of the round, from 0.
    pub(crate) fn round(&self) -> usize {
        usize::from(self.lock().is_second)
    }

    /// The calls of a round, to which new ones are added. What others have done to the object since the first round calls
    /// for all that are willing.
    pub(crate) fn begin(&self, callers: Callers, object: &Value) -> Calls {
        let mut calls = self.lock().calls[callers as usize].clone();
        if calls.is_second && calls.output.as_ref().is_some_and(|output| output != object) {
            calls.require_willing();
        }
        calls
    }

    /// All have been called in a round, and have left the object like this.
    pub(crate) fn end(&self, callers: Callers, mut calls: Calls, object: &Value) {
        let mut state = self.lock();
        state.has_changed |= calls.has_changed;
        // After the second round nobody asks.
        if !calls.is_second && !calls.willing.is_empty() {
            calls.output = Some(object.clone());
        }
        state.calls[callers as usize] = calls;
    }
}

/// Who was called for a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Calls {
    is_second: bool,
    has_changed: bool,
    /// Those that were called since the object was last changed, and are willing to be called again.
    willing: HashSet<String>,
    /// Those to be called in the second round.
    again: HashSet<String>,
    /// The object as the first round left it.
    output: Option<Value>,
}

impl Calls {
    fn require_willing(&mut self) {
        self.again.extend(self.willing.drain());
    }

    /// Whether somebody may be called: in the second round none for the first time.
    pub(crate) fn may_call(&self, id: &str) -> bool {
        !self.is_second || self.again.contains(id)
    }

    /// Somebody was called.
    pub(crate) fn called(&mut self, id: String, is_willing: bool, has_changed: bool) {
        self.has_changed |= has_changed;
        if has_changed {
            self.require_willing();
        }
        if is_willing {
            self.willing.insert(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A round in which each is called that may be: its name, whether it is willing, and the object that it makes. Tells
    /// who was called.
    fn round(rounds: &Reinvocation, callers: Callers, object: &mut u64, each: &[(&str, bool, u64)]) -> Vec<String> {
        let mut calls = rounds.begin(callers, &json!(*object));
        let mut called = Vec::new();
        for (id, is_willing, after) in each.iter().filter(|(id, ..)| calls.may_call(id)).collect::<Vec<_>>() {
            calls.called((*id).to_owned(), *is_willing, after != object);
            *object = *after;
            called.push((*id).to_owned());
        }
        rounds.end(callers, calls, &json!(*object));
        called
    }

    #[test]
    fn who_was_called_before_a_change_is_called_again() {
        let (rounds, mut object) = (Reinvocation::default(), 0);
        let all = [("a", true, 0), ("b", false, 0), ("c", true, 1)];
        assert_eq!(round(&rounds, Callers::Webhooks, &mut object, &all), ["a", "b", "c"]);
        assert!(rounds.has_changed());
        rounds.begin_second();
        let all = [("a", true, 1), ("b", false, 1), ("c", true, 1), ("d", true, 1)];
        assert_eq!(round(&rounds, Callers::Webhooks, &mut object, &all), ["a"]);
    }

    #[test]
    fn what_others_change_calls_all_that_are_willing() {
        let (rounds, mut object) = (Reinvocation::default(), 0);
        round(&rounds, Callers::Webhooks, &mut object, &[("a", true, 1)]);
        rounds.begin_second();
        object = 2;
        assert_eq!(round(&rounds, Callers::Webhooks, &mut object, &[("a", true, 2), ("b", true, 2)]), ["a"]);
    }

    #[test]
    fn policies_see_what_webhooks_have_changed_and_nothing_twice() {
        let (rounds, mut object) = (Reinvocation::default(), 0);
        let policies = [("p", true, 0), ("q", false, 0)];
        round(&rounds, Callers::Policies, &mut object, &policies);
        round(&rounds, Callers::Webhooks, &mut object, &[("a", true, 1)]);
        rounds.begin_second();
        assert_eq!(round(&rounds, Callers::Policies, &mut object, &[("p", true, 1), ("q", false, 1)]), ["p"]);
        assert_eq!(round(&rounds, Callers::Webhooks, &mut object, &[("a", true, 1)]), Vec::<String>::new());

        let (rounds, mut object) = (Reinvocation::default(), 0);
        round(&rounds, Callers::Policies, &mut object, &[("p", true, 1)]);
        rounds.begin_second();
        assert_eq!(round(&rounds, Callers::Policies, &mut object, &[("p", true, 1)]), Vec::<String>::new());
    }
}
