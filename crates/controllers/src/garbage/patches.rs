//! The small writes of the garbage collector: references and finalizers taken away.
//!
//! All are merge patches of a whole list with the version it was read at, since not every kind (custom resources)
//! knows strategic ones.

use client::{Metadata, objects};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::Collector;
use super::item::Item;
use crate::error::{Attempt, SyncError};

impl Collector {
    /// Takes the references to these owners away.
    pub(super) async fn unlink(&self, item: &Item, object: &Metadata, uids: &[String]) -> Result<(), SyncError> {
        let mut owners = object.metadata.owner_references.clone().unwrap_or_default();
        owners.retain(|owner| !uids.contains(&owner.uid));
        self.patch(item, object, json!({ "ownerReferences": owners })).await
    }

    /// Lets no owner wait for this object any more.
    pub(super) async fn unblock(&self, item: &Item, object: &Metadata) -> Result<(), SyncError> {
        let mut owners = object.metadata.owner_references.clone().unwrap_or_default();
        for owner in &mut owners {
            owner.block_owner_deletion = Some(false);
        }
        self.patch(item, object, json!({ "ownerReferences": owners })).await
    }

    /// Takes a finalizer away.
    pub(super) async fn remove_finalizer(
        &self,
        item: &Item,
        object: &Metadata,
        finalizer: &str,
    ) -> Result<(), SyncError> {
        let mut finalizers = object.metadata.finalizers.clone().unwrap_or_default();
        finalizers.retain(|known| known != finalizer);
        self.patch(item, object, json!({ "finalizers": finalizers })).await
    }

    async fn patch(&self, item: &Item, object: &Metadata, mut metadata: Value) -> Result<(), SyncError> {
        metadata["uid"] = json!(item.uid);
        metadata["resourceVersion"] = json!(object.metadata.resource_version);
        let patch = Patch::Merge(json!({ "metadata": metadata }));
        let patched = self.api(item).patch_metadata(&item.key.name, &PatchParams::default(), &patch).await;
        objects::ignore_not_found(patched).attempt("change metadata of", &item.key)?;
        Ok(())
    }
}
