//! Replica sets: as many pods as are asked for.

mod events;
mod manage;
mod rank;
mod status;

use std::sync::Arc;
use std::time::Duration;

use api::selector::LabelSelector;
use base::Drain;
use client::{Controller, ControllerError, Expectations, Lister, ObjectKey, objects};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;

use crate::claim::claim_all;
use crate::context::Context;
use crate::error::SyncError;
use crate::pods;

const WORKERS: usize = 5;

/// Pods by the UID of their controller.
const BY_CONTROLLER: &str = "controller";
/// Pods without controller, by namespace.
const ORPHANS: &str = "orphans";

/// What the sync of replica sets works with.
pub(crate) struct ReplicaSets {
    context: Context,
    expectations: Expectations,
    replica_sets: Lister<ReplicaSet>,
    pods: Lister<Pod>,
}

/// Runs the controller until the drain signal.
pub(crate) async fn run(context: Context, drain: Drain) -> Result<(), ControllerError> {
    let context = context.recording_as(|all| &all.replica_set);
    let (replica_sets, pods) = (context.informers.of::<ReplicaSet>(), context.informers.of::<Pod>());
    pods.add_index(BY_CONTROLLER, |pod| {
        objects::controller_of(&pod.metadata).map(|controller| controller.uid.clone()).into_iter().collect()
    });
    pods.add_index(ORPHANS, |pod| {
        let orphan = objects::controller_of(&pod.metadata).is_none();
        orphan.then(|| objects::namespace(pod).to_owned()).into_iter().collect()
    });
    let sync = Arc::new(ReplicaSets {
        expectations: Expectations::new(context.env.clone()),
        replica_sets: replica_sets.lister(),
        pods: pods.lister(),
        context,
    });
    let (for_sets, for_pods) = (Arc::clone(&sync), Arc::clone(&sync));
    Controller::new("replicaset-controller", sync.context.env.clone())
        .workers(WORKERS)
        .watch(&replica_sets, move |event, queue| for_sets.on_replica_set(event, queue))
        .watch(&pods, move |event, queue| for_pods.on_pod(event, queue))
        .run(drain, move |key| {
            let sync = Arc::clone(&sync);
            async move { sync.sync(key).await }
        })
        .await
}

impl ReplicaSets {
    async fn sync(&self, key: ObjectKey) -> Result<Option<Duration>, SyncError> {
        let Some(replica_set) = self.replica_sets.get_key(&key) else {
            self.expectations.forget(&key);
            return Ok(None);
        };
        let Some(spec) = &replica_set.spec else { return Ok(None) };
        let selector = LabelSelector::from_k8s(&spec.selector)
            .map_err(|source| SyncError::Selector { key: key.clone(), source })?;
        let may_manage = self.expectations.satisfied(&key);
        let claimed = self.claimed(&replica_set, &selector).await?;
        let (active, other): (Vec<_>, Vec<_>) = claimed.into_iter().partition(|pod| pods::is_active(pod));
        let terminating = other.iter().filter(|pod| pods::is_terminating(pod)).count();

        let managed = if may_manage && !objects::is_deleting(&*replica_set) {
            self.manage(&key, &replica_set, &active).await
        } else {
            Ok(())
        };
        let now = self.context.env.now();
        let count = status::Count::of(&replica_set, &active, terminating, now);
        let next = count.next_available;
        let wanted = status::calculate(&replica_set, &count, managed.as_ref().err(), active.len(), now);
        self.write_status(&key, &replica_set, wanted).await?;
        managed.map_err(|failure| failure.error)?;
        Ok(next)
    }

    async fn claimed(&self, replica_set: &ReplicaSet, selector: &LabelSelector) -> Result<Vec<Arc<Pod>>, SyncError> {
        let namespace = objects::namespace(replica_set);
        let mut candidates = self.pods.by_index(BY_CONTROLLER, objects::uid(replica_set));
        candidates.extend(self.pods.by_index(ORPHANS, namespace).into_iter().filter(|pod| pods::is_active(pod)));
        let owners = self.context.namespaced(namespace);
        claim_all(replica_set, selector, candidates, &owners, &self.context.namespaced(namespace)).await
    }
}
