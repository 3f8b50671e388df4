//! Deployments and the other kinds that keep pods running.

use jiff::Timestamp;
use serde_json::Value;

use super::cells::{NONE, age, containers, labels, name, number, selector};
use super::{AGE, Column, NAME, Printer, integer, text, wide};
use crate::meta;

pub(super) const PRINTERS: &[Printer] = &[
    Printer { group: "apps", kind: "ControllerRevision", columns: CONTROLLER_REVISION, cells: controller_revision },
    Printer { group: "apps", kind: "DaemonSet", columns: DAEMON_SET, cells: daemon_set },
    Printer { group: "apps", kind: "Deployment", columns: DEPLOYMENT, cells: deployment },
    Printer { group: "apps", kind: "ReplicaSet", columns: REPLICA_SET, cells: replica_set },
    Printer { group: "apps", kind: "StatefulSet", columns: STATEFUL_SET, cells: stateful_set },
    Printer { group: "", kind: "ReplicationController", columns: REPLICA_SET, cells: replication_controller },
];

const CONTROLLER_REVISION: &[Column] = &[NAME, text("Controller"), text("Revision"), AGE];

fn controller_revision(object: &Value, now: Timestamp) -> Vec<Value> {
    let controller = meta::controller_of(object).map_or(NONE.to_owned(), |owner| {
        let (group, _) = meta::split_api_version(owner.api_version);
        let kind = owner.kind.to_lowercase();
        if group.is_empty() { format!("{kind}/{}", owner.name) } else { format!("{kind}.{group}/{}", owner.name) }
    });
    vec![name(object), controller.into(), number(&object["revision"]).into(), age(object, now)]
}

const DAEMON_SET: &[Column] = &[
    NAME,
    integer("Desired"),
    integer("Current"),
    integer("Ready"),
    integer("Up-to-date"),
    integer("Available"),
    text("Node Selector"),
    AGE,
    wide("Containers"),
    wide("Images"),
    wide("Selector"),
];

fn daemon_set(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let pod = &spec["template"]["spec"];
    let [names, images] = containers(pod);
    vec![
        name(object),
        number(&status["desiredNumberScheduled"]).into(),
        number(&status["currentNumberScheduled"]).into(),
        number(&status["numberReady"]).into(),
        number(&status["updatedNumberScheduled"]).into(),
        number(&status["numberAvailable"]).into(),
        labels(&pod["nodeSelector"]).into(),
        age(object, now),
        names,
        images,
        selector(&spec["selector"]).into(),
    ]
}

const DEPLOYMENT: &[Column] = &[
    NAME,
    text("Ready"),
    text("Up-to-date"),
    text("Available"),
    AGE,
    wide("Containers"),
    wide("Images"),
    wide("Selector"),
];

fn deployment(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let [names, images] = containers(&spec["template"]["spec"]);
    vec![
        name(object),
        format!("{}/{}", number(&status["readyReplicas"]), number(&spec["replicas"])).into(),
        number(&status["updatedReplicas"]).into(),
        number(&status["availableReplicas"]).into(),
        age(object, now),
        names,
        images,
        selector(&spec["selector"]).into(),
    ]
}

const REPLICA_SET: &[Column] = &[
    NAME,
    integer("Desired"),
    integer("Current"),
    integer("Ready"),
    AGE,
    wide("Containers"),
    wide("Images"),
    wide("Selector"),
];

fn replica_set(object: &Value, now: Timestamp) -> Vec<Value> {
    replicated(object, now, selector(&object["spec"]["selector"]))
}

fn replication_controller(object: &Value, now: Timestamp) -> Vec<Value> {
    replicated(object, now, labels(&object["spec"]["selector"]))
}

fn replicated(object: &Value, now: Timestamp, selector: String) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let [names, images] = containers(&spec["template"]["spec"]);
    vec![
        name(object),
        number(&spec["replicas"]).into(),
        number(&status["replicas"]).into(),
        number(&status["readyReplicas"]).into(),
        age(object, now),
        names,
        images,
        selector.into(),
    ]
}

const STATEFUL_SET: &[Column] = &[NAME, text("Ready"), AGE, wide("Containers"), wide("Images")];

fn stateful_set(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let [names, images] = containers(&spec["template"]["spec"]);
    let ready = format!("{}/{}", number(&status["readyReplicas"]), number(&spec["replicas"]));
    vec![name(object), ready.into(), age(object, now), names, images]
}
