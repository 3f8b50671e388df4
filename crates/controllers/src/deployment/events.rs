//! Which deployments a change of a replica set or a pod concerns.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::selector::LabelSelector;
use client::{Event, ObjectKey, Queue, objects};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use super::{BY_CONTROLLER, Deployments, limits};

impl Deployments {
    pub(super) fn on_replica_set(&self, event: &Event<ReplicaSet>, queue: &Queue<ObjectKey>) {
        let set = event.object();
        let (before, after) = match event {
            Event::Updated { old, new } => {
                (objects::controller_of(&old.metadata), objects::controller_of(&new.metadata))
            }
            Event::Added(set) | Event::Deleted(set) => (None, objects::controller_of(&set.metadata)),
        };
        for owner in before.filter(|owner| Some(*owner) != after).into_iter().chain(after) {
            if let Some(deployment) = self.resolve(objects::namespace(&**set), owner) {
                queue.add(ObjectKey::of(&*deployment));
            }
        }
        let relabelled = event.old().is_none_or(|old| old.metadata.labels != set.metadata.labels);
        if after.is_none() && !event.is_deleted() && (before.is_some() || relabelled) {
            self.enqueue_matching(set, queue);
        }
    }

    /// The last old pod is gone: a deployment that recreates can go on.
    pub(super) fn on_pod(&self, event: &Event<Pod>, queue: &Queue<ObjectKey>) {
        let gone = match event {
            Event::Deleted(pod) => pod,
            Event::Updated { new, .. } if crate::pods::is_terminal(new) => new,
            _ => return,
        };
        let namespace = objects::namespace(&**gone);
        let owner = objects::controller_of(&gone.metadata).filter(|owner| owner.kind == "ReplicaSet");
        let set = owner.and_then(|owner| {
            let set = self.replica_sets.get(Some(namespace), &owner.name)?;
            (objects::uid(&*set) == owner.uid).then_some(set)
        });
        let deployment = set.and_then(|set| self.resolve(namespace, objects::controller_of(&set.metadata)?));
        let Some(deployment) = deployment.filter(|deployment| !limits::is_rolling(deployment)) else { return };
        let sets = self.replica_sets.by_index(BY_CONTROLLER, objects::uid(&*deployment));
        let left = sets.iter().any(|set| !self.pods.by_index(BY_CONTROLLER, objects::uid(&**set)).is_empty());
        if !left || event.old().is_some() {
            queue.add(ObjectKey::of(&*deployment));
        }
    }

    fn resolve(&self, namespace: &str, owner: &OwnerReference) -> Option<Arc<Deployment>> {
        if owner.kind != "Deployment" || !owner.api_version.starts_with("apps/") {
            return None;
        }
        let found = self.deployments.get(Some(namespace), &owner.name)?;
        (objects::uid(&*found) == owner.uid).then_some(found)
    }

    fn enqueue_matching(&self, set: &ReplicaSet, queue: &Queue<ObjectKey>) {
        let empty = BTreeMap::new();
        let labels = set.metadata.labels.as_ref().unwrap_or(&empty);
        for deployment in self.deployments.in_namespace(objects::namespace(set)) {
            let selector = deployment.spec.as_ref().and_then(|spec| LabelSelector::from_k8s(&spec.selector).ok());
            if selector.is_some_and(|selector| !selector.is_empty() && selector.matches(labels)) {
                queue.add(ObjectKey::of(&*deployment));
            }
        }
    }
}
