//! The second round of what changes objects: when a webhook or policy has changed one, plugins see it once more, and those
//! that ask for it (`reinvocationPolicy: IfNeeded`) are called again.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

/// What one plugin has called in the rounds of one request.
#[derive(Debug, Default)]
struct Invoked {
    /// Called since the object was last changed, and willing to be called again.
    willing: HashSet<String>,
    /// To be called in the second round.
    again: HashSet<String>,
    /// The object as the plugin left it.
    output: Option<Value>,
}

impl Invoked {
    fn require_willing(&mut self) {
        self.again.extend(self.willing.drain());
    }
}

#[derive(Debug, Default)]
struct State {
    is_second: bool,
    has_changed: bool,
    plugins: HashMap<&'static str, Invoked>,
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

    /// A plugin is about to call. What others have done to the object since its first round calls for all that are willing.
    pub(crate) fn begin(&self, plugin: &'static str, object: &Value) {
        let mut state = self.lock();
        let is_second = state.is_second;
        let invoked = state.plugins.entry(plugin).or_default();
        if is_second && invoked.output.as_ref().is_some_and(|output| output != object) {
            invoked.require_willing();
        }
    }

    /// Whether somebody may be called: in the second round none for the first time.
    pub(crate) fn may_call(&self, plugin: &'static str, id: &str) -> bool {
        let state = self.lock();
        !state.is_second || state.plugins.get(plugin).is_some_and(|invoked| invoked.again.contains(id))
    }

    /// Somebody was called.
    pub(crate) fn called(&self, plugin: &'static str, id: String, is_willing: bool, has_changed: bool) {
        let mut state = self.lock();
        state.has_changed |= has_changed;
        let invoked = state.plugins.entry(plugin).or_default();
        if has_changed {
            invoked.require_willing();
        }
        if is_willing {
            invoked.willing.insert(id);
        }
    }

    /// A plugin has called all.
    pub(crate) fn end(&self, plugin: &'static str, object: &Value) {
        self.lock().plugins.entry(plugin).or_default().output = Some(object.clone());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PLUGIN: &str = "MutatingAdmissionWebhook";

    #[test]
    fn who_was_called_before_a_change_is_called_again() {
        let rounds = Reinvocation::default();
        rounds.begin(PLUGIN, &json!(0));
        rounds.called(PLUGIN, "a".to_owned(), true, false);
        rounds.called(PLUGIN, "b".to_owned(), false, false);
        rounds.called(PLUGIN, "c".to_owned(), true, true);
        rounds.end(PLUGIN, &json!(1));
        assert!(rounds.has_changed());
        rounds.begin_second();
        rounds.begin(PLUGIN, &json!(1));
        let called: Vec<bool> = ["a", "b", "c", "d"].iter().map(|id| rounds.may_call(PLUGIN, id)).collect();
        assert_eq!(called, [true, false, false, false]);
    }

    #[test]
    fn what_others_change_calls_all_that_are_willing() {
        let rounds = Reinvocation::default();
        rounds.begin(PLUGIN, &json!(0));
        rounds.called(PLUGIN, "a".to_owned(), true, true);
        rounds.end(PLUGIN, &json!(1));
        rounds.begin_second();
        rounds.begin(PLUGIN, &json!(2));
        assert!(rounds.may_call(PLUGIN, "a"));
    }
}
