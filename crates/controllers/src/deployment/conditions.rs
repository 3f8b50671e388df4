//! The conditions of a deployment.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::limits;

pub(super) const AVAILABLE: &str = "Available";
pub(super) const PROGRESSING: &str = "Progressing";
const REPLICA_FAILURE: &str = "ReplicaFailure";

pub(super) const NEW_SET_AVAILABLE: &str = "NewReplicaSetAvailable";
pub(super) const TIMED_OUT: &str = "ProgressDeadlineExceeded";
pub(super) const PAUSED: &str = "DeploymentPaused";

/// Finds a condition by type.
pub(super) fn find<'a>(status: &'a DeploymentStatus, type_: &str) -> Option<&'a DeploymentCondition> {
    status.conditions.iter().flatten().find(|condition| condition.type_ == type_)
}

/// A condition as of now.
pub(super) fn make(type_: &str, status: &str, reason: &str, message: String, now: Timestamp) -> DeploymentCondition {
    DeploymentCondition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_update_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    }
}

/// Sets a condition. One that says the same already stays as it is; the time of transition changes with the status.
pub(super) fn set(status: &mut DeploymentStatus, mut condition: DeploymentCondition) {
    if let Some(known) = find(status, &condition.type_) {
        if known.status == condition.status && known.reason == condition.reason {
            return;
        }
        if known.status == condition.status {
            condition.last_transition_time = known.last_transition_time.clone();
        }
    }
    remove(status, &condition.type_);
    status.conditions.get_or_insert_default().push(condition);
}

/// Sets a condition also where it says the same already, to renew its time of update.
pub(super) fn renew(status: &mut DeploymentStatus, mut condition: DeploymentCondition) {
    if let Some(known) = find(status, &condition.type_).filter(|known| known.status == condition.status) {
        condition.last_transition_time = known.last_transition_time.clone();
    }
    remove(status, &condition.type_);
    status.conditions.get_or_insert_default().push(condition);
}

/// Removes a condition.
pub(super) fn remove(status: &mut DeploymentStatus, type_: &str) {
    if let Some(conditions) = &mut status.conditions {
        conditions.retain(|condition| condition.type_ != type_);
    }
}

/// The deadline for progress, if there is one.
pub(super) fn deadline(deployment: &Deployment) -> Option<SignedDuration> {
    let seconds = deployment.spec.as_ref()?.progress_deadline_seconds?;
    // The largest number means none.
    (seconds != i32::MAX).then(|| SignedDuration::from_secs(seconds.into()))
}

/// Whether everything runs the current template and is available.
pub(super) fn is_complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let wanted = Some(limits::replicas(deployment));
    let count = |count: Option<i32>| Some(count.unwrap_or_default());
    count(status.updated_replicas) == wanted
        && count(status.replicas) == wanted
        && count(status.available_replicas) == wanted
        && status.observed_generation >= deployment.metadata.generation
}

/// Whether `status` is closer to the goal than what the deployment had.
fn is_progressing(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let default = DeploymentStatus::default();
    let before = deployment.status.as_ref().unwrap_or(&default);
    let count = |count: Option<i32>| count.unwrap_or_default();
    let old = |status: &DeploymentStatus| count(status.replicas) - count(status.updated_replicas);
    count(status.updated_replicas) > count(before.updated_replicas)
        || old(status) < old(before)
        || count(status.ready_replicas) > count(before.ready_replicas)
        || count(status.available_replicas) > count(before.available_replicas)
}

/// Whether there was no progress for the deadline.
fn is_timed_out(deployment: &Deployment, status: &DeploymentStatus, now: Timestamp) -> bool {
    let (Some(condition), Some(deadline)) = (find(status, PROGRESSING), deadline(deployment)) else { return false };
    match condition.reason.as_deref() {
        Some(NEW_SET_AVAILABLE) => false,
        Some(TIMED_OUT) => true,
        _ => {
            let since = condition.last_update_time.as_ref().map(|time| time.0);
            since.is_some_and(|since| since.duration_until(now) > deadline)
        }
    }
}

/// Brings the Progressing condition of `status` up to date with its counts.
pub(super) fn sync_progress(
    deployment: &Deployment,
    name: &str,
    new: Option<&ReplicaSet>,
    status: &mut DeploymentStatus,
    now: Timestamp,
) {
    if deadline(deployment).is_none() {
        remove(status, PROGRESSING);
        return;
    }
    let known = deployment.status.as_ref().and_then(|before| find(before, PROGRESSING));
    let settled = status.replicas.unwrap_or_default() == status.updated_replicas.unwrap_or_default()
        && known.is_some_and(|known| known.reason.as_deref() == Some(NEW_SET_AVAILABLE));
    if settled {
        return;
    }
    let what = match new.and_then(|new| new.metadata.name.as_deref()) {
        Some(set) => format!("ReplicaSet \"{set}\""),
        None => format!("Deployment \"{name}\""),
    };
    let condition =
        |truth: &str, reason: &str, text: &str| make(PROGRESSING, truth, reason, format!("{what} {text}"), now);
    if is_complete(deployment, status) {
        set(status, condition("True", NEW_SET_AVAILABLE, "has successfully progressed."));
    } else if is_progressing(deployment, status) {
        // Renewed on each step, since the deadline counts from the last one.
        renew(status, condition("True", "ReplicaSetUpdated", "is progressing."));
    } else if is_timed_out(deployment, status, now) {
        set(status, condition("False", TIMED_OUT, "has timed out progressing."));
    }
}

/// Takes over why replicas fail, from the new replica set before the others.
pub(super) fn sync_failure<'a>(
    new: Option<&'a ReplicaSet>,
    old: &'a [ReplicaSet],
    status: &mut DeploymentStatus,
    now: Timestamp,
) {
    let failure = new.into_iter().chain(old).find_map(|set| {
        let conditions = set.status.as_ref()?.conditions.iter().flatten();
        conditions.into_iter().find(|condition| condition.type_ == REPLICA_FAILURE)
    });
    match failure {
        Some(failure) => {
            let reason = failure.reason.as_deref().unwrap_or_default();
            let message = failure.message.clone().unwrap_or_default();
            let mut condition = make(REPLICA_FAILURE, &failure.status, reason, message, now);
            if let Some(since) = &failure.last_transition_time {
                condition.last_transition_time = Some(since.clone());
                condition.last_update_time = Some(since.clone());
            }
            set(status, condition);
        }
        None => remove(status, REPLICA_FAILURE),
    }
}

#[cfg(test)]
mod tests {
    use testkit::{at, deployment, replica_set};

    use super::*;

    fn status(replicas: i32, updated: i32, available: i32) -> DeploymentStatus {
        DeploymentStatus {
            replicas: Some(replicas),
            updated_replicas: Some(updated),
            ready_replicas: Some(available),
            available_replicas: Some(available),
            observed_generation: Some(1),
            ..DeploymentStatus::default()
        }
    }

    /// What the Progressing condition says at a second, for a deployment of 3 with a deadline of 600 s that had `before`.
    #[track_caller]
    fn check(before: DeploymentStatus, after: DeploymentStatus, second: i64, expected: Option<(&str, &str)>) {
        let made = deployment("web").replicas(3).with(|made| made.status = Some(before.clone())).build();
        let mut after = DeploymentStatus { conditions: before.conditions, ..after };
        sync_progress(&made, "web", Some(&replica_set("web-1").build()), &mut after, at(second));
        let got = find(&after, PROGRESSING);
        let got = got.map(|condition| (condition.status.as_str(), condition.reason.as_deref().unwrap_or_default()));
        assert_eq!(got, expected);
    }

    fn with(reason: &str, truth: &str, mut status: DeploymentStatus) -> DeploymentStatus {
        set(&mut status, make(PROGRESSING, truth, reason, String::new(), at(0)));
        status
    }

    #[test]
    fn progress_is_told_from_standstill_and_completion() {
        let updated = ("True", "ReplicaSetUpdated");
        check(status(0, 0, 0), status(1, 1, 0), 10, Some(updated));
        check(status(3, 3, 2), status(3, 3, 3), 10, Some(("True", NEW_SET_AVAILABLE)));
        let moving = with("ReplicaSetUpdated", "True", status(3, 1, 2));
        check(moving.clone(), status(3, 1, 2), 600, Some(updated));
        check(moving.clone(), status(3, 1, 2), 601, Some(("False", TIMED_OUT)));
        check(moving, status(3, 2, 2), 601, Some(updated));
        let stuck = with(TIMED_OUT, "False", status(3, 1, 2));
        check(stuck.clone(), status(3, 1, 2), 10, Some(("False", TIMED_OUT)));
        check(stuck, status(3, 3, 3), 2000, Some(("True", NEW_SET_AVAILABLE)));
    }

    #[test]
    fn a_completed_rollout_stays_complete_when_pods_fail_later() {
        let done = with(NEW_SET_AVAILABLE, "True", status(3, 3, 3));
        check(done, status(3, 3, 1), 5000, Some(("True", NEW_SET_AVAILABLE)));
    }
}
