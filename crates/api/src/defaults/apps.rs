//! Deployments, replica sets, stateful sets and daemon sets.

use super::Object;
use super::edit::{each, made, set, text};
use super::pod::template;
use super::storage;

pub(super) fn deployment(object: &mut Object) {
    let spec = made(object, "spec");
    set(spec, "replicas", 1);
    set(spec, "revisionHistoryLimit", 10);
    set(spec, "progressDeadlineSeconds", 600);
    let strategy = made(spec, "strategy");
    set(strategy, "type", "RollingUpdate");
    if text(strategy, "type") == "RollingUpdate" {
        let rolling = made(strategy, "rollingUpdate");
        set(rolling, "maxUnavailable", "25%");
        set(rolling, "maxSurge", "25%");
    }
    template(spec, "template");
}

pub(super) fn replica_set(object: &mut Object) {
    let spec = made(object, "spec");
    set(spec, "replicas", 1);
    template(spec, "template");
}

pub(super) fn daemon_set(object: &mut Object) {
    let spec = made(object, "spec");
    set(spec, "revisionHistoryLimit", 10);
    let strategy = made(spec, "updateStrategy");
    set(strategy, "type", "RollingUpdate");
    if text(strategy, "type") == "RollingUpdate" {
        let rolling = made(strategy, "rollingUpdate");
        set(rolling, "maxUnavailable", 1);
        set(rolling, "maxSurge", 0);
    }
    template(spec, "template");
}

pub(super) fn stateful_set(object: &mut Object) {
    let spec = made(object, "spec");
    set(spec, "podManagementPolicy", "OrderedReady");
    set(spec, "replicas", 1);
    set(spec, "revisionHistoryLimit", 10);
    let strategy = made(spec, "updateStrategy");
    set(strategy, "type", "RollingUpdate");
    if text(strategy, "type") == "RollingUpdate" {
        let rolling = made(strategy, "rollingUpdate");
        set(rolling, "partition", 0);
        set(rolling, "maxUnavailable", 1);
    }
    let retention = made(spec, "persistentVolumeClaimRetentionPolicy");
    set(retention, "whenDeleted", "Retain");
    set(retention, "whenScaled", "Retain");
    for claim in each(spec, "volumeClaimTemplates") {
        set(claim, "apiVersion", "v1");
        set(claim, "kind", "PersistentVolumeClaim");
        storage::persistent_volume_claim(claim);
    }
    template(spec, "template");
}
