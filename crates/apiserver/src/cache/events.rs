//! The latest events of a resource, from which watches are served: as many as fit into a budget of bytes.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use api::kinds::Resource;
use bytes::{Bytes, BytesMut};

use super::object::Object;

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventKind {
    Added,
    Modified,
    Deleted,
}

impl EventKind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// One change of one object.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) kind: EventKind,
    /// The object after the change; for a deletion its last state under the deletion's revision.
    pub(crate) object: Arc<Object>,
    /// The object before the change.
    pub(crate) previous: Option<Arc<Object>>,
    /// The event as watches send it, until few are left who have not.
    encoded: RwLock<Option<Encoded>>,
}

#[derive(Debug, Default)]
struct Encoded {
    line: OnceLock<Bytes>,
    frame: OnceLock<Bytes>,
}

impl Event {
    pub(super) fn new(kind: EventKind, object: Arc<Object>, previous: Option<Arc<Object>>) -> Self {
        Self { kind, object, previous, encoded: RwLock::new(Some(Encoded::default())) }
    }

    /// The event as a line of a JSON watch: made once, shared by all watches that see it as it is.
    pub(crate) fn line(&self) -> Bytes {
        let make = || object_line(self.kind.as_str(), &self.object);
        self.encoded(|encoded| encoded.map_or_else(make, |encoded| encoded.line.get_or_init(make).clone()))
    }

    /// The event as a frame of a watch in protobuf: made once, shared by all watches that see it as it is.
    pub(crate) fn frame(&self, resource: &Resource) -> Bytes {
        let make = || event_frame(self.kind.as_str(), &self.object, resource);
        self.encoded(|encoded| encoded.map_or_else(make, |encoded| encoded.frame.get_or_init(make).clone()))
    }

    fn encoded<T>(&self, read: impl FnOnce(Option<&Encoded>) -> T) -> T {
        read(self.encoded.read().unwrap_or_else(PoisonError::into_inner).as_ref())
    }

    /// Whoever has not sent it yet encodes it for himself.
    fn forget_encoded(&self) {
        *self.encoded.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// About how many bytes are there because of it: the object and what it was before.
    fn size(&self) -> usize {
        self.object.stored().len() + self.previous.as_ref().map_or(0, |previous| previous.stored().len())
    }
}

/// A frame of a watch in protobuf.
pub(crate) fn event_frame(kind: &str, object: &Object, resource: &Resource) -> Bytes {
    let body = api::protobuf::wrap(&resource.api_version(), &resource.kind, object.message(resource));
    Bytes::from(api::protobuf::frame(kind, &body))
}

/// A line of a JSON watch that shows a whole object.
pub(super) fn object_line(kind: &str, object: &Object) -> Bytes {
    line(kind, object.json_length(), |line| object.write_json(line))
}

/// A line of a JSON watch.
pub(crate) fn event_line(kind: &str, object: &[u8]) -> Bytes {
    line(kind, object.len(), |line| line.extend_from_slice(object))
}

fn line(kind: &str, length: usize, write_object: impl FnOnce(&mut BytesMut)) -> Bytes {
    let (start, middle, end) = (br#"{"type":""#, br#"","object":"#, b"}\n");
    let mut line = BytesMut::with_capacity(start.len() + kind.len() + middle.len() + length + end.len());
    line.extend_from_slice(start);
    line.extend_from_slice(kind.as_bytes());
    line.extend_from_slice(middle);
    write_object(&mut line);
    line.extend_from_slice(end);
    line.freeze()
}

/// What a watch finds in the window.
pub(crate) enum Window {
    /// The events from a number on, and the number behind them.
    Events(Vec<Arc<Event>>, u64),
    /// The watch is slower than the window.
    Lost,
}

/// How many events are kept at most; a watch that comes back after a break needs them.
const WINDOW: usize = 4096;

/// How many are kept however large their objects are.
const SMALLEST_WINDOW: usize = 32;

/// How many bytes the objects of all events may have.
const WINDOW_BYTES: usize = 16 * 1024 * 1024;

/// How many bytes the objects may have of which the encoded events are kept: watches that keep up send the latest.
const ENCODED_BYTES: usize = 1024 * 1024;

/// How many events a watch takes at a time.
const BATCH: usize = 256;

/// The latest events, numbered from the start of the process.
#[derive(Default)]
pub(super) struct Ring {
    events: VecDeque<Arc<Event>>,
    /// The number of the first event.
    first: u64,
    /// Events after this revision are all here.
    start: i64,
    /// The size of all events.
    size: usize,
    /// The number of the first event whose encoded form is kept, and the size of all from there on.
    encoded_from: u64,
    encoded_size: usize,
}

impl Ring {
    /// The number of the next event.
    pub(super) fn next(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    /// Begins again behind a revision. If events were lost there, whoever looked at them has lost his place.
    pub(super) fn restart(&mut self, revision: i64, has_lost: bool) {
        let first = if has_lost { self.next() + 1 } else { self.first };
        *self = Self { first, start: revision, encoded_from: first, ..Self::default() };
    }

    /// Takes in an event; others go for it.
    pub(super) fn push(&mut self, event: Event) {
        let size = event.size();
        self.events.push_back(Arc::new(event));
        self.size += size;
        self.encoded_size += size;
        while self.events.len() > WINDOW || (self.size > WINDOW_BYTES && self.events.len() > SMALLEST_WINDOW) {
            self.age(self.first);
            let Some(dropped) = self.events.pop_front() else { break };
            self.first += 1;
            self.start = dropped.object.revision;
            self.size -= dropped.size();
        }
        // The one that was just written is for all watches, whatever its size.
        while self.encoded_size > ENCODED_BYTES && self.encoded_from + 1 < self.next() {
            self.age(self.encoded_from);
        }
    }

    /// Keeps the encoded form of an event no longer.
    fn age(&mut self, number: u64) {
        if number != self.encoded_from {
            return;
        }
        let Some(event) = self.get(number) else { return };
        event.forget_encoded();
        self.encoded_size -= event.size();
        self.encoded_from += 1;
    }

    fn get(&self, number: u64) -> Option<Arc<Event>> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.events.get(index).cloned()
    }

    /// The number of the first event after `revision`; the oldest that can be asked for if the window begins later.
    pub(super) fn number_after(&self, revision: i64) -> Result<u64, i64> {
        if revision < self.start {
            return Err(self.start);
        }
        let skipped = self.events.partition_point(|event| event.object.revision <= revision);
        Ok(self.first + skipped as u64)
    }

    /// Some of the events from a number on.
    pub(super) fn from(&self, number: u64) -> Window {
        let Some(skip) = number.checked_sub(self.first) else { return Window::Lost };
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        let events: Vec<Arc<Event>> = self.events.iter().skip(skip).take(BATCH).cloned().collect();
        let next = number + events.len() as u64;
        Window::Events(events, next)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// An event for each revision from 1 on, with an object of a size.
    fn ring(count: i64, bytes: usize) -> Ring {
        let resource = api::kinds::find("", "v1", "configmaps").expect("config maps are built in");
        let stored = json!({"metadata": {"name": "m"}, "data": {"text": "x".repeat(bytes)}});
        let stored: Bytes = crate::cache::encode(resource, &stored).into();
        let object = Object::load(resource, "ns/m".into(), &stored, 1).expect("it is a config map");
        let mut ring = Ring::default();
        for revision in 1..=count {
            ring.push(Event::new(EventKind::Added, Arc::new(object.at_revision(revision)), None));
        }
        ring
    }

    #[track_caller]
    fn check(ring: &Ring, kept: usize, encoded: usize) {
        assert_eq!((ring.events.len(), ring.next()), (kept, ring.first + kept as u64));
        let has_encoded = |event: &&Arc<Event>| event.encoded(|encoded| encoded.is_some());
        assert_eq!(ring.events.iter().filter(has_encoded).count(), encoded);
        assert!(ring.events.iter().rev().take(encoded).all(|event| has_encoded(&event)), "the latest are kept");
        // What is kept is found, and what is not is known to be lost.
        let first = i64::try_from(ring.first).expect("it is small");
        assert_eq!(ring.number_after(first), Ok(ring.first));
        assert!(first == 0 || ring.number_after(first - 1) == Err(first));
        assert!(first == 0 || matches!(ring.from(ring.first - 1), Window::Lost));
        assert!(matches!(ring.from(ring.first), Window::Events(events, _) if events.len() == kept.min(BATCH)));
    }

    #[test]
    fn events_are_kept_up_to_a_number_and_a_size() {
        check(&ring(0, 0), 0, 0);
        check(&ring(100, 100), 100, 100);
        check(&ring(5000, 100), WINDOW, WINDOW);
        let large = ring(5000, 5000);
        let size = large.events[0].size();
        check(&large, WINDOW_BYTES / size, ENCODED_BYTES / size);
        check(&ring(50, 1_500_000), SMALLEST_WINDOW, 1);
    }

    #[test]
    fn an_event_is_the_same_whether_it_is_kept_encoded_or_not() {
        let ring = ring(2, ENCODED_BYTES);
        let [old, new] = [0, 1].map(|number| ring.get(number).expect("it is there"));
        let shared = |event: &Event| event.line().as_ptr() == event.line().as_ptr();
        assert!(!shared(&old) && shared(&new));
        assert_eq!(old.line().len(), new.line().len());
        let maps = api::kinds::find("", "v1", "configmaps").expect("config maps are built in");
        assert_eq!(old.frame(maps).len(), new.frame(maps).len());
    }

    #[test]
    fn a_restart_loses_the_place_of_whoever_looked_on() {
        let mut ring = ring(3, 10);
        ring.restart(7, true);
        assert!(matches!(ring.from(3), Window::Lost));
        assert_eq!((ring.number_after(6), ring.number_after(7)), (Err(7), Ok(4)));
        let mut fresh = Ring::default();
        fresh.restart(7, false);
        assert_eq!((fresh.number_after(7), fresh.next()), (Ok(0), 0));
    }
}
