//! The datastore as the registry and the watch cache see it: values are encrypted on their way in and decrypted on
//! their way out.
//!
//! This is the only way to the datastore's values. What cannot be decrypted stays as it is: whoever asks for it is told
//! which object it is and which key is missing, and nobody takes it for absent.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::Drain;
use bytes::Bytes;
use encryption::{Encryption, KeyName, Report, Resource, SealError, Transformers};
use futures::StreamExt;
use prometheus::proto::MetricFamily;
use store::{
    CompactError, EventKind, KeyRange, KeyValue, Operation, RangeError, RangeRequest, StatusError, Store, StoreStatus,
    Txn, TxnError, TxnResponse, Watch, WatchBatch, WatchError, WatchRequest,
};
use tokio::sync::watch;

use crate::cache::REGISTRY;

/// How many values are looked at at a time.
const PAGE: usize = 1000;

/// The datastore behind the encryption at rest.
pub(crate) struct Storage {
    store: Arc<dyn Store>,
    encryption: Encryption,
}

/// An object as it was before it was encrypted.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) kv: KeyValue,
    /// Whether it would be encrypted in another way if it were written now.
    pub(crate) is_stale: bool,
}

/// An object that is there and cannot be read.
#[derive(Clone, Debug, thiserror::Error)]
#[error("unable to read the stored object {key:?}: {reason}")]
pub(crate) struct Unreadable {
    /// Its key in the datastore.
    key: String,
    reason: String,
}

/// Some keys of a range.
pub(crate) struct Page {
    pub(crate) revision: i64,
    /// Each with its key.
    pub(crate) objects: Vec<(Bytes, Result<Stored, Unreadable>)>,
    pub(crate) more: bool,
    /// How many keys the range has, those that the limit left out included.
    pub(crate) count: usize,
}

/// Why a write was not made, or may not have been.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum WriteError {
    /// The object cannot be encrypted.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The datastore did not write it.
    #[error(transparent)]
    Txn(#[from] TxnError),
}

/// What a write came to.
pub(crate) enum Written {
    Applied(i64),
    /// Something else was there; `None` is nothing.
    Mismatch(Option<Result<Stored, Unreadable>>),
}

/// One write that a watch sees.
pub(crate) struct Change {
    pub(crate) key: Bytes,
    pub(crate) revision: i64,
    /// What was written; `None` if it was deleted.
    pub(crate) object: Option<Result<Stored, Unreadable>>,
}

/// Some writes in the order of their revisions.
pub(crate) struct Changes {
    pub(crate) changes: Vec<Change>,
    /// Everything up to this revision is in them or was before.
    pub(crate) revision: i64,
}

impl Storage {
    pub(crate) fn new(store: Arc<dyn Store>, encryption: Encryption) -> Self {
        Self { store, encryption }
    }

    /// Reads a range.
    pub(crate) async fn range(&self, request: RangeRequest) -> Result<Page, RangeError> {
        let range = self.store.range(request).await?;
        let by = self.encryption.current();
        let mut objects = Vec::with_capacity(range.kvs.len());
        for kv in range.kvs {
            objects.push((kv.key.clone(), open(&by, kv).await));
        }
        Ok(Page { revision: range.revision, objects, more: range.more, count: range.count })
    }

    /// The current revision, after every write that was acknowledged before this call.
    pub(crate) async fn revision(&self) -> Result<i64, RangeError> {
        Ok(self.store.range(RangeRequest::key(REGISTRY).count_only()).await?.revision)
    }

    /// Compares and writes.
    pub(crate) async fn write(&self, mut txn: Txn) -> Result<Written, WriteError> {
        let by = self.encryption.current();
        if let Operation::Put(plain) = &mut txn.operation {
            *plain = by.seal(resource(&txn.key), &txn.key, std::mem::take(plain)).await?;
        }
        Ok(match self.store.txn(txn).await? {
            TxnResponse::Applied { revision, .. } => Written::Applied(revision),
            TxnResponse::Mismatch { current: None, .. } => Written::Mismatch(None),
            TxnResponse::Mismatch { current: Some(kv), .. } => Written::Mismatch(Some(open(&by, kv).await)),
        })
    }

    /// Follows all objects from a revision on.
    pub(crate) async fn watch(&self, from: i64) -> Result<StorageWatch<'_>, WatchError> {
        let mut request = WatchRequest::new(KeyRange::prefix(REGISTRY)).from_revision(from);
        request.prev_kv = false;
        Ok(StorageWatch { watch: self.store.watch(request).await?, encryption: &self.encryption, batch: None })
    }

    /// See [`Store::compact`].
    pub(crate) async fn compact(&self, revision: i64) -> Result<(), CompactError> {
        self.store.compact(revision).await
    }

    /// See [`Store::status`].
    pub(crate) async fn status(&self) -> Result<StoreStatus, StatusError> {
        self.store.status().await
    }

    /// Tells when other keys are in use.
    pub(crate) fn keys_changed(&self) -> watch::Receiver<String> {
        self.encryption.subscribe()
    }

    /// What is measured of the encryption.
    pub(crate) fn metrics(&self) -> Vec<MetricFamily> {
        self.encryption.metrics()
    }

    /// The names of the checks of what encrypts.
    pub(crate) fn checks(&self) -> Vec<String> {
        self.encryption.checks()
    }

    /// Whether what encrypts is well.
    pub(crate) async fn check(&self, name: &str) -> bool {
        self.encryption.check(name).await
    }

    /// What is stored under which keys. All values are read, and none is decrypted.
    pub(crate) async fn report(&self) -> Result<Report, RangeError> {
        // The keys as they are before anything is counted: what is written with newer ones meanwhile is not stale.
        let (by, config_hash) = (self.encryption.current(), self.encryption.hash());
        let mut counts: BTreeMap<(String, String), BTreeMap<KeyName, usize>> = BTreeMap::new();
        let mut range = KeyRange::prefix(REGISTRY);
        let mut revision = None;
        loop {
            let mut request = RangeRequest::new(range.clone()).limit(PAGE);
            if let Some(revision) = revision {
                request = request.at(revision);
            }
            let page = self.store.range(request).await?;
            revision = revision.or(Some(page.revision));
            for kv in &page.kvs {
                let of = resource(&kv.key);
                let stored = counts.entry((of.group.to_owned(), of.plural.to_owned())).or_default();
                *stored.entry(KeyName::of(&kv.value)).or_default() += 1;
            }
            let Some(last) = page.kvs.last().filter(|_| page.more) else { break };
            range.start = [&last.key[..], b"\0"].concat().into();
        }
        Ok(by.report(config_hash, counts))
    }

    /// Follows the configuration of the encryption until `drain`.
    pub(crate) async fn run(self: Arc<Self>, drain: Drain) {
        self.encryption.run(drain).await;
    }
}

/// A running watch.
pub(crate) struct StorageWatch<'a> {
    watch: Watch,
    encryption: &'a Encryption,
    /// What came and was not yet all decrypted.
    batch: Option<WatchBatch>,
}

impl StorageWatch<'_> {
    /// The next writes. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Result<Changes, WatchError>> {
        let batch = match self.batch.take() {
            Some(batch) => batch,
            None => match self.watch.next().await? {
                Ok(batch) => batch,
                Err(err) => return Some(Err(err)),
            },
        };
        let batch = self.batch.insert(batch);
        let by = self.encryption.current();
        let mut changes = Vec::with_capacity(batch.events.len());
        for event in &batch.events {
            let (key, revision) = (event.kv.key.clone(), event.kv.mod_revision);
            let object = match event.kind {
                EventKind::Put => Some(open(&by, event.kv.clone()).await),
                EventKind::Delete => None,
            };
            changes.push(Change { key, revision, object });
        }
        let revision = batch.revision;
        self.batch = None;
        Some(Ok(Changes { changes, revision }))
    }
}

/// The resource of a key: its group and name follow the beginning of all keys.
fn resource(key: &[u8]) -> Resource<'_> {
    let rest = std::str::from_utf8(key).ok().and_then(|key| key.strip_prefix(REGISTRY)).unwrap_or_default();
    let mut parts = rest.split('/');
    let (group, plural) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    Resource { group: if group == "core" { "" } else { group }, plural }
}

async fn open(by: &Transformers, mut kv: KeyValue) -> Result<Stored, Unreadable> {
    let stored = kv.value.clone();
    let opened = by.open(resource(&kv.key), &kv.key, std::mem::take(&mut kv.value)).await;
    let reason = match opened {
        // AES-CBC does not notice that its key is another one.
        Ok(opened) if opened.value.as_ptr() != stored.as_ptr() && opened.value.first() != Some(&b'{') => {
            "what it decrypts to is not an object: the key is another one, or the value was changed".to_owned()
        }
        Ok(opened) => {
            kv.value = opened.value;
            return Ok(Stored { kv, is_stale: opened.is_stale });
        }
        Err(err) => err.to_string(),
    };
    Err(Unreadable { key: String::from_utf8_lossy(&kv.key).into_owned(), reason })
}
