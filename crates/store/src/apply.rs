//! The pure part of an engine: transactions and ranges on the map of live keys.

use bytes::Bytes;
use std::ops::Bound;

use crate::types::{
    Event, EventKind, KeyRange, KeyValue, Operation, Projection, RangeRequest, RangeResponse, Revision, Txn,
    TxnResponse,
};

/// The live keys. Immutable: a clone is a snapshot and costs nothing.
pub(crate) type Live = imbl::OrdMap<Bytes, KeyValue>;

/// Applies `txn` to the keys as they are at `revision`. A write advances `revision` by one and is returned as its event.
pub(crate) fn apply(live: &mut Live, revision: &mut Revision, txn: Txn) -> (TxnResponse, Option<Event>) {
    let Txn { key, compare, operation } = txn;
    let current = live.get(&key).cloned();
    if compare.is_some_and(|expected| expected != current.as_ref().map_or(0, |kv| kv.mod_revision)) {
        return (TxnResponse::Mismatch { revision: *revision, current }, None);
    }
    let next = *revision + 1;
    let event = match operation {
        Operation::Put(value) => {
            let (create_revision, version) =
                current.as_ref().map_or((next, 1), |kv| (kv.create_revision, kv.version + 1));
            let kv = KeyValue { key: key.clone(), value, create_revision, mod_revision: next, version };
            live.insert(key, kv.clone());
            Event { kind: EventKind::Put, kv, prev_kv: current.clone() }
        }
        Operation::Delete if current.is_none() => {
            return (TxnResponse::Applied { revision: *revision, previous: None }, None);
        }
        Operation::Delete => {
            live.remove(&key);
            Event { kind: EventKind::Delete, kv: deleted(key, next), prev_kv: current.clone() }
        }
    };
    *revision = next;
    (TxnResponse::Applied { revision: next, previous: current }, Some(event))
}

/// The state that a deletion leaves.
pub(crate) fn deleted(key: Bytes, revision: Revision) -> KeyValue {
    KeyValue { key, value: Bytes::new(), create_revision: 0, mod_revision: revision, version: 0 }
}

/// Reads a range of the live keys; `revision` is the store's current one.
pub(crate) fn range(live: &Live, revision: Revision, request: &RangeRequest) -> RangeResponse {
    let limit = if request.limit == 0 { usize::MAX } else { request.limit };
    let mut kvs = Vec::new();
    let mut count = 0;
    for (_, kv) in live_range(live, &request.range) {
        count += 1;
        if count <= limit {
            match request.projection {
                Projection::Full => kvs.push(kv.clone()),
                Projection::KeysOnly => kvs.push(KeyValue { value: Bytes::new(), ..kv.clone() }),
                Projection::CountOnly => {}
            }
        }
    }
    RangeResponse { revision, kvs, more: request.projection != Projection::CountOnly && count > limit, count }
}

fn live_range<'live>(live: &'live Live, range: &KeyRange) -> impl Iterator<Item = (&'live Bytes, &'live KeyValue)> {
    // A range that ends before it starts is empty, not a mistake; the map would panic.
    let end = match &range.end {
        _ if range.is_empty() => Bound::Excluded(range.start.clone()),
        Some(end) => Bound::Excluded(end.clone()),
        None => Bound::Unbounded,
    };
    live.range((Bound::Included(range.start.clone()), end))
}
