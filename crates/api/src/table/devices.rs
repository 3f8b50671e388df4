//! Devices: classes, claims, slices and taints.

use jiff::Timestamp;
use serde_json::Value;

use super::cells::{age, count, name, since, string};
use super::{AGE, Column, NAME, Printer, text};
use crate::meta;

const RESOURCE: &str = "resource.k8s.io";

pub(super) const PRINTERS: &[Printer] = &[
    Printer { group: RESOURCE, kind: "DeviceClass", columns: NAMED, cells: named },
    Printer { group: RESOURCE, kind: "DeviceTaintRule", columns: TAINT_RULE, cells: taint_rule },
    Printer { group: RESOURCE, kind: "ResourceClaim", columns: CLAIM, cells: claim },
    Printer { group: RESOURCE, kind: "ResourceClaimTemplate", columns: NAMED, cells: named },
    Printer { group: RESOURCE, kind: "ResourceSlice", columns: SLICE, cells: slice },
];

const NAMED: &[Column] = &[NAME, AGE];

fn named(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(object), age(object, now)]
}

const CLAIM: &[Column] = &[NAME, text("State"), AGE];

fn claim(object: &Value, now: Timestamp) -> Vec<Value> {
    let status = &object["status"];
    let deleting = meta::is_deleting(object);
    let allocated = !status["allocation"].is_null();
    let states = [
        (deleting, "deleted"),
        (!allocated && !deleting, "pending"),
        (allocated, "allocated"),
        (allocated && count(&status["reservedFor"]) > 0, "reserved"),
    ];
    let shown: Vec<&str> = states.iter().filter(|(holds, _)| *holds).map(|(_, state)| *state).collect();
    vec![name(object), shown.join(",").into(), age(object, now)]
}

const SLICE: &[Column] = &[NAME, text("Node"), text("Driver"), text("Pool"), AGE];

fn slice(object: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &object["spec"];
    vec![
        name(object),
        string(&spec["nodeName"]).into(),
        string(&spec["driver"]).into(),
        string(&spec["pool"]["name"]).into(),
        age(object, now),
    ]
}

const TAINT_RULE: &[Column] = &[NAME, text("Key"), text("Value"), text("Effect"), text("TimeAdded"), AGE];

fn taint_rule(object: &Value, now: Timestamp) -> Vec<Value> {
    let taint = &object["spec"]["taint"];
    let added = &taint["timeAdded"];
    let added = if added.is_null() { String::new() } else { since(added, now) };
    vec![
        name(object),
        string(&taint["key"]).into(),
        string(&taint["value"]).into(),
        string(&taint["effect"]).into(),
        added.into(),
        age(object, now),
    ]
}
