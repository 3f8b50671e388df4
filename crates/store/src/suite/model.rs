//! What a store should do, as simply as it can be said: a list of all writes, read from its beginning each time.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::apply::deleted;
use crate::types::{
    Event, EventKind, KeyRange, KeyValue, Operation, Projection, RangeRequest, RangeResponse, Revision, Txn,
    TxnResponse,
};

#[derive(Clone, Debug)]
pub(crate) struct Model {
    /// Key and value, or `None` for a deletion; the first has revision 2.
    writes: Vec<(Bytes, Option<Bytes>)>,
    pub compact_revision: Revision,
}

impl Model {
    pub fn new() -> Self {
        Self { writes: Vec::new(), compact_revision: 0 }
    }

    pub fn revision(&self) -> Revision {
        1 + Revision::try_from(self.writes.len()).expect("a test has few writes")
    }

    fn numbered(&self) -> impl Iterator<Item = (Revision, &Bytes, Option<&Bytes>)> {
        (2..).zip(&self.writes).map(|(revision, (key, value))| (revision, key, value.as_ref()))
    }

    fn state_at(&self, at: Revision) -> BTreeMap<Bytes, KeyValue> {
        let mut state: BTreeMap<Bytes, KeyValue> = BTreeMap::new();
        for (revision, key, value) in self.numbered().filter(|(revision, ..)| *revision <= at) {
            let Some(value) = value else {
                state.remove(key);
                continue;
            };
            let created = KeyValue {
                key: key.clone(),
                value: Bytes::new(),
                create_revision: revision,
                mod_revision: revision,
                version: 0,
            };
            let kv = state.entry(key.clone()).or_insert(created);
            (kv.value, kv.mod_revision) = (value.clone(), revision);
            kv.version += 1;
        }
        state
    }

    pub fn current(&self, key: &Bytes) -> Option<KeyValue> {
        self.state_at(self.revision()).get(key).cloned()
    }

    pub fn apply(&mut self, txn: &Txn) -> TxnResponse {
        let current = self.current(&txn.key);
        let mod_revision = current.as_ref().map_or(0, |kv| kv.mod_revision);
        if txn.compare.is_some_and(|compare| compare != mod_revision) {
            return TxnResponse::Mismatch { revision: self.revision(), current };
        }
        match &txn.operation {
            Operation::Put(value) => self.writes.push((txn.key.clone(), Some(value.clone()))),
            Operation::Delete if current.is_some() => self.writes.push((txn.key.clone(), None)),
            Operation::Delete => {}
        }
        TxnResponse::Applied { revision: self.revision(), previous: current }
    }

    pub fn range(&self, request: &RangeRequest) -> RangeResponse {
        let state = self.state_at(request.revision.unwrap_or(self.revision()));
        let mut kvs: Vec<KeyValue> = state.into_values().filter(|kv| request.range.contains(&kv.key)).collect();
        let count = kvs.len();
        if request.limit > 0 {
            kvs.truncate(request.limit);
        }
        let mut more = kvs.len() < count;
        match request.projection {
            Projection::Full => {}
            Projection::KeysOnly => kvs.iter_mut().for_each(|kv| kv.value = Bytes::new()),
            Projection::CountOnly => {
                kvs.clear();
                more = false;
            }
        }
        RangeResponse { revision: self.revision(), kvs, more, count }
    }

    /// The events in `range` with revisions from `from` on.
    pub fn events(&self, range: &KeyRange, from: Revision) -> Vec<Event> {
        let wanted = |(revision, key, _): &(Revision, &Bytes, _)| *revision >= from && range.contains(key);
        self.numbered()
            .filter(wanted)
            .map(|(revision, key, value)| {
                let prev_kv = self.state_at(revision - 1).get(key).cloned();
                match value {
                    Some(_) => Event { kind: EventKind::Put, kv: self.state_at(revision)[key].clone(), prev_kv },
                    None => Event { kind: EventKind::Delete, kv: deleted(key.clone(), revision), prev_kv },
                }
            })
            .collect()
    }
}
