//! The engine in memory, for tests and simulation: the same semantics, nothing kept.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use base::Env;

use crate::Store;
use crate::apply::{Live, apply, range};
use crate::error::{CompactError, RangeError, StatusError, TxnError, WatchError};
use crate::hub::{BATCH_EVENTS, Hub, RecentLimits, Snapshot};
use crate::types::{Event, EventKind, KeyRange, RangeRequest, RangeResponse, Revision, StoreStatus, Txn, TxnResponse};
use crate::watch::{self, Chunk, History, Scan, Watch, WatchRequest};

/// A [`Store`] that lives as long as this value. It uses no threads, so that it runs in a paused-time simulation.
#[derive(Debug)]
pub struct Memory {
    hub: Arc<Hub>,
    log: Arc<Log>,
}

/// All events that are not compacted away.
#[derive(Debug, Default)]
struct Log(Mutex<LogState>);

#[derive(Debug, Default)]
struct LogState {
    events: BTreeMap<Revision, Event>,
    compact_revision: Revision,
}

impl Memory {
    /// An empty store.
    pub fn new() -> Self {
        Self::with_recent(RecentLimits { events: 1024, bytes: usize::MAX })
    }

    pub(crate) fn with_recent(limits: RecentLimits) -> Self {
        let empty = Snapshot { revision: 1, compact_revision: 0, live: Live::new() };
        Self { hub: Arc::new(Hub::new(empty, limits)), log: Arc::default() }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.hub.close();
    }
}

#[async_trait]
impl Store for Memory {
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, RangeError> {
        // The log's lock orders this read before or after a compaction.
        let log = self.log.lock();
        let Snapshot { revision: current, compact_revision, live } = self.hub.snapshot();
        match request.revision {
            Some(requested) if requested > current => Err(RangeError::FutureRevision { requested, current }),
            Some(requested) if requested < compact_revision => {
                Err(RangeError::Compacted { requested, compact_revision })
            }
            Some(requested) if requested < current => {
                Ok(range(&log.live_at(requested, &request.range), current, &request))
            }
            _ => {
                drop(log);
                Ok(range(&live, current, &request))
            }
        }
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse, TxnError> {
        txn.check()?;
        // Writers take the log's lock first, so that no write comes between reading the live keys and publishing.
        let mut log = self.log.lock();
        let Snapshot { mut revision, mut live, .. } = self.hub.snapshot();
        let (response, event) = apply(&mut live, &mut revision, txn);
        if let Some(event) = event {
            log.events.insert(revision, event.clone());
            self.hub.publish(live, vec![event]);
        }
        Ok(response)
    }

    async fn watch(&self, request: WatchRequest) -> Result<Watch, WatchError> {
        // Sleeping is all that a watch does with the environment, and that follows tokio's clock in any of them.
        watch::start(&self.hub, Arc::clone(&self.log) as Arc<dyn History>, Env::system(), request)
    }

    async fn compact(&self, revision: Revision) -> Result<(), CompactError> {
        let mut log = self.log.lock();
        let (current, compact_revision) = self.hub.revisions();
        if revision > current {
            return Err(CompactError::FutureRevision { requested: revision, current });
        }
        if revision <= compact_revision {
            return Err(CompactError::Compacted { requested: revision, compact_revision });
        }
        log.compact(revision);
        self.hub.compacted(revision);
        Ok(())
    }

    async fn status(&self) -> Result<StoreStatus, StatusError> {
        let (revision, compact_revision) = self.hub.revisions();
        Ok(StoreStatus { revision, compact_revision, bytes: 0 })
    }
}

impl Log {
    /// Every change is complete when it unlocks, so a panic elsewhere cannot leave it half done.
    fn lock(&self) -> MutexGuard<'_, LogState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogState {
    /// The keys of `range` that were live at `revision`.
    fn live_at(&self, revision: Revision, range: &KeyRange) -> Live {
        let mut live = Live::new();
        for event in
            self.events.range(..=revision).map(|(_, event)| event).filter(|event| range.contains(&event.kv.key))
        {
            match event.kind {
                EventKind::Put => live.insert(event.kv.key.clone(), event.kv.clone()),
                EventKind::Delete => live.remove(&event.kv.key),
            };
        }
        live
    }

    /// Removes what was superseded before `revision`, and the deletions before it.
    fn compact(&mut self, revision: Revision) {
        let passed: Vec<Event> =
            self.events.range(self.compact_revision..revision).map(|(_, event)| event.clone()).collect();
        for event in passed {
            if let Some(previous) = event.prev_kv {
                self.events.remove(&previous.mod_revision);
            }
            if event.kind == EventKind::Delete {
                self.events.remove(&event.kv.mod_revision);
            }
        }
        self.compact_revision = revision;
    }
}

#[async_trait]
impl History for Log {
    async fn read(&self, scan: Scan) -> Result<Chunk, WatchError> {
        let log = self.lock();
        let Scan { range, from, before } = scan;
        if from < log.compact_revision {
            return Err(WatchError::Compacted { requested: from, compact_revision: log.compact_revision });
        }
        let concerns = |event: &&Event| range.contains(&event.kv.key);
        let found = log.events.range(from..before).map(|(_, event)| event).filter(concerns);
        let events: Vec<Event> = found.take(BATCH_EVENTS).cloned().collect();
        let next = match events.last() {
            Some(last) if events.len() == BATCH_EVENTS => last.kv.mod_revision + 1,
            _ => before,
        };
        Ok(Chunk { events, next })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::suite::{self, Fault, Subject};

    struct MemorySubject(Arc<Memory>);

    #[async_trait]
    impl Subject for MemorySubject {
        fn store(&self) -> Arc<dyn Store> {
            Arc::clone(&self.0) as Arc<dyn Store>
        }

        async fn reopen(&mut self) {}

        fn arm(&mut self, _: Fault) {}

        fn crashed(&self) -> bool {
            false
        }
    }

    fn subject(recent: usize) -> MemorySubject {
        MemorySubject(Arc::new(Memory::with_recent(RecentLimits { events: recent, bytes: usize::MAX })))
    }

    #[tokio::test]
    async fn it_does_the_basics() {
        suite::check_basics(&mut subject(100)).await;
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn it_does_what_the_model_does(steps in suite::steps(), recent in 0..8_usize) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(suite::check(&mut subject(recent), steps));
        }
    }
}
