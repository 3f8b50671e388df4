//! The cache of one resource: the snapshot that readers take, and the window of events that watches read.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use api::kinds::Resource;
use imbl::OrdMap;
use tokio::sync::watch;

use super::events::{Event, EventKind, Ring, Window};
use super::object::Object;
use crate::storage::Unreadable;

/// Every object of a resource at one moment. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) objects: OrdMap<Arc<str>, Arc<Object>>,
    /// Everything up to this revision is in it, and nothing after.
    pub(crate) revision: i64,
}

impl Snapshot {
    /// The objects of a namespace (or all), in the order of their keys.
    pub(crate) fn range<'a>(
        &'a self,
        namespace: Option<&str>,
    ) -> Box<dyn Iterator<Item = &'a Arc<Object>> + Send + 'a> {
        match namespace {
            None => Box::new(self.objects.values()),
            Some(namespace) => self.after(&format!("{namespace}/"), Some(namespace)),
        }
    }

    /// The objects from a key on, of a namespace or all.
    pub(crate) fn after<'a>(
        &'a self,
        key: &str,
        namespace: Option<&str>,
    ) -> Box<dyn Iterator<Item = &'a Arc<Object>> + Send + 'a> {
        let from: Arc<str> = key.into();
        let objects = self.objects.range(from..).map(|(_, object)| object);
        match namespace {
            None => Box::new(objects),
            Some(namespace) => {
                let prefix = format!("{namespace}/");
                Box::new(objects.take_while(move |object| object.key.starts_with(&prefix)))
            }
        }
    }
}

struct State {
    objects: OrdMap<Arc<str>, Arc<Object>>,
    /// What is in the datastore and cannot be read.
    unreadable: BTreeMap<Arc<str>, Unreadable>,
    /// The revision of the last event.
    revision: i64,
    events: Ring,
    /// Whether there will be no more events, because the resource is gone or has another cache.
    is_ended: bool,
}

/// The cache of one resource.
pub(crate) struct ResourceCache {
    /// The row of the version in which objects are stored.
    resource: RwLock<Arc<Resource>>,
    state: RwLock<State>,
    /// The number of the next event; changes wake the watches.
    next: watch::Sender<u64>,
}

/// Everything that the datastore has of a resource.
#[derive(Default)]
pub(super) struct Loaded {
    pub(super) objects: Vec<Object>,
    pub(super) unreadable: Vec<(Arc<str>, Unreadable)>,
}

/// From how many objects the size of all is guessed.
const SAMPLE: usize = 8;

impl State {
    fn push(&mut self, event: Event) {
        self.revision = event.object.revision;
        self.events.push(event);
    }
}

impl ResourceCache {
    pub(super) fn new(resource: Arc<Resource>) -> Self {
        let state = State {
            objects: OrdMap::new(),
            unreadable: BTreeMap::new(),
            revision: 0,
            events: Ring::default(),
            is_ended: false,
        };
        Self { resource: RwLock::new(resource), state: RwLock::new(state), next: watch::Sender::new(0) }
    }

    /// The row of the version in which objects are stored.
    pub(crate) fn resource(&self) -> Arc<Resource> {
        self.resource.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes another row, when the definition of a custom resource has changed.
    pub(super) fn set_resource(&self, resource: Arc<Resource>) {
        *self.resource.write().unwrap_or_else(PoisonError::into_inner) = resource;
    }

    fn read<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces everything, at the first load and when the watch on the datastore has broken. Watches that are
    /// there have lost events and end.
    pub(super) fn load(&self, Loaded { objects, unreadable }: Loaded, revision: i64) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let was_loaded = state.revision > 0;
        state.objects = objects.into_iter().map(|object| (object.key.clone(), Arc::new(object))).collect();
        state.unreadable = unreadable.into_iter().collect();
        state.revision = revision;
        state.events.restart(revision, was_loaded);
    }

    /// Says that there will be no more events: watches end when they have seen all that there were.
    pub(super) fn end(&self) {
        self.state.write().unwrap_or_else(PoisonError::into_inner).is_ended = true;
        self.next.send_modify(|_| {});
    }

    /// Whether there will be no more events.
    pub(super) fn is_ended(&self) -> bool {
        self.read(|state| state.is_ended)
    }

    /// An object was written.
    pub(super) fn put(&self, object: Object) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let object = Arc::new(object);
        state.unreadable.remove(&object.key);
        let previous = state.objects.insert(object.key.clone(), object.clone());
        let kind = if previous.is_some() { EventKind::Modified } else { EventKind::Added };
        state.push(Event::new(kind, object, previous));
    }

    /// Something was written that cannot be read; what was there before stays for those who look at nothing newer.
    pub(super) fn put_unreadable(&self, key: &str, unreadable: Unreadable) {
        self.state.write().unwrap_or_else(PoisonError::into_inner).unreadable.insert(key.into(), unreadable);
    }

    /// Why an object of a namespace, or any, cannot be read.
    pub(crate) fn unreadable(&self, namespace: Option<&str>) -> Option<Unreadable> {
        self.read(|state| {
            let mut all = state.unreadable.iter();
            let found = match namespace {
                None => all.next(),
                Some(namespace) => all.find(|(key, _)| key.split_once('/').is_some_and(|(of, _)| of == namespace)),
            };
            found.map(|(_, unreadable)| unreadable.clone())
        })
    }

    /// Why an object cannot be read.
    pub(crate) fn unreadable_at(&self, key: &str) -> Option<Unreadable> {
        self.read(|state| state.unreadable.get(key).cloned())
    }

    /// An object was deleted.
    pub(super) fn delete(&self, key: &str, revision: i64) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.unreadable.remove(key);
        let Some(previous) = state.objects.remove(key) else { return };
        let object = Arc::new(previous.at_revision(revision));
        state.push(Event::new(EventKind::Deleted, object, Some(previous)));
    }

    /// Wakes the watches; called after a batch of changes.
    pub(super) fn wake(&self) {
        let next = self.read(|state| state.events.next());
        self.next.send_if_modified(|current| std::mem::replace(current, next) != next);
    }

    /// The objects now. `applied` is what the cache as a whole had seen before this call.
    pub(crate) fn snapshot(&self, applied: i64) -> Snapshot {
        self.read(|state| Snapshot { objects: state.objects.clone(), revision: applied.max(state.revision) })
    }

    /// How many look at its events.
    pub(crate) fn watch_count(&self) -> usize {
        self.next.receiver_count()
    }

    /// How many objects there are, and about how many bytes each has.
    pub(crate) fn size(&self) -> (u64, u64) {
        self.read(|state| {
            let sample = state.objects.values().take(SAMPLE).map(|object| object.json_length() as u64);
            let (count, bytes) = sample.fold((0, 0), |(count, bytes), size| (count + 1, bytes + size));
            (state.objects.len() as u64, bytes.checked_div(count).unwrap_or(0))
        })
    }

    /// One object.
    pub(crate) fn get(&self, key: &str) -> Option<Arc<Object>> {
        self.read(|state| state.objects.get(key).cloned())
    }

    /// The objects now, and the number of the next event after them.
    pub(super) fn snapshot_and_next(&self, applied: i64) -> (Snapshot, u64) {
        self.read(|state| {
            let snapshot = Snapshot { objects: state.objects.clone(), revision: applied.max(state.revision) };
            (snapshot, state.events.next())
        })
    }

    /// The number of the next event; `None` before the first load.
    pub(super) fn number_of_next(&self) -> Option<u64> {
        self.read(|state| (state.revision > 0).then(|| state.events.next()))
    }

    /// The number of the first event after `revision`; the oldest that can be asked for if the window begins later.
    pub(super) fn number_after(&self, revision: i64) -> Result<u64, i64> {
        self.read(|state| state.events.number_after(revision))
    }

    /// Some of the events from a number on.
    pub(super) fn events_from(&self, number: u64) -> Window {
        self.read(|state| state.events.from(number))
    }

    /// Tells of changes to the number of the next event.
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.next.subscribe()
    }
}
