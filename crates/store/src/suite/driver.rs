//! Takes the steps with an engine and the model side by side.

use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;

use super::Subject;
use super::model::Model;
use super::steps::{Compare, Step, Write};
use crate::error::{CompactError, RangeError, WatchError};
use crate::types::{KeyRange, Operation, Projection, RangeRequest, Revision, Txn, TxnResponse};
use crate::watch::{Watch, WatchRequest};

/// Nothing takes this long; it turns a hang into a failure.
const DEADLINE: Duration = Duration::from_secs(60);

/// Takes `steps` with `subject`, which is empty, and panics where it does not do what the model does.
pub(crate) async fn check(subject: &mut dyn Subject, steps: Vec<Step>) {
    let mut run = Run { subject, model: Model::new(), watches: Vec::new() };
    for step in steps {
        run.take(step).await;
    }
    run.reopen().await;
    run.compare_all().await;
}

struct Run<'a> {
    subject: &'a mut dyn Subject,
    model: Model,
    watches: Vec<OpenWatch>,
}

struct OpenWatch {
    watch: Watch,
    range: KeyRange,
    /// The first revision whose events have not been seen.
    next: Revision,
}

impl Run<'_> {
    async fn take(&mut self, step: Step) {
        match step {
            Step::Writes(writes) => self.write(writes).await,
            Step::Range { range, back, limit, projection } => {
                let revision = back.map(|back| self.model.revision() - back).filter(|revision| *revision > 0);
                self.compare_range(RangeRequest { range, revision, limit, projection }).await;
            }
            Step::Watch { range, back } => {
                let start = back.map(|back| self.model.revision() + 1 - back).filter(|revision| *revision > 0);
                self.watch(range, start).await;
            }
            Step::ReadWatch(index) if !self.watches.is_empty() => {
                let index = index.index(self.watches.len());
                self.read_watch(index).await;
            }
            Step::ReadWatch(_) => {}
            Step::Compact { back } => self.compact(self.model.revision() - back).await,
            Step::Arm(fault) => self.subject.arm(fault),
            Step::Reopen => self.reopen().await,
        }
        if self.subject.crashed() {
            self.reopen().await;
        }
    }

    async fn write(&mut self, writes: Vec<Write>) {
        // The compares are drawn from the state before all of them, so that some of the later ones fail.
        let txns: Vec<Txn> = writes.into_iter().map(|write| self.txn(write)).collect();
        let store = self.subject.store();
        let results = join_all(txns.iter().map(|txn| store.txn(txn.clone()))).await;
        drop(store);
        let mut unknown = Vec::new();
        for (txn, result) in txns.iter().zip(results) {
            match result {
                Ok(response) => assert_eq!(response, self.model.apply(txn), "{txn:?}"),
                Err(_) => unknown.push(txn),
            }
        }
        if !self.subject.crashed() {
            // What failed without a crash did not happen; the next comparison shows it.
            return;
        }
        // Of what was not acknowledged, the first ones may have been made durable.
        self.reopen().await;
        let status = self.subject.store().status().await.expect("a store that was just opened has a status");
        let acknowledged = self.model.revision();
        let mut unknown = unknown.into_iter();
        while self.model.revision() < status.revision {
            let txn = unknown.next().unwrap_or_else(|| {
                panic!("revision {} after a crash, {acknowledged} was the last acknowledged", status.revision)
            });
            self.model.apply(txn);
        }
        self.compare_all().await;
    }

    fn txn(&self, write: Write) -> Txn {
        let Write { key, value, compare } = write;
        let compare = match compare {
            Compare::Nothing => None,
            Compare::Current => Some(self.model.current(&key).map_or(0, |kv| kv.mod_revision)),
            Compare::Absent => Some(0),
            Compare::Stale => Some((self.model.revision() - 2).max(0)),
        };
        let operation = value.map_or(Operation::Delete, Operation::Put);
        Txn { key, compare, operation }
    }

    async fn compare_range(&self, request: RangeRequest) {
        let (current, compact_revision) = (self.model.revision(), self.model.compact_revision);
        let requested = request.revision.unwrap_or(current);
        match self.subject.store().range(request.clone()).await {
            Ok(response) => {
                assert!(compact_revision <= requested && requested <= current, "{request:?} gave {response:?}");
                assert_eq!(response, self.model.range(&request), "{request:?}");
            }
            Err(RangeError::Compacted { requested: at, compact_revision: compacted }) => {
                assert_eq!((at, compacted), (requested, compact_revision));
                assert!(requested < compact_revision, "{request:?} is not compacted at {compact_revision}");
            }
            Err(RangeError::FutureRevision { requested: at, current: now }) => {
                assert_eq!((at, now), (requested, current));
                assert!(requested > current, "{request:?} is not in the future of {current}");
            }
            Err(err @ RangeError::Storage(_)) => panic!("{request:?} failed: {err:?}"),
        }
    }

    async fn watch(&mut self, range: KeyRange, start_revision: Option<Revision>) {
        let request = WatchRequest { range: range.clone(), start_revision, prev_kv: true, progress_interval: None };
        let next = start_revision.unwrap_or(self.model.revision() + 1);
        match self.subject.store().watch(request).await {
            Ok(watch) => {
                assert!(next >= self.model.compact_revision, "a watch from {next} began in what is compacted");
                self.watches.push(OpenWatch { watch, range, next });
            }
            Err(WatchError::Compacted { requested, compact_revision }) => {
                assert_eq!((requested, compact_revision), (next, self.model.compact_revision));
                assert!(next < compact_revision);
            }
            // It had stopped by a crash in the background.
            Err(WatchError::Storage(_)) => assert!(self.subject.crashed()),
        }
    }

    /// Reads a watch until it has delivered everything, and compares what it delivered.
    async fn read_watch(&mut self, index: usize) {
        let (model, crashed) = (&self.model, self.subject.crashed());
        let OpenWatch { watch, range, next } = &mut self.watches[index];
        watch.progress().request();
        let mut expected = model.events(range, *next).into_iter();
        loop {
            let batch = tokio::time::timeout(DEADLINE, watch.next()).await.expect("a watch answers a progress request");
            match batch.expect("a watch does not end without an error") {
                Ok(batch) => {
                    for event in batch.events {
                        assert_eq!(Some(event), expected.next(), "of a watch of {range:?} from {next}");
                    }
                    *next = (*next).max(batch.revision + 1);
                    if batch.revision >= model.revision() {
                        assert_eq!(expected.next(), None, "a watch of {range:?} left this out before {next}");
                        return;
                    }
                }
                Err(WatchError::Compacted { requested, compact_revision }) => {
                    assert!(*next <= requested && requested < compact_revision);
                    assert_eq!(compact_revision, model.compact_revision);
                    break;
                }
                Err(WatchError::Storage(err)) => {
                    assert!(crashed || self.subject.crashed(), "a watch ended by {err:?}");
                    break;
                }
            }
        }
        self.watches.swap_remove(index);
    }

    async fn compact(&mut self, revision: Revision) {
        let (current, compact_revision) = (self.model.revision(), self.model.compact_revision);
        // In a statement of its own, so that nobody holds the store when it is reopened.
        let result = self.subject.store().compact(revision).await;
        match result {
            Ok(()) => {
                assert!(compact_revision < revision && revision <= current);
                self.model.compact_revision = revision;
            }
            Err(CompactError::Compacted { .. }) => assert!(revision <= compact_revision),
            Err(CompactError::FutureRevision { .. }) => assert!(revision > current),
            Err(CompactError::Storage(_)) if self.subject.crashed() => {
                self.reopen().await;
                let status = self.subject.store().status().await.expect("a store that was just opened has a status");
                assert!([compact_revision, revision].contains(&status.compact_revision));
                self.model.compact_revision = status.compact_revision;
                self.compare_all().await;
            }
            Err(CompactError::Storage(_)) => {}
        }
    }

    async fn reopen(&mut self) {
        self.watches.clear();
        self.subject.reopen().await;
    }

    /// Compares all that can be read: every revision, and the events from every revision on.
    async fn compare_all(&mut self) {
        let status = self.subject.store().status().await.expect("an open store has a status");
        assert_eq!(
            (status.revision, status.compact_revision),
            (self.model.revision(), self.model.compact_revision),
            "current and compact revision"
        );
        let first = self.model.compact_revision.max(1);
        for revision in first - 1..=self.model.revision() + 1 {
            if revision > 0 {
                self.compare_range(RangeRequest::new(KeyRange::all()).at(revision)).await;
            }
        }
        for revision in [first, self.model.revision()] {
            let open = self.watches.len();
            self.watch(KeyRange::all(), Some(revision)).await;
            if self.watches.len() > open {
                self.read_watch(open).await;
                self.watches.truncate(open);
            }
        }
    }
}

/// What every engine does, in the order of a short story; the random steps cover the rest.
pub(crate) async fn check_basics(subject: &mut dyn Subject) {
    let store = subject.store();
    let created = store.txn(Txn::create("/a", "1")).await.expect("a new key can be created");
    assert_eq!(created, TxnResponse::Applied { revision: 2, previous: None });
    let TxnResponse::Mismatch { revision: 2, current: Some(current) } =
        store.txn(Txn::create("/a", "2")).await.expect("a compare is no error")
    else {
        panic!("creating a key twice should show the key that is there")
    };
    assert_eq!((&current.value[..], current.version), (&b"1"[..], 1));
    store.txn(Txn::put("/a", "3").expecting(2)).await.expect("a compare that holds writes");
    let response = store.range(RangeRequest::prefix("/")).await.expect("the current revision can be read");
    assert_eq!((response.revision, response.kvs[0].mod_revision, response.kvs[0].create_revision), (3, 3, 2));
    let counted = RangeRequest { projection: Projection::CountOnly, ..RangeRequest::prefix("/") };
    assert_eq!(store.range(counted).await.expect("a range can be counted").count, 1);
}
