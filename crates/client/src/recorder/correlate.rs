//! Decides what becomes of a recorded event: written, counted up on an earlier one, folded, or dropped.
//!
//! - An event that repeats an earlier one exactly counts that one up.
//! - More than ten events in ten minutes that differ only in their message are folded into one.
//! - One object can cause 25 events at once, then one every five minutes.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::{EventType, Recorded};

const SIMILAR_LIMIT: usize = 10;
const SIMILAR_WINDOW: Duration = Duration::from_secs(600);
const BURST: f64 = 25.0;
const REFILL: Duration = Duration::from_secs(300);
/// Each of the three memories keeps this many entries; the ones untouched for longest go first.
const REMEMBERED: usize = 4096;

/// What the writer has to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    Drop,
    /// Write a new event with this message.
    Create {
        /// To be given back with the name once written.
        key: ExactKey,
        /// The message, possibly folded.
        message: String,
    },
    /// Count an earlier event up.
    CountUp {
        /// To be given back with the name once written.
        key: ExactKey,
        /// The message, possibly folded.
        message: String,
        /// The earlier event.
        name: String,
        /// Its new count.
        count: i32,
        /// When it first happened.
        first: Timestamp,
    },
}

/// An object as far as events tell objects apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Target {
    kind: String,
    namespace: String,
    name: String,
    uid: String,
    field_path: String,
}

/// All but the message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct SimilarKey {
    target: Target,
    event_type: EventType,
    reason: Cow<'static, str>,
}

/// What makes two events the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ExactKey {
    similar: SimilarKey,
    message: String,
}

struct Written {
    name: String,
    count: i32,
    first: Timestamp,
}

struct Tokens {
    left: f64,
    at: Instant,
}

struct Similar {
    messages: HashSet<String>,
    last: Instant,
}

/// The memory of one recorder.
pub(super) struct Correlator {
    tokens: Memory<Target, Tokens>,
    similar: Memory<SimilarKey, Similar>,
    written: Memory<ExactKey, Written>,
}

impl Correlator {
    pub(super) fn new() -> Self {
        Self { tokens: Memory::new(), similar: Memory::new(), written: Memory::new() }
    }

    pub(super) fn correlate(&mut self, recorded: &Recorded, now: Instant) -> Verdict {
        let object = &recorded.object;
        let target = Target {
            kind: object.kind.clone().unwrap_or_default(),
            namespace: object.namespace.clone().unwrap_or_default(),
            name: object.name.clone().unwrap_or_default(),
            uid: object.uid.clone().unwrap_or_default(),
            field_path: object.field_path.clone().unwrap_or_default(),
        };
        if !self.take_token(&target, now) {
            return Verdict::Drop;
        }
        let similar = SimilarKey { target, event_type: recorded.event_type, reason: recorded.reason.clone() };
        let folded = self.is_one_of_many(&similar, &recorded.message, now);
        let message = match folded {
            true => format!("(combined from similar events): {}", recorded.message),
            false => recorded.message.clone(),
        };
        // All folded events count the same one up, whatever their messages.
        let key = ExactKey { similar, message: if folded { String::new() } else { message.clone() } };
        match self.written.get(&key, now) {
            Some(Written { name, count, first }) => {
                Verdict::CountUp { message, name: name.clone(), count: *count + 1, first: *first, key }
            }
            None => Verdict::Create { key, message },
        }
    }

    /// Remembers under which name an event was written.
    pub(super) fn written(&mut self, key: ExactKey, name: String, at: Timestamp, now: Instant) {
        let known = self.written.get(&key, now).map(|written| (written.count, written.first));
        let (count, first) = known.unwrap_or((0, at));
        self.written.insert(key, Written { name, count: count + 1, first }, now);
    }

    fn take_token(&mut self, target: &Target, now: Instant) -> bool {
        let Some(tokens) = self.tokens.get(target, now) else {
            self.tokens.insert(target.clone(), Tokens { left: BURST - 1.0, at: now }, now);
            return true;
        };
        let refill = (now - tokens.at).as_secs_f64() / REFILL.as_secs_f64();
        tokens.left = (tokens.left + refill).min(BURST);
        tokens.at = now;
        let allowed = tokens.left >= 1.0;
        if allowed {
            tokens.left -= 1.0;
        }
        allowed
    }

    fn is_one_of_many(&mut self, key: &SimilarKey, message: &str, now: Instant) -> bool {
        if let Some(similar) = self.similar.get(key, now)
            && now - similar.last <= SIMILAR_WINDOW
        {
            similar.last = now;
            if similar.messages.len() < SIMILAR_LIMIT {
                similar.messages.insert(message.to_owned());
            }
            return similar.messages.len() >= SIMILAR_LIMIT;
        }
        let similar = Similar { messages: HashSet::from([message.to_owned()]), last: now };
        self.similar.insert(key.clone(), similar, now);
        false
    }
}

/// A map that forgets what was untouched for longest.
struct Memory<K, V> {
    entries: HashMap<K, (Instant, V)>,
}

impl<K: Clone + Eq + Hash, V> Memory<K, V> {
    fn new() -> Self {
        Self { entries: HashMap::new() }
    }

    fn get(&mut self, key: &K, now: Instant) -> Option<&mut V> {
        let (touched, value) = self.entries.get_mut(key)?;
        *touched = now;
        Some(value)
    }

    fn insert(&mut self, key: K, value: V, now: Instant) {
        if self.entries.len() >= REMEMBERED && !self.entries.contains_key(&key) {
            self.forget_older_half();
        }
        self.entries.insert(key, (now, value));
    }

    fn forget_older_half(&mut self) {
        let mut times: Vec<Instant> = self.entries.values().map(|(touched, _)| *touched).collect();
        let middle = times.len() / 2;
        let (_, median, _) = times.select_nth_unstable(middle);
        let median = *median;
        let mut kept = 0;
        self.entries.retain(|_, (touched, _)| {
            // Many may share the median's time: never keep more than half.
            let keep = *touched >= median && kept < middle;
            kept += usize::from(keep);
            keep
        });
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ObjectReference;

    use super::*;

    fn recorded(message: &str) -> Recorded {
        Recorded {
            object: ObjectReference { name: Some("p".to_owned()), ..ObjectReference::default() },
            event_type: EventType::Normal,
            reason: "Started".into(),
            message: message.to_owned(),
            annotations: std::collections::BTreeMap::new(),
            at: Timestamp::UNIX_EPOCH,
        }
    }

    /// What becomes of each message, written as `new`, `xN` (counted up), `drop`, `folded`.
    #[track_caller]
    fn check(messages: impl IntoIterator<Item = String>, pause: Duration, expected: &[&str]) {
        let mut correlator = Correlator::new();
        let mut now = Instant::now();
        let mut seen = Vec::new();
        for message in messages {
            let verdict = correlator.correlate(&recorded(&message), now);
            let (word, key) = match verdict {
                Verdict::Drop => ("drop".to_owned(), None),
                Verdict::Create { key, message } if message.starts_with('(') => ("folded".to_owned(), Some(key)),
                Verdict::Create { key, .. } => ("new".to_owned(), Some(key)),
                Verdict::CountUp { key, count, .. } => (format!("x{count}"), Some(key)),
            };
            seen.push(word);
            if let Some(key) = key {
                correlator.written(key, "n".to_owned(), Timestamp::UNIX_EPOCH, now);
            }
            now += pause;
        }
        assert_eq!(seen, expected);
    }

    #[test]
    fn the_same_event_is_counted_up() {
        check(["a", "a", "b", "a"].map(str::to_owned), Duration::from_secs(1), &["new", "x2", "new", "x3"]);
    }

    #[test]
    fn many_similar_events_are_folded_into_one() {
        let mut expected = vec!["new"; 9];
        expected.extend(["folded", "x2", "x3"]);
        check((0..12).map(|n| n.to_string()), Duration::from_secs(20), &expected);
    }

    #[test]
    fn one_object_cannot_flood() {
        let messages = std::iter::repeat_n("a".to_owned(), 28);
        let mut correlator = Correlator::new();
        let now = Instant::now();
        let dropped = messages.filter(|m| correlator.correlate(&recorded(m), now) == Verdict::Drop).count();
        assert_eq!(dropped, 3);
    }
}
