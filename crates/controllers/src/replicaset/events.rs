//! Which replica sets a change of a replica set or a pod concerns, and what it fulfils of what was expected.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::selector::LabelSelector;
use client::{Event, ObjectKey, Queue, objects};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use super::ReplicaSets;

impl ReplicaSets {
    pub(super) fn on_replica_set(&self, event: &Event<ReplicaSet>, queue: &Queue<ObjectKey>) {
        let key = ObjectKey::of(&**event.object());
        if event.is_deleted() {
            // A namesake must not wait for what this one expected.
            self.expectations.forget(&key);
        }
        queue.add(key);
    }

    pub(super) fn on_pod(&self, event: &Event<Pod>, queue: &Queue<ObjectKey>) {
        match event {
            Event::Added(pod) => self.on_pod_added(pod, queue),
            Event::Updated { old, new } => self.on_pod_updated(old, new, queue),
            Event::Deleted(pod) => self.on_pod_leaving(pod, queue),
        }
    }

    fn on_pod_added(&self, pod: &Pod, queue: &Queue<ObjectKey>) {
        if let Some(owner) = objects::controller_of(&pod.metadata) {
            if let Some(replica_set) = self.resolve(pod, owner) {
                let key = ObjectKey::of(&*replica_set);
                self.expectations.creation_observed(&key);
                queue.add(key);
            }
            if objects::is_deleting(pod) {
                self.on_pod_leaving(pod, queue);
            }
        } else if !objects::is_deleting(pod) {
            self.enqueue_matching(pod, queue);
        }
    }

    fn on_pod_updated(&self, old: &Pod, new: &Pod, queue: &Queue<ObjectKey>) {
        if objects::is_deleting(new) {
            // Deletion with a grace period begins as an update. The pod is no longer counted from here on.
            self.on_pod_leaving(new, queue);
        }
        let (before, after) = (objects::controller_of(&old.metadata), objects::controller_of(&new.metadata));
        if let Some(owner) = before
            && before != after
            && let Some(replica_set) = self.resolve(old, owner)
        {
            queue.add(ObjectKey::of(&*replica_set));
        }
        match after {
            Some(owner) => queue_all(self.resolve(new, owner), queue),
            None if before.is_some() || old.metadata.labels != new.metadata.labels => {
                self.enqueue_matching(new, queue);
            }
            None => {}
        }
    }

    fn on_pod_leaving(&self, pod: &Pod, queue: &Queue<ObjectKey>) {
        let Some(owner) = objects::controller_of(&pod.metadata) else { return };
        let Some(replica_set) = self.resolve(pod, owner) else { return };
        let key = ObjectKey::of(&*replica_set);
        self.expectations.deletion_observed(&key, objects::uid(pod));
        queue.add(key);
    }

    /// The replica set that a reference means, if it is one and is still that one.
    fn resolve(&self, pod: &Pod, owner: &OwnerReference) -> Option<Arc<ReplicaSet>> {
        if owner.kind != "ReplicaSet" || !owner.api_version.starts_with("apps/") {
            return None;
        }
        let found = self.replica_sets.get(Some(objects::namespace(pod)), &owner.name)?;
        (objects::uid(&*found) == owner.uid).then_some(found)
    }

    /// A pod without controller concerns all that might adopt it.
    fn enqueue_matching(&self, pod: &Pod, queue: &Queue<ObjectKey>) {
        let empty = BTreeMap::new();
        let labels = pod.metadata.labels.as_ref().unwrap_or(&empty);
        let all = self.replica_sets.in_namespace(objects::namespace(pod));
        queue_all(all.into_iter().filter(|replica_set| selects(replica_set, labels)), queue);
    }
}

fn selects(replica_set: &ReplicaSet, labels: &BTreeMap<String, String>) -> bool {
    let selector = replica_set.spec.as_ref().and_then(|spec| LabelSelector::from_k8s(&spec.selector).ok());
    selector.is_some_and(|selector| !selector.is_empty() && selector.matches(labels))
}

fn queue_all(replica_sets: impl IntoIterator<Item = Arc<ReplicaSet>>, queue: &Queue<ObjectKey>) {
    for replica_set in replica_sets {
        queue.add(ObjectKey::of(&*replica_set));
    }
}
