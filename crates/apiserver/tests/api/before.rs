//! A datastore in which something happens just before a transaction: somebody else is first, or there is a fault.

use async_trait::async_trait;
use store::{
    CompactError, Memory, RangeError, RangeRequest, RangeResponse, Revision, StatusError, Store, StoreStatus, Txn,
    TxnError, TxnResponse, Watch, WatchError, WatchRequest,
};

/// A datastore in memory, where `before` says of a transaction which other one is made first.
pub struct Before<F> {
    inner: Memory,
    before: F,
}

impl<F: Fn(&Txn) -> Option<Txn> + Send + Sync + 'static> Before<F> {
    pub fn new(before: F) -> Self {
        Self { inner: Memory::new(), before }
    }
}

#[async_trait]
impl<F: Fn(&Txn) -> Option<Txn> + Send + Sync + 'static> Store for Before<F> {
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, RangeError> {
        self.inner.range(request).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse, TxnError> {
        if let Some(first) = (self.before)(&txn) {
            self.inner.txn(first).await?;
        }
        self.inner.txn(txn).await
    }

    async fn watch(&self, request: WatchRequest) -> Result<Watch, WatchError> {
        self.inner.watch(request).await
    }

    async fn compact(&self, revision: Revision) -> Result<(), CompactError> {
        self.inner.compact(revision).await
    }

    async fn status(&self) -> Result<StoreStatus, StatusError> {
        self.inner.status().await
    }
}
