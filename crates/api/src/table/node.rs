//! Nodes, leases and who wants them, and runtime classes.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;

use super::cells::{NONE, UNKNOWN, age, list, name, string, string_or};
use super::{AGE, Column, NAME, Printer, text, wide};

pub(super) const PRINTERS: &[Printer] = &[
    Printer { group: "", kind: "Node", columns: NODE, cells: node },
    Printer { group: "coordination.k8s.io", kind: "Lease", columns: LEASE, cells: lease },
    Printer { group: "coordination.k8s.io", kind: "LeaseCandidate", columns: LEASE_CANDIDATE, cells: lease_candidate },
    Printer { group: "node.k8s.io", kind: "RuntimeClass", columns: RUNTIME_CLASS, cells: runtime_class },
];

const NODE: &[Column] = &[
    NAME,
    text("Status"),
    text("Roles"),
    AGE,
    text("Version"),
    wide("Internal-IP"),
    wide("External-IP"),
    wide("OS-Image"),
    wide("Kernel-Version"),
    wide("Container-Runtime"),
];

fn node(object: &Value, now: Timestamp) -> Vec<Value> {
    let ready = list(&object["status"]["conditions"]).iter().find(|condition| condition["type"] == "Ready");
    let mut status = match ready {
        Some(condition) if condition["status"] == "True" => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if object["spec"]["unschedulable"] == true {
        status.push_str(",SchedulingDisabled");
    }
    let info = &object["status"]["nodeInfo"];
    vec![
        name(object),
        status.into(),
        roles(object).into(),
        age(object, now),
        string(&info["kubeletVersion"]).into(),
        address(object, "InternalIP").into(),
        address(object, "ExternalIP").into(),
        string_or(&info["osImage"], UNKNOWN).into(),
        string_or(&info["kernelVersion"], UNKNOWN).into(),
        string_or(&info["containerRuntimeVersion"], UNKNOWN).into(),
    ]
}

fn roles(object: &Value) -> String {
    let labels = object["metadata"]["labels"].as_object();
    let roles: BTreeSet<&str> = labels
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| match key.as_str() {
            "kubernetes.io/role" => value.as_str(),
            key => key.strip_prefix("node-role.kubernetes.io/"),
        })
        .filter(|role| !role.is_empty())
        .collect();
    if roles.is_empty() { NONE.to_owned() } else { roles.into_iter().collect::<Vec<_>>().join(",") }
}

fn address<'a>(object: &'a Value, address_type: &str) -> &'a str {
    let addresses = list(&object["status"]["addresses"]);
    let found = addresses.iter().find(|address| address["type"] == address_type);
    found.map_or(NONE, |address| string(&address["address"]))
}

const LEASE: &[Column] = &[NAME, text("Holder"), AGE];

fn lease(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(object), string(&object["spec"]["holderIdentity"]).into(), age(object, now)]
}

const LEASE_CANDIDATE: &[Column] = &[NAME, text("LeaseName"), text("BinaryVersion"), text("EmulationVersion"), AGE];

fn lease_candidate(object: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &object["spec"];
    vec![
        name(object),
        string(&spec["leaseName"]).into(),
        string(&spec["binaryVersion"]).into(),
        string(&spec["emulationVersion"]).into(),
        age(object, now),
    ]
}

const RUNTIME_CLASS: &[Column] = &[NAME, text("Handler"), AGE];

fn runtime_class(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(object), string(&object["handler"]).into(), age(object, now)]
}
