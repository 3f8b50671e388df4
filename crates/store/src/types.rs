//! Requests, answers and the data they carry.

use bytes::Bytes;

use crate::error::TxnError;

/// A point in the history of the whole store.
pub type Revision = i64;

/// The most bytes that key and value of one write may have together (etcd's default, so that data fits both engines).
pub const MAX_REQUEST_BYTES: usize = 1536 * 1024;

/// A key with its value and its place in history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// The value; empty in deletions and where only keys were asked for.
    pub value: Bytes,
    /// The revision that created the key (after its last deletion); 0 in deletions.
    pub create_revision: Revision,
    /// The revision that wrote this state.
    pub mod_revision: Revision,
    /// How many writes there were since creation, which is version 1; 0 in deletions.
    pub version: i64,
}

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// It was created or overwritten.
    Put,
    /// It was deleted.
    Delete,
}

/// One write, as watches see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Put or deletion.
    pub kind: EventKind,
    /// The new state. For a deletion only `key` and `mod_revision` (that of the deletion) are set.
    pub kv: KeyValue,
    /// The state before, if there was one and the watch asked for it.
    pub prev_kv: Option<KeyValue>,
}

/// A range of keys in byte order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    /// The first key.
    pub start: Bytes,
    /// The end, exclusive; `None` reaches to the last key.
    pub end: Option<Bytes>,
}

impl KeyRange {
    /// Every key.
    pub fn all() -> Self {
        Self { start: Bytes::new(), end: None }
    }

    /// Exactly this key.
    pub fn key(key: impl Into<Bytes>) -> Self {
        let start = key.into();
        let mut end = Vec::with_capacity(start.len() + 1);
        end.extend_from_slice(&start);
        end.push(0);
        Self { start, end: Some(end.into()) }
    }

    /// The keys that begin with `prefix`.
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        let start = prefix.into();
        // The end is the prefix with its last byte that can grow increased by one.
        let end = start.iter().rposition(|&byte| byte < u8::MAX).map(|last| {
            let mut end = start[..=last].to_vec();
            end[last] += 1;
            end.into()
        });
        Self { start, end }
    }

    /// The keys from `start` to `end`, exclusive.
    pub fn span(start: impl Into<Bytes>, end: impl Into<Bytes>) -> Self {
        Self { start: start.into(), end: Some(end.into()) }
    }

    /// Whether `key` lies in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        *self.start <= *key && self.end.as_ref().is_none_or(|end| *key < **end)
    }

    /// Whether no key can lie in the range.
    pub(crate) fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }
}

/// How much of each key a range returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Projection {
    /// Keys with values.
    #[default]
    Full,
    /// Keys with empty values.
    KeysOnly,
    /// No keys, only their count.
    CountOnly,
}

/// A read of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeRequest {
    /// The keys.
    pub range: KeyRange,
    /// The revision to read at; `None` is the current one.
    pub revision: Option<Revision>,
    /// The most keys to return; 0 is no limit.
    pub limit: usize,
    /// How much of each key to return.
    pub projection: Projection,
}

impl RangeRequest {
    /// Reads all keys of `range` at the current revision.
    pub fn new(range: KeyRange) -> Self {
        Self { range, revision: None, limit: 0, projection: Projection::Full }
    }

    /// Reads one key.
    pub fn key(key: impl Into<Bytes>) -> Self {
        Self::new(KeyRange::key(key))
    }

    /// Reads the keys that begin with `prefix`.
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        Self::new(KeyRange::prefix(prefix))
    }

    /// The same, at `revision`.
    pub fn at(self, revision: Revision) -> Self {
        Self { revision: Some(revision), ..self }
    }

    /// The same, with at most `limit` keys (0: all).
    pub fn limit(self, limit: usize) -> Self {
        Self { limit, ..self }
    }

    /// The same, without values.
    pub fn keys_only(self) -> Self {
        Self { projection: Projection::KeysOnly, ..self }
    }

    /// The same, only counting.
    pub fn count_only(self) -> Self {
        Self { projection: Projection::CountOnly, ..self }
    }
}

/// The answer to a [`RangeRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeResponse {
    /// The current revision of the store, also when the read was at an earlier one.
    pub revision: Revision,
    /// The keys in byte order.
    pub kvs: Vec<KeyValue>,
    /// Whether the limit left keys out.
    pub more: bool,
    /// How many keys the range has, whatever the limit.
    pub count: usize,
}

/// What a transaction does when its compare holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Sets the value.
    Put(Bytes),
    /// Deletes the key.
    Delete,
}

/// A compare and a write of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Txn {
    /// The key that is compared and written.
    pub key: Bytes,
    /// The modification revision that the key must have, 0 where it must not exist; `None` does not compare.
    pub compare: Option<Revision>,
    /// The write.
    pub operation: Operation,
}

impl Txn {
    /// Puts a key that must not exist.
    pub fn create(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self::put(key, value).expecting(0)
    }

    /// Puts a key whatever is there.
    pub fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self { key: key.into(), compare: None, operation: Operation::Put(value.into()) }
    }

    /// Deletes a key whatever is there.
    pub fn delete(key: impl Into<Bytes>) -> Self {
        Self { key: key.into(), compare: None, operation: Operation::Delete }
    }

    /// The same, if the key's modification revision is `mod_revision` (0: if it does not exist).
    pub fn expecting(self, mod_revision: Revision) -> Self {
        Self { compare: Some(mod_revision), ..self }
    }

    /// How many bytes the write carries.
    pub(crate) fn size(&self) -> usize {
        let value = match &self.operation {
            Operation::Put(value) => value.len(),
            Operation::Delete => 0,
        };
        self.key.len() + value
    }

    /// Refuses what no engine accepts.
    pub(crate) fn check(&self) -> Result<(), TxnError> {
        if self.key.is_empty() {
            return Err(TxnError::EmptyKey);
        }
        let size = self.size();
        if size > MAX_REQUEST_BYTES {
            let key = String::from_utf8_lossy(&self.key).into_owned();
            return Err(TxnError::TooLarge { key, size, limit: MAX_REQUEST_BYTES });
        }
        Ok(())
    }
}

/// The answer to a [`Txn`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TxnResponse {
    /// The compare held and the write is durable.
    Applied {
        /// The revision of the write, which is the key's modification revision; the current revision where a deletion
        /// found nothing.
        revision: Revision,
        /// The state before.
        previous: Option<KeyValue>,
    },
    /// The compare did not hold and nothing was written.
    Mismatch {
        /// The revision of the store at which it was compared.
        revision: Revision,
        /// The key as it is.
        current: Option<KeyValue>,
    },
}

/// The state of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreStatus {
    /// The current revision.
    pub revision: Revision,
    /// The oldest revision that can be read or watched from; 0 before the first compaction.
    pub compact_revision: Revision,
    /// How many bytes the store takes on disk; 0 for one in memory.
    pub bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(range: KeyRange, inside: &[&[u8]], outside: &[&[u8]]) {
        for key in inside {
            assert!(range.contains(key), "{key:?} should be in {range:?}");
        }
        for key in outside {
            assert!(!range.contains(key), "{key:?} should not be in {range:?}");
        }
    }

    #[test]
    fn ranges_hold_what_their_constructors_say() {
        check(KeyRange::key("a"), &[b"a"], &[b"", b"a\0", b"b"]);
        check(KeyRange::prefix("/a/"), &[b"/a/", b"/a/\xff\xff", b"/a/b"], &[b"/a", b"/a0", b"/b"]);
        check(KeyRange::prefix(&b"a\xff"[..]), &[b"a\xff", b"a\xff\xff"], &[b"a", b"b"]);
        check(KeyRange::prefix(&b"\xff"[..]), &[b"\xff", b"\xff\xff"], &[b"a"]);
        check(KeyRange::prefix(""), &[b"", b"\xff"], &[]);
        check(KeyRange::span("b", "a"), &[], &[b"a", b"b"]);
    }
}
