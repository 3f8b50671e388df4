//! What a replica set's status says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use client::{ObjectKey, objects};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use kube::api::PostParams;

use super::ReplicaSets;
use super::manage::Failure;
use crate::error::{Attempt, SyncError};
use crate::pods;

const REPLICA_FAILURE: &str = "ReplicaFailure";

/// What the pods of a replica set amount to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    replicas: i32,
    fully_labeled: i32,
    ready: i32,
    available: i32,
    terminating: i32,
    /// When the next ready pod will count as available.
    pub(super) next_available: Option<Duration>,
}

impl Count {
    pub(super) fn of(replica_set: &ReplicaSet, active: &[Arc<Pod>], terminating: usize, now: Timestamp) -> Self {
        let spec = replica_set.spec.as_ref();
        let min_ready = spec.and_then(|spec| spec.min_ready_seconds).unwrap_or_default();
        let empty = BTreeMap::new();
        let template = spec.and_then(|spec| spec.template.as_ref()?.metadata.as_ref()?.labels.as_ref());
        let template = template.unwrap_or(&empty);
        let mut count = Self { terminating: to_i32(terminating), replicas: to_i32(active.len()), ..Self::default() };
        for pod in active {
            let labels = pod.metadata.labels.as_ref().unwrap_or(&empty);
            let all_labels = template.iter().all(|(key, value)| labels.get(key) == Some(value));
            count.fully_labeled += i32::from(all_labels);
            let Some(until) = pods::until_available(pod, min_ready, now) else { continue };
            count.ready += 1;
            if until.is_zero() {
                count.available += 1;
            } else {
                count.next_available = Some(count.next_available.map_or(until, |known| known.min(until)));
            }
        }
        count
    }
}

fn to_i32(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// The status that a replica set should have. `active` tells whether a failure was one to create or to delete.
pub(super) fn calculate(
    replica_set: &ReplicaSet,
    count: &Count,
    failure: Option<&Failure>,
    active: usize,
    now: Timestamp,
) -> ReplicaSetStatus {
    let mut conditions = replica_set.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let known = conditions.iter().position(|condition| condition.type_ == REPLICA_FAILURE);
    match (failure, known) {
        (Some(failure), None) => {
            tracing::debug!(name = objects::name(replica_set), active, reason = failure.reason, "replicas failed");
            conditions.push(ReplicaSetCondition {
                type_: REPLICA_FAILURE.to_owned(),
                status: "True".to_owned(),
                last_transition_time: Some(Time(now)),
                reason: Some(failure.reason.to_owned()),
                message: Some(failure.error.cause()),
            });
        }
        (None, Some(index)) => {
            conditions.remove(index);
        }
        _ => {}
    }
    ReplicaSetStatus {
        replicas: count.replicas,
        fully_labeled_replicas: Some(count.fully_labeled),
        ready_replicas: Some(count.ready),
        available_replicas: Some(count.available),
        terminating_replicas: Some(count.terminating),
        observed_generation: replica_set.metadata.generation,
        conditions: Some(conditions),
    }
}

/// Whether two statuses say the same; what is absent counts as zero or none.
fn same(a: &ReplicaSetStatus, b: &ReplicaSetStatus) -> bool {
    let counts = |status: &ReplicaSetStatus| {
        let all = [
            Some(status.replicas),
            status.fully_labeled_replicas,
            status.ready_replicas,
            status.available_replicas,
            status.terminating_replicas,
        ];
        (all.map(Option::unwrap_or_default), status.observed_generation.unwrap_or_default())
    };
    counts(a) == counts(b) && a.conditions.iter().flatten().eq(b.conditions.iter().flatten())
}

impl ReplicaSets {
    pub(super) async fn write_status(
        &self,
        key: &ObjectKey,
        replica_set: &ReplicaSet,
        wanted: ReplicaSetStatus,
    ) -> Result<(), SyncError> {
        if replica_set.status.as_ref().is_some_and(|status| same(status, &wanted)) {
            return Ok(());
        }
        let api: Api<ReplicaSet> = self.context.namespaced(key.namespace());
        let mut replica_set = replica_set.clone();
        replica_set.status = Some(wanted);
        let written = api.replace_status(&key.name, &PostParams::default(), &replica_set).await;
        objects::ignore_not_found(written).attempt("update status of replica set", key)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use testkit::{Maker, at, pod, replica_set};

    use super::*;

    /// Counts pods of a replica set that has `min_ready_seconds` 10, at second 100.
    #[track_caller]
    fn check(pods: Vec<Maker<Pod>>, expected: Count) {
        let replica_set = replica_set("web").with(|set| {
            set.spec.as_mut().expect("made with one").min_ready_seconds = Some(10);
        });
        let pods: Vec<Arc<Pod>> = pods.into_iter().map(|pod| Arc::new(pod.build())).collect();
        assert_eq!(Count::of(&replica_set.build(), &pods, 0, at(100)), expected);
    }

    #[test]
    fn pods_count_as_available_after_being_ready_for_long_enough() {
        let labelled = |name: &str| pod(name).label("app", "web");
        check(vec![], Count::default());
        check(
            vec![labelled("a").ready_since(90), labelled("b").ready_since(93), labelled("c").ready_since(91), pod("d")],
            Count {
                replicas: 4,
                fully_labeled: 3,
                ready: 3,
                available: 1,
                next_available: Some(Duration::from_secs(1)),
                ..Count::default()
            },
        );
    }

    #[test]
    fn an_absent_count_is_zero() {
        let empty = ReplicaSetStatus::default();
        let zero = ReplicaSetStatus { ready_replicas: Some(0), conditions: Some(vec![]), ..empty.clone() };
        assert!(same(&empty, &zero));
        assert!(!same(&empty, &ReplicaSetStatus { replicas: 1, ..zero }));
    }
}
