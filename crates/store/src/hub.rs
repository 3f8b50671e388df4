//! What an engine shows to its readers: the live keys, the recent events, and who waits for which.
//!
//! One mutex guards it all, held for short steps only. A watcher has no buffer: it has a place in the sequence of
//! revisions, and takes the events from there on when it is ready for them, from the recent ones or from the engine's
//! history. An event wakes only the watchers whose range it lies in; for the others, what passed is known not to
//! concern them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::apply::Live;
use crate::error::{StorageError, WatchError};
use crate::types::{Event, KeyRange, Revision};
use crate::watch::{WatchBatch, WatchRequest};

/// The most events in one batch.
pub(crate) const BATCH_EVENTS: usize = 256;
/// The bytes of values after which a batch is full.
pub(crate) const BATCH_BYTES: usize = 1024 * 1024;
/// The most recent events that one step looks through while it holds the lock.
const STEP_EVENTS: usize = 2048;

/// How much a hub remembers of recent events.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecentLimits {
    pub events: usize,
    /// Of values, also of previous ones.
    pub bytes: usize,
}

/// The live keys at one revision.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub revision: Revision,
    pub compact_revision: Revision,
    pub live: Live,
}

#[derive(Debug)]
pub(crate) struct Hub {
    state: Mutex<State>,
    limits: RecentLimits,
}

#[derive(Debug)]
struct State {
    current: Snapshot,
    recent: VecDeque<Event>,
    recent_bytes: usize,
    /// All events from this revision on are in `recent`.
    recent_from: Revision,
    watchers: BTreeMap<u64, Watcher>,
    next_watcher: u64,
    closed: bool,
}

#[derive(Debug)]
struct Watcher {
    range: KeyRange,
    /// Earlier events do not concern it.
    start: Revision,
    /// The first revision that it still has to look at; `None` while nothing up to the current one concerns it.
    pending: Option<Revision>,
    wake: Arc<Notify>,
}

/// A watcher's place in a hub, given up when dropped.
#[derive(Debug)]
pub(crate) struct Registration {
    hub: Arc<Hub>,
    id: u64,
    wake: Arc<Notify>,
}

/// What a watcher does next.
#[derive(Debug)]
pub(crate) enum Take {
    /// Deliver these.
    Events(WatchBatch),
    /// There was nothing in what this step looked through; take again.
    Again,
    /// Read this part of the history, then advance.
    History { from: Revision, before: Revision },
    /// Everything up to `revision` has been delivered.
    Idle { revision: Revision },
}

impl Hub {
    pub fn new(current: Snapshot, limits: RecentLimits) -> Self {
        let recent_from = current.revision + 1;
        let state = State {
            current,
            recent: VecDeque::new(),
            recent_bytes: 0,
            recent_from,
            watchers: BTreeMap::new(),
            next_watcher: 0,
            closed: false,
        };
        Self { state: Mutex::new(state), limits }
    }

    /// Every change of the state is complete when it unlocks, so a panic elsewhere cannot leave it half done.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn snapshot(&self) -> Snapshot {
        self.lock().current.clone()
    }

    /// The current and the compact revision.
    pub fn revisions(&self) -> (Revision, Revision) {
        let state = self.lock();
        (state.current.revision, state.current.compact_revision)
    }

    /// Shows the keys after `events` were written, and wakes whom they concern.
    pub fn publish(&self, live: Live, events: Vec<Event>) {
        let Some(last) = events.last() else { return };
        let mut state = self.lock();
        state.current.revision = last.kv.mod_revision;
        // The old map is freed after the lock is.
        let _previous = std::mem::replace(&mut state.current.live, live);
        for watcher in state.watchers.values_mut().filter(|watcher| watcher.pending.is_none()) {
            let concerns =
                |event: &&Event| event.kv.mod_revision >= watcher.start && watcher.range.contains(&event.kv.key);
            if let Some(event) = events.iter().find(concerns) {
                watcher.pending = Some(event.kv.mod_revision);
                watcher.wake.notify_one();
            }
        }
        for event in events {
            state.recent_bytes += size(&event);
            state.recent.push_back(event);
        }
        while state.recent.len() > self.limits.events || state.recent_bytes > self.limits.bytes {
            let Some(oldest) = state.recent.pop_front() else { break };
            state.recent_bytes -= size(&oldest);
            state.recent_from = oldest.kv.mod_revision + 1;
        }
        drop(state);
    }

    pub fn compacted(&self, revision: Revision) {
        self.lock().current.compact_revision = revision;
    }

    /// Ends all watches with [`StorageError::Stopped`].
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.watchers.values().for_each(|watcher| watcher.wake.notify_one());
    }

    pub fn register(hub: &Arc<Self>, request: &WatchRequest) -> Result<Registration, WatchError> {
        let mut state = hub.lock();
        if state.closed {
            return Err(StorageError::Stopped.into());
        }
        let compact_revision = state.current.compact_revision;
        let start = request.start_revision.unwrap_or(state.current.revision + 1);
        if start < compact_revision {
            return Err(WatchError::Compacted { requested: start, compact_revision });
        }
        let pending = (start <= state.current.revision).then_some(start);
        let wake = Arc::new(Notify::new());
        let id = state.next_watcher;
        state.next_watcher += 1;
        let watcher = Watcher { range: request.range.clone(), start, pending, wake: Arc::clone(&wake) };
        state.watchers.insert(id, watcher);
        drop(state);
        Ok(Registration { hub: Arc::clone(hub), id, wake })
    }
}

impl State {
    fn take(&mut self, id: u64) -> Result<Take, WatchError> {
        let Self { current, recent, recent_from, watchers, closed, .. } = self;
        let Some(watcher) = watchers.get_mut(&id).filter(|_| !*closed) else {
            return Err(StorageError::Stopped.into());
        };
        let Some(from) = watcher.pending else { return Ok(Take::Idle { revision: current.revision }) };
        if from < *recent_from {
            return Ok(Take::History { from, before: *recent_from });
        }
        let first = recent.partition_point(|event| event.kv.mod_revision < from);
        let (mut events, mut bytes) = (Vec::new(), 0);
        let mut looked_through = current.revision;
        for (looked_at, event) in recent.range(first..).enumerate() {
            if events.len() == BATCH_EVENTS || bytes >= BATCH_BYTES || looked_at == STEP_EVENTS {
                looked_through = event.kv.mod_revision - 1;
                break;
            }
            if watcher.range.contains(&event.kv.key) {
                bytes += size(event);
                events.push(event.clone());
            }
        }
        watcher.pending = (looked_through < current.revision).then_some(looked_through + 1);
        if events.is_empty() {
            return Ok(Take::Again);
        }
        Ok(Take::Events(WatchBatch { events, revision: looked_through }))
    }
}

impl Registration {
    /// Takes the next events of this watcher, as many as one batch holds.
    pub fn take(&self) -> Result<Take, WatchError> {
        self.hub.lock().take(self.id)
    }

    /// Says that everything before `next` has been read from the history.
    pub fn advance(&self, next: Revision) {
        if let Some(watcher) = self.hub.lock().watchers.get_mut(&self.id) {
            watcher.pending = Some(next);
        }
    }

    /// Waits until an event may have arrived since the last [`Take::Idle`].
    pub async fn woken(&self) {
        self.wake.notified().await;
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.hub.lock().watchers.remove(&self.id);
    }
}

fn size(event: &Event) -> usize {
    event.kv.value.len() + event.prev_kv.as_ref().map_or(0, |previous| previous.value.len())
}
