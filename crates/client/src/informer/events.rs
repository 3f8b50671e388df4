//! A subscription to the changes of one informer, with bounded memory.
//!
//! A subscriber that falls behind does not queue every change: per object, only the last state delivered and the
//! newest state are kept, so at most one entry per object waits. Readers see every object's latest state, and every
//! deletion of an object they were told about, but not every state in between.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures::Stream;
use futures::task::AtomicWaker;

use super::Object;
use crate::ObjectKey;

/// A change of one object.
#[derive(Debug)]
pub enum Event<K> {
    /// The object is new to this subscriber.
    Added(Arc<K>),
    /// The object has changed.
    Updated {
        /// What this subscriber was told last.
        old: Arc<K>,
        /// What it is now.
        new: Arc<K>,
    },
    /// The object is gone; this is the last state seen.
    Deleted(Arc<K>),
}

impl<K> Clone for Event<K> {
    fn clone(&self) -> Self {
        match self {
            Self::Added(object) => Self::Added(Arc::clone(object)),
            Self::Updated { old, new } => Self::Updated { old: Arc::clone(old), new: Arc::clone(new) },
            Self::Deleted(object) => Self::Deleted(Arc::clone(object)),
        }
    }
}

impl<K> Event<K> {
    /// The newest state: for a deletion, the last one.
    pub fn object(&self) -> &Arc<K> {
        match self {
            Self::Added(object) | Self::Deleted(object) => object,
            Self::Updated { new, .. } => new,
        }
    }

    /// The state before an update.
    pub fn old(&self) -> Option<&Arc<K>> {
        match self {
            Self::Updated { old, .. } => Some(old),
            Self::Added(_) | Self::Deleted(_) => None,
        }
    }

    /// Whether the object is gone.
    pub fn is_deleted(&self) -> bool {
        matches!(self, Self::Deleted(_))
    }
}

/// The changes that one subscriber has not taken yet.
pub(super) struct Subscriber<K> {
    pending: Mutex<Pending<K>>,
    waker: AtomicWaker,
}

struct Pending<K> {
    order: VecDeque<ObjectKey>,
    changes: HashMap<ObjectKey, Change<K>>,
    /// The second half of a deletion and re-creation that was delivered as two events.
    next: Option<Event<K>>,
}

struct Change<K> {
    delivered: Option<Arc<K>>,
    current: Option<Arc<K>>,
    last: Arc<K>,
}

impl<K> Default for Subscriber<K> {
    fn default() -> Self {
        let pending = Pending { order: VecDeque::new(), changes: HashMap::new(), next: None };
        Self { pending: Mutex::new(pending), waker: AtomicWaker::new() }
    }
}

impl<K> Subscriber<K> {
    fn pending(&self) -> std::sync::MutexGuard<'_, Pending<K>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Object> Subscriber<K> {
    pub(super) fn note(&self, key: &ObjectKey, old: Option<&Arc<K>>, new: Option<&Arc<K>>, last: &Arc<K>) {
        let mut pending = self.pending();
        if let Some(change) = pending.changes.get_mut(key) {
            change.current = new.cloned();
            change.last = Arc::clone(last);
        } else {
            let change = Change { delivered: old.cloned(), current: new.cloned(), last: Arc::clone(last) };
            pending.changes.insert(key.clone(), change);
            pending.order.push_back(key.clone());
        }
        drop(pending);
        self.waker.wake();
    }

    fn take(&self) -> Option<Event<K>> {
        let mut pending = self.pending();
        if let Some(event) = pending.next.take() {
            return Some(event);
        }
        while let Some(key) = pending.order.pop_front() {
            let Some(Change { delivered, current, last }) = pending.changes.remove(&key) else { continue };
            let event = match (delivered, current) {
                // Came and went meanwhile: told as both, for those who count what they created.
                (None, None) => {
                    pending.next = Some(Event::Deleted(Arc::clone(&last)));
                    Event::Added(last)
                }
                (None, Some(new)) => Event::Added(new),
                (Some(_), None) => Event::Deleted(last),
                (Some(old), Some(new)) if old.meta().uid == new.meta().uid => Event::Updated { old, new },
                (Some(old), Some(new)) => {
                    pending.next = Some(Event::Added(new));
                    Event::Deleted(old)
                }
            };
            return Some(event);
        }
        None
    }
}

/// The changes of one informer: a stream that never ends. Dropping it ends the subscription.
pub struct Events<K>(Arc<Subscriber<K>>);

impl<K> Events<K> {
    pub(super) fn new(subscriber: Arc<Subscriber<K>>) -> Self {
        Self(subscriber)
    }
}

impl<K: Object> Events<K> {
    /// The next change. Cancel safe.
    pub async fn next(&mut self) -> Event<K> {
        std::future::poll_fn(|cx| self.poll_event(cx)).await
    }

    /// The next change, if one is waiting.
    pub fn try_next(&mut self) -> Option<Event<K>> {
        self.0.take()
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Event<K>> {
        if let Some(event) = self.0.take() {
            return Poll::Ready(event);
        }
        self.0.waker.register(cx.waker());
        // A change between the look and the registration would not have woken this task.
        match self.0.take() {
            Some(event) => Poll::Ready(event),
            None => Poll::Pending,
        }
    }
}

impl<K: Object> Stream for Events<K> {
    type Item = Event<K>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_event(cx).map(Some)
    }
}
