//! The numbers in the status of workloads.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::ReplicationController;

use crate::field::{ErrorList, FieldError, Path};
use crate::validation::check;

/// Judges an update of the status of a deployment.
pub(in crate::validation) fn deployment_status(new: &Deployment, old: &Deployment, errors: &mut ErrorList) {
    let path = Path::new("status");
    let (new, old) = (new.status.clone().unwrap_or_default(), old.status.clone().unwrap_or_default());
    check::optional_non_negative(errors, &path.child("observedGeneration"), new.observed_generation);
    counts(
        &[
            ("replicas", new.replicas),
            ("updatedReplicas", new.updated_replicas),
            ("readyReplicas", new.ready_replicas),
            ("availableReplicas", new.available_replicas),
            ("unavailableReplicas", new.unavailable_replicas),
            ("terminatingReplicas", new.terminating_replicas),
        ],
        &path,
        errors,
    );
    let total = new.replicas.unwrap_or(0);
    at_most(
        &[
            ("updatedReplicas", new.updated_replicas),
            ("readyReplicas", new.ready_replicas),
            ("availableReplicas", new.available_replicas),
        ],
        total,
        "status.replicas",
        &path,
        errors,
    );
    let ready = new.ready_replicas.unwrap_or(0);
    at_most(&[("availableReplicas", new.available_replicas)], ready, "readyReplicas", &path, errors);
    collisions(new.collision_count, old.collision_count, &path, errors);
}

fn counts(fields: &[(&str, Option<i32>)], path: &Path, errors: &mut ErrorList) {
    for (field, value) in fields {
        check::optional_non_negative(errors, &path.child(field), *value);
    }
}

fn at_most(fields: &[(&str, Option<i32>)], limit: i32, what: &str, path: &Path, errors: &mut ErrorList) {
    for (field, value) in fields {
        let value = value.unwrap_or(0);
        if value > limit {
            let why = format!("cannot be greater than {what}");
            errors.push(FieldError::invalid(&path.child(field), value, why));
        }
    }
}

fn collisions(new: Option<i32>, old: Option<i32>, path: &Path, errors: &mut ErrorList) {
    let path = path.child("collisionCount");
    check::optional_non_negative(errors, &path, new);
    let after = new.unwrap_or(0);
    if old.is_some() && after < old.unwrap_or(0) {
        errors.push(FieldError::invalid(&path, after, "cannot be decremented"));
    }
}

/// Judges an update of the status of a replica set.
pub(in crate::validation) fn replica_set_status(new: &ReplicaSet, _: &ReplicaSet, errors: &mut ErrorList) {
    let status = new.status.clone().unwrap_or_default();
    let fields = [
        ("fullyLabeledReplicas", status.fully_labeled_replicas),
        ("readyReplicas", status.ready_replicas),
        ("availableReplicas", status.available_replicas),
    ];
    replica_status(status.replicas, &fields, status.observed_generation, errors);
}

fn replica_status(total: i32, fields: &[(&str, Option<i32>)], generation: Option<i64>, errors: &mut ErrorList) {
    let path = Path::new("status");
    check::optional_non_negative(errors, &path.child("observedGeneration"), generation);
    check::non_negative(errors, &path.child("replicas"), total);
    counts(fields, &path, errors);
    at_most(fields, total, "status.replicas", &path, errors);
    let value = |name: &str| fields.iter().find(|(field, _)| *field == name).and_then(|(_, value)| *value);
    let ready = value("readyReplicas").unwrap_or(0);
    at_most(&[("availableReplicas", value("availableReplicas"))], ready, "readyReplicas", &path, errors);
}

/// Judges an update of the status of a replication controller.
pub(in crate::validation) fn replication_controller_status(
    new: &ReplicationController,
    _: &ReplicationController,
    errors: &mut ErrorList,
) {
    let status = new.status.clone().unwrap_or_default();
    let fields = [
        ("fullyLabeledReplicas", status.fully_labeled_replicas),
        ("readyReplicas", status.ready_replicas),
        ("availableReplicas", status.available_replicas),
    ];
    replica_status(status.replicas, &fields, status.observed_generation, errors);
}

/// Judges an update of the status of a stateful set.
pub(in crate::validation) fn stateful_set_status(new: &StatefulSet, old: &StatefulSet, errors: &mut ErrorList) {
    let path = Path::new("status");
    let (new, old) = (new.status.clone().unwrap_or_default(), old.status.clone().unwrap_or_default());
    check::optional_non_negative(errors, &path.child("observedGeneration"), new.observed_generation);
    let fields = [
        ("readyReplicas", new.ready_replicas),
        ("currentReplicas", new.current_replicas),
        ("updatedReplicas", new.updated_replicas),
        ("availableReplicas", new.available_replicas),
    ];
    check::non_negative(errors, &path.child("replicas"), new.replicas);
    counts(&fields, &path, errors);
    at_most(&fields, new.replicas, "status.replicas", &path, errors);
    let ready = new.ready_replicas.unwrap_or(0);
    at_most(&[("availableReplicas", new.available_replicas)], ready, "status.readyReplicas", &path, errors);
    collisions(new.collision_count, old.collision_count, &path, errors);
}

/// Judges an update of the status of a daemon set.
pub(in crate::validation) fn daemon_set_status(new: &DaemonSet, old: &DaemonSet, errors: &mut ErrorList) {
    let path = Path::new("status");
    let (new, old) = (new.status.clone().unwrap_or_default(), old.status.clone().unwrap_or_default());
    check::optional_non_negative(errors, &path.child("observedGeneration"), new.observed_generation);
    let fields = [
        ("currentNumberScheduled", Some(new.current_number_scheduled)),
        ("numberMisscheduled", Some(new.number_misscheduled)),
        ("desiredNumberScheduled", Some(new.desired_number_scheduled)),
        ("numberReady", Some(new.number_ready)),
        ("updatedNumberScheduled", new.updated_number_scheduled),
        ("numberAvailable", new.number_available),
        ("numberUnavailable", new.number_unavailable),
    ];
    counts(&fields, &path, errors);
    collisions(new.collision_count, old.collision_count, &path, errors);
}
