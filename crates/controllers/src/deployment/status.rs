//! The status of a deployment.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};
use kube::Api;
use kube::api::PostParams;

use super::{Deployments, Rollout, conditions, limits};
use crate::error::{Attempt, SyncError};

/// The counts and the Available condition as the replica sets' statuses have it; other conditions stay.
fn calculate(
    deployment: &Deployment,
    new: Option<&ReplicaSet>,
    old: &[ReplicaSet],
    now: Timestamp,
) -> DeploymentStatus {
    let all = || old.iter().chain(new);
    let before = deployment.status.clone().unwrap_or_default();
    let sum = |count: fn(&ReplicaSet) -> i32| all().map(count).sum::<i32>();
    let available = sum(limits::available);
    let mut status = DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: Some(sum(limits::observed)),
        updated_replicas: Some(new.map_or(0, limits::observed)),
        ready_replicas: Some(sum(|set| {
            set.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or_default()
        })),
        available_replicas: Some(available),
        unavailable_replicas: Some((sum(limits::size) - available).max(0)),
        terminating_replicas: Some(sum(|set| {
            set.status.as_ref().and_then(|status| status.terminating_replicas).unwrap_or_default()
        })),
        collision_count: before.collision_count,
        conditions: before.conditions,
    };
    let minimum = limits::replicas(deployment) - limits::fenceposts(deployment).unavailable;
    let (truth, reason, message) = if available >= minimum {
        ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    } else {
        ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    };
    conditions::set(&mut status, conditions::make(conditions::AVAILABLE, truth, reason, message.to_owned(), now));
    status
}

/// Whether two statuses say the same; an absent count is zero.
fn same(a: &DeploymentStatus, b: &DeploymentStatus) -> bool {
    let counts = |status: &DeploymentStatus| {
        let all = [
            status.replicas,
            status.updated_replicas,
            status.ready_replicas,
            status.available_replicas,
            status.unavailable_replicas,
            status.terminating_replicas,
        ];
        (all.map(Option::unwrap_or_default), status.observed_generation.unwrap_or_default(), status.collision_count)
    };
    counts(a) == counts(b) && a.conditions.iter().flatten().eq(b.conditions.iter().flatten())
}

impl Deployments {
    fn calculated(&self, rollout: &Rollout) -> DeploymentStatus {
        calculate(&rollout.deployment, rollout.new.as_ref(), &rollout.old, self.context.env.now())
    }

    pub(super) fn is_complete(&self, rollout: &Rollout) -> bool {
        conditions::is_complete(&rollout.deployment, &self.calculated(rollout))
    }

    /// Counts, without a word on progress.
    pub(super) async fn sync_status_only(&self, mut rollout: Rollout) -> Result<Option<Duration>, SyncError> {
        let status = self.calculated(&rollout);
        self.write_status(&mut rollout, status).await?;
        Ok(None)
    }

    /// Counts, progress and failures. Returns when the progress deadline has to be looked at again.
    pub(super) async fn sync_rollout_status(&self, mut rollout: Rollout) -> Result<Option<Duration>, SyncError> {
        let now = self.context.env.now();
        let mut status = self.calculated(&rollout);
        let new = rollout.new.as_ref();
        conditions::sync_progress(&rollout.deployment, rollout.name(), new, &mut status, now);
        conditions::sync_failure(new, &rollout.old, &mut status, now);
        let again = until_deadline(&rollout.deployment, &status, now);
        self.write_status(&mut rollout, status).await?;
        Ok(again)
    }

    /// Tells a pause and its end in the Progressing condition, so that a pause does not count against the deadline.
    pub(super) async fn sync_paused_condition(&self, rollout: &mut Rollout) -> Result<(), SyncError> {
        if conditions::deadline(&rollout.deployment).is_none() {
            return Ok(());
        }
        let mut status = rollout.deployment.status.clone().unwrap_or_default();
        let reason = conditions::find(&status, conditions::PROGRESSING).and_then(|known| known.reason.as_deref());
        if reason == Some(conditions::TIMED_OUT) {
            // The failure is what a reader should see, paused or not.
            return Ok(());
        }
        let paused = rollout.deployment.spec.as_ref().is_some_and(|spec| spec.paused == Some(true));
        let (reason, message) = match (paused, reason == Some(conditions::PAUSED)) {
            (true, false) => (conditions::PAUSED, "Deployment is paused"),
            (false, true) => ("DeploymentResumed", "Deployment is resumed"),
            _ => return Ok(()),
        };
        let now = self.context.env.now();
        let condition = conditions::make(conditions::PROGRESSING, "Unknown", reason, message.to_owned(), now);
        conditions::set(&mut status, condition);
        self.write_status(rollout, status).await
    }

    pub(super) async fn write_status(&self, rollout: &mut Rollout, status: DeploymentStatus) -> Result<(), SyncError> {
        if rollout.deployment.status.as_ref().is_some_and(|known| same(known, &status)) {
            return Ok(());
        }
        let api: Api<Deployment> = self.context.namespaced(rollout.key.namespace());
        let mut deployment = rollout.deployment.clone();
        deployment.status = Some(status);
        let written = api.replace_status(&rollout.key.name, &PostParams::default(), &deployment).await;
        rollout.deployment = written.attempt("update status of deployment", &rollout.key)?;
        Ok(())
    }
}

/// When the deadline for progress will have passed, if it may yet.
fn until_deadline(deployment: &Deployment, status: &DeploymentStatus, now: Timestamp) -> Option<Duration> {
    let deadline = conditions::deadline(deployment)?;
    let condition = conditions::find(status, conditions::PROGRESSING)?;
    let settled = [conditions::TIMED_OUT, conditions::NEW_SET_AVAILABLE];
    if conditions::is_complete(deployment, status)
        || condition.reason.as_deref().is_some_and(|reason| settled.contains(&reason))
    {
        return None;
    }
    let since = condition.last_update_time.as_ref()?.0;
    let left = now.duration_until(since.saturating_add(deadline).ok()?);
    // A second more, since the condition's time has no fractions and the deadline must have passed.
    Some(Duration::try_from(left).unwrap_or_default() + Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use testkit::{at, deployment, replica_set};

    use super::*;

    #[test]
    fn counts_are_summed_and_availability_is_judged() {
        let made = deployment("web").replicas(4).generation(7).build();
        let new = replica_set("new").replicas(3).observed(2, 2, 1).build();
        let old = [replica_set("old").replicas(2).observed(2, 2, 2).build()];
        let status = calculate(&made, Some(&new), &old, at(0));
        let counts = [
            status.replicas,
            status.updated_replicas,
            status.ready_replicas,
            status.available_replicas,
            status.unavailable_replicas,
        ];
        assert_eq!(counts.map(Option::unwrap_or_default), [4, 2, 4, 3, 2]);
        assert_eq!(status.observed_generation, Some(7));
        let available = conditions::find(&status, conditions::AVAILABLE).expect("always set");
        assert_eq!(available.status, "True");
        let worse = calculate(&made, Some(&new), &[], at(5));
        assert_eq!(conditions::find(&worse, conditions::AVAILABLE).expect("always set").status, "False");
    }
}
