//! A reader of a resource's events: what has changed among the objects that it selects.

use std::borrow::Cow;
use std::sync::Arc;

use api::kinds::Resource;
use api::selector::{FieldSelector, LabelSelector};
use bytes::Bytes;
use tokio::sync::watch;

use super::Cache;
use super::events::{Event, EventKind, Window};
use super::object::Object;
use super::resource::{ResourceCache, Snapshot};

/// Which objects of a resource are meant.
#[derive(Clone, Debug)]
pub(crate) struct Selection {
    pub(crate) namespace: Option<String>,
    pub(crate) labels: LabelSelector,
    pub(crate) fields: FieldSelector,
}

impl Selection {
    /// Every object of a resource.
    pub(crate) fn everything() -> Self {
        Self { namespace: None, labels: LabelSelector::everything(), fields: FieldSelector::everything() }
    }

    /// Whether an object is meant.
    pub(crate) fn matches(&self, object: &Object) -> bool {
        self.namespace.as_deref().is_none_or(|namespace| object.namespace() == Some(namespace))
            && self.labels.matches_lookup(|key| object.labels.get(key))
            && self.fields.matches(|field| object.field(field).map(Cow::Borrowed))
    }
}

/// A change as a watch shows it.
pub(crate) struct Change {
    pub(crate) kind: EventKind,
    pub(crate) object: Arc<Object>,
    /// The event, if the change is shown just as it happened.
    event: Option<Arc<Event>>,
}

impl Change {
    /// The same change of the object in another version.
    pub(crate) fn showing(self, object: Arc<Object>) -> Self {
        let event = self.event.filter(|_| Arc::ptr_eq(&self.object, &object));
        Self { object, event, ..self }
    }

    /// The change as a line of a JSON watch.
    pub(crate) fn line(&self) -> Bytes {
        match &self.event {
            Some(event) => event.line(),
            None => super::events::object_line(self.kind.as_str(), &self.object),
        }
    }

    /// The change as a frame of a watch in protobuf; `resource` is the one as which its object was loaded.
    pub(crate) fn frame(&self, resource: &Resource) -> Bytes {
        match &self.event {
            Some(event) => event.frame(resource),
            None => super::events::event_frame(self.kind.as_str(), &self.object, resource),
        }
    }

    /// The first sight of an object that was there before.
    pub(crate) fn added(object: Arc<Object>) -> Self {
        Self { kind: EventKind::Added, object, event: None }
    }
}

/// A position in the events of a resource.
pub(crate) struct Watcher {
    cache: Arc<Cache>,
    resource: Arc<ResourceCache>,
    selection: Selection,
    next: u64,
    /// Changes up to this revision are not shown: it was asked for, and may lie in the future.
    since: i64,
    /// Everything up to this revision was handed out.
    revision: i64,
    woken: watch::Receiver<u64>,
}

/// The window of events begins after the revision that a watch asked for.
#[derive(Debug)]
pub(crate) struct TooOld {
    /// The oldest that it may ask for.
    pub(crate) oldest: i64,
}

/// Why a watch sees no more changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    /// It has lost some.
    TooOld,
    /// There will be none.
    Ended,
}

impl Watcher {
    /// Watches from now; the objects that are there are returned.
    pub(crate) fn from_now(cache: Arc<Cache>, resource: Arc<ResourceCache>, selection: Selection) -> (Snapshot, Self) {
        let woken = resource.subscribe();
        let (snapshot, next) = resource.snapshot_and_next(cache.applied());
        let revision = snapshot.revision;
        (snapshot, Self { cache, resource, selection, next, since: revision, revision, woken })
    }

    /// Watches what happens after a revision.
    pub(crate) fn after(
        cache: Arc<Cache>,
        resource: Arc<ResourceCache>,
        selection: Selection,
        revision: i64,
    ) -> Result<Self, TooOld> {
        let woken = resource.subscribe();
        let next = resource.number_after(revision).map_err(|oldest| TooOld { oldest })?;
        Ok(Self { cache, resource, selection, next, since: revision, revision, woken })
    }

    /// Waits for changes among the selected objects. May return none, when only others changed. Cancel safe.
    pub(crate) async fn changes(&mut self) -> Result<Vec<Change>, Over> {
        loop {
            self.woken.borrow_and_update();
            let applied = self.cache.applied();
            let is_ended = self.resource.is_ended();
            let Window::Events(events, next) = self.resource.events_from(self.next) else {
                return Err(Over::TooOld);
            };
            if events.is_empty() {
                self.revision = self.revision.max(applied);
                if is_ended {
                    return Err(Over::Ended);
                }
                // The sender lives as long as the cache, which this holds.
                let _ = self.woken.changed().await;
                continue;
            }
            self.next = next;
            self.revision = self.revision.max(events.last().map_or(0, |event| event.object.revision));
            let events = events.iter().filter(|event| event.object.revision > self.since);
            let changes: Vec<Change> = events.filter_map(|event| self.change(event)).collect();
            if !changes.is_empty() {
                return Ok(changes);
            }
        }
    }

    /// A revision up to which every change was handed out, for a bookmark.
    pub(crate) fn seen(&mut self) -> i64 {
        let applied = self.cache.applied();
        if let Window::Events(events, _) = self.resource.events_from(self.next)
            && events.is_empty()
        {
            self.revision = self.revision.max(applied);
        }
        self.revision
    }

    fn change(&self, event: &Arc<Event>) -> Option<Change> {
        let is_in = event.kind != EventKind::Deleted && self.selection.matches(&event.object);
        let was_in = event.previous.as_ref().is_some_and(|previous| self.selection.matches(previous));
        let as_it_is = |kind| Change { kind, object: event.object.clone(), event: Some(event.clone()) };
        match (was_in, is_in) {
            (false, false) => None,
            (true, true) => Some(as_it_is(EventKind::Modified)),
            (false, true) if event.kind == EventKind::Added => Some(as_it_is(EventKind::Added)),
            (false, true) => Some(Change { kind: EventKind::Added, object: event.object.clone(), event: None }),
            (true, false) if event.kind == EventKind::Deleted => Some(as_it_is(EventKind::Deleted)),
            (true, false) => {
                // Out of the selection: the last state in it, under the revision of the change.
                let previous = event.previous.as_ref()?;
                let object = Arc::new(previous.at_revision(event.object.revision));
                Some(Change { kind: EventKind::Deleted, object, event: None })
            }
        }
    }
}
