//! Deployments: replica sets for every revision of a pod template, and the way from one to the next.

mod apply;
mod conditions;
mod events;
mod limits;
mod plan;
mod revision;
mod status;
mod template;

use std::sync::Arc;
use std::time::Duration;

use api::selector::LabelSelector;
use base::Drain;
use client::{Controller, ControllerError, EventType, Lister, ObjectKey, objects};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;

use crate::claim::claim_all;
use crate::context::Context;
use crate::error::SyncError;
use crate::pods;

const WORKERS: usize = 5;

/// Replica sets by the UID of their controller.
const BY_CONTROLLER: &str = "controller";
/// Replica sets without controller, by namespace.
const ORPHANS: &str = "orphans";

/// What the sync of deployments works with.
pub(crate) struct Deployments {
    context: Context,
    deployments: Lister<Deployment>,
    replica_sets: Lister<ReplicaSet>,
    pods: Lister<Pod>,
}

/// A deployment and its replica sets as one sync sees and changes them.
struct Rollout {
    key: ObjectKey,
    /// As read, plus what this sync has written.
    deployment: Deployment,
    /// The replica set of the current template, once there is one.
    new: Option<ReplicaSet>,
    /// The replica sets of earlier templates, oldest first.
    old: Vec<ReplicaSet>,
}

impl Rollout {
    fn all(&self) -> impl Iterator<Item = &ReplicaSet> {
        self.old.iter().chain(&self.new)
    }

    fn name(&self) -> &str {
        &self.key.name
    }
}

/// Runs the controller until the drain signal.
pub(crate) async fn run(context: Context, drain: Drain) -> Result<(), ControllerError> {
    let context = context.recording_as(|all| &all.deployment);
    let deployments = context.informers.of::<Deployment>();
    let (replica_sets, pods) = (context.informers.of::<ReplicaSet>(), context.informers.of::<Pod>());
    replica_sets.add_index(BY_CONTROLLER, |set| {
        objects::controller_of(&set.metadata).map(|controller| controller.uid.clone()).into_iter().collect()
    });
    replica_sets.add_index(ORPHANS, |set| {
        let orphan = objects::controller_of(&set.metadata).is_none();
        orphan.then(|| objects::namespace(set).to_owned()).into_iter().collect()
    });
    pods.add_index(BY_CONTROLLER, |pod| {
        objects::controller_of(&pod.metadata).map(|controller| controller.uid.clone()).into_iter().collect()
    });
    let sync = Arc::new(Deployments {
        deployments: deployments.lister(),
        replica_sets: replica_sets.lister(),
        pods: pods.lister(),
        context,
    });
    let (for_sets, for_pods) = (Arc::clone(&sync), Arc::clone(&sync));
    Controller::new("deployment-controller", sync.context.env.clone())
        .workers(WORKERS)
        .watch_own(&deployments)
        .watch(&replica_sets, move |event, queue| for_sets.on_replica_set(event, queue))
        .watch(&pods, move |event, queue| for_pods.on_pod(event, queue))
        .run(drain, move |key| {
            let sync = Arc::clone(&sync);
            async move { sync.sync(key).await }
        })
        .await
}

impl Deployments {
    async fn sync(&self, key: ObjectKey) -> Result<Option<Duration>, SyncError> {
        let Some(deployment) = self.deployments.get_key(&key) else { return Ok(None) };
        let Some(spec) = &deployment.spec else { return Ok(None) };
        let selector = LabelSelector::from_k8s(&spec.selector)
            .map_err(|source| SyncError::Selector { key: key.clone(), source })?;
        if selector.is_empty() {
            let message = "This deployment is selecting all pods. A non-empty selector is required.";
            let about = objects::reference(&*deployment);
            self.context.recorder().event(&about, EventType::Warning, "SelectingAll", message);
            return Ok(None);
        }
        let mut sets: Vec<ReplicaSet> =
            self.claimed(&deployment, &selector).await?.iter().map(|set| ReplicaSet::clone(set)).collect();
        sets.sort_by(template::by_creation);
        let mut rollout = Rollout { key, deployment: (*deployment).clone(), new: None, old: Vec::new() };
        (rollout.new, rollout.old) = template::split(&rollout.deployment, sets);

        if objects::is_deleting(&rollout.deployment) {
            return self.sync_status_only(rollout).await;
        }
        self.sync_paused_condition(&mut rollout).await?;
        let paused = rollout.deployment.spec.as_ref().is_some_and(|spec| spec.paused == Some(true));
        if paused || limits::is_scaling(&rollout.deployment, rollout.all()) {
            return self.sync_scale(rollout, paused).await;
        }
        if limits::is_rolling(&rollout.deployment) {
            self.roll_out(rollout).await
        } else {
            self.recreate(rollout).await
        }
    }

    async fn claimed(
        &self,
        deployment: &Deployment,
        selector: &LabelSelector,
    ) -> Result<Vec<Arc<ReplicaSet>>, SyncError> {
        let namespace = objects::namespace(deployment);
        let mut candidates = self.replica_sets.by_index(BY_CONTROLLER, objects::uid(deployment));
        candidates.extend(self.replica_sets.by_index(ORPHANS, namespace));
        let owners = self.context.namespaced(namespace);
        claim_all(deployment, selector, candidates, &owners, &self.context.namespaced(namespace)).await
    }

    /// Only the size is to change, or the deployment is paused: existing replica sets are resized in proportion, no
    /// new one is made.
    async fn sync_scale(&self, mut rollout: Rollout, paused: bool) -> Result<Option<Duration>, SyncError> {
        self.sync_revision(&mut rollout, false).await?;
        let sizes = plan::scale(&rollout.deployment, rollout.new.as_ref(), &rollout.old);
        self.resize(&mut rollout, sizes).await?;
        if paused {
            self.clean_up(&rollout).await?;
        }
        self.sync_status_only(rollout).await
    }

    async fn roll_out(&self, mut rollout: Rollout) -> Result<Option<Duration>, SyncError> {
        self.sync_revision(&mut rollout, true).await?;
        let Some(new) = &rollout.new else { return Ok(None) };
        let up = plan::resize_new(&rollout.deployment, new, &rollout.old);
        if self.resize(&mut rollout, up).await? {
            return self.sync_rollout_status(rollout).await;
        }
        let Some(new) = &rollout.new else { return Ok(None) };
        let down = plan::shrink_old(&rollout.deployment, new, &rollout.old);
        if !self.resize(&mut rollout, down).await? && self.is_complete(&rollout) {
            self.clean_up(&rollout).await?;
        }
        self.sync_rollout_status(rollout).await
    }

    async fn recreate(&self, mut rollout: Rollout) -> Result<Option<Duration>, SyncError> {
        self.sync_revision(&mut rollout, false).await?;
        let down = rollout.old.iter().map(|old| plan::Size::of(old, 0)).collect();
        if self.resize(&mut rollout, down).await? || self.old_pods_run(&rollout) {
            return self.sync_rollout_status(rollout).await;
        }
        if rollout.new.is_none() {
            self.sync_revision(&mut rollout, true).await?;
        }
        let wanted = limits::replicas(&rollout.deployment);
        let up = rollout.new.iter().map(|new| plan::Size::of(new, wanted)).collect();
        if !self.resize(&mut rollout, up).await? && self.is_complete(&rollout) {
            self.clean_up(&rollout).await?;
        }
        self.sync_rollout_status(rollout).await
    }

    /// Whether a pod of an earlier revision still runs, be it on its way out.
    fn old_pods_run(&self, rollout: &Rollout) -> bool {
        rollout.old.iter().any(|old| {
            old.status.as_ref().is_some_and(|status| status.replicas > 0)
                || self.pods.by_index(BY_CONTROLLER, objects::uid(old)).iter().any(|pod| !pods::is_terminal(pod))
        })
    }
}
