//! Flow schemas and priority levels.

use jiff::Timestamp;
use serde_json::Value;

use super::cells::{self, NONE, age, name, number, string, string_or};
use super::{AGE, Column, NAME, Printer, text};
use crate::meta;

pub(super) const GROUP: &str = "flowcontrol.apiserver.k8s.io";

pub(super) const PRINTERS: &[Printer] = &[
    Printer { group: GROUP, kind: "FlowSchema", columns: SCHEMA, cells: schema },
    Printer { group: GROUP, kind: "PriorityLevelConfiguration", columns: LEVEL, cells: level },
];

const SCHEMA: &[Column] =
    &[NAME, text("PriorityLevel"), text("MatchingPrecedence"), text("DistinguisherMethod"), AGE, text("MissingPL")];

/// Where a schema stands among all.
pub(super) fn rank(object: &Value) -> (i64, String) {
    (number(&object["spec"]["matchingPrecedence"]), meta::name(object).to_owned())
}

fn schema(object: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &object["spec"];
    let dangling = cells::condition(object, "Dangling").map_or("?", |condition| string(&condition["status"]));
    vec![
        name(object),
        string(&spec["priorityLevelConfiguration"]["name"]).into(),
        number(&spec["matchingPrecedence"]).into(),
        string_or(&spec["distinguisherMethod"]["type"], NONE).into(),
        age(object, now),
        dangling.into(),
    ]
}

const LEVEL: &[Column] = &[
    NAME,
    text("Type"),
    text("NominalConcurrencyShares"),
    text("Queues"),
    text("HandSize"),
    text("QueueLengthLimit"),
    AGE,
];

fn level(object: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &object["spec"];
    let or_none = |value: &Value| value.as_i64().map_or_else(|| Value::from(NONE), Value::from);
    // What an exempt level has is its own affair.
    let limited = &spec["limited"];
    let queuing = &limited["limitResponse"]["queuing"];
    vec![
        name(object),
        string(&spec["type"]).into(),
        or_none(&limited["nominalConcurrencyShares"]),
        or_none(&queuing["queues"]),
        or_none(&queuing["handSize"]),
        or_none(&queuing["queueLengthLimit"]),
        age(object, now),
    ]
}
