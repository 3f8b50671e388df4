//! What this controller has written and its informer may not have shown yet.
//!
//! A sync that does not see a slice it has just created would create another one with the same endpoints.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use client::{ObjectKey, objects};
use k8s_openapi::api::discovery::v1::EndpointSlice;

/// Per service, the resource version of our last write to each of its slices, by UID.
#[derive(Default)]
pub(super) struct Tracker(Mutex<HashMap<ObjectKey, HashMap<String, u64>>>);

fn version(slice: &EndpointSlice) -> u64 {
    slice.metadata.resource_version.as_ref().and_then(|version| version.parse().ok()).unwrap_or_default()
}

impl Tracker {
    fn written_by_service(&self) -> std::sync::MutexGuard<'_, HashMap<ObjectKey, HashMap<String, u64>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn written(&self, service: &ObjectKey, slice: &EndpointSlice) {
        let mut all = self.written_by_service();
        all.entry(service.clone()).or_default().insert(objects::uid(slice).to_owned(), version(slice));
    }

    pub(super) fn deleted(&self, service: &ObjectKey, slice: &EndpointSlice) {
        if let Some(written) = self.written_by_service().get_mut(service) {
            written.remove(objects::uid(slice));
        }
    }

    pub(super) fn forget(&self, service: &ObjectKey) {
        self.written_by_service().remove(service);
    }

    /// Whether `seen` is older than what we have written.
    pub(super) fn is_stale(&self, service: &ObjectKey, seen: &[Arc<EndpointSlice>]) -> bool {
        let all = self.written_by_service();
        let Some(written) = all.get(service) else { return false };
        written.iter().any(|(uid, written)| {
            let found = seen.iter().find(|slice| objects::uid(&***slice) == uid);
            found.is_none_or(|slice| version(slice) < *written)
        })
    }
}
