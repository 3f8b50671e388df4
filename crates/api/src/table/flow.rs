//! Flow schemas and priority levels.

use jiff::Timestamp;
use serde_json::Value;

use super::cells::{self, NONE, age, name, number, string, string_or};
use super::{AGE, Column, NAME, Printer, text};

const FLOW: &str = "flowcontrol.apiserver.k8s.io";

pub(super) const PRINTERS: &[Printer] = &[
    Printer { group: FLOW, kind: "FlowSchema", columns: SCHEMA, cells: schema },
    Printer { group: FLOW, kind: "PriorityLevelConfiguration", columns: LEVEL, cells: level },
];

const SCHEMA: &[Column] =
    &[NAME, text("PriorityLevel"), text("MatchingPrecedence"), text("DistinguisherMethod"), AGE, text("MissingPL")];

fn schema(object: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &object["spec"];
    let dangling = cells::condition(object, "Dangling").map_or("?", |condition| string(&condition["status"]));
    vec![
        name(object),
        string_or(&spec["priorityLevelConfiguration"]["name"], NONE).into(),
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
    let shares = match string(&spec["type"]) {
        "Exempt" => &spec["exempt"]["nominalConcurrencyShares"],
        _ => &spec["limited"]["nominalConcurrencyShares"],
    };
    let queuing = &spec["limited"]["limitResponse"]["queuing"];
    vec![
        name(object),
        string(&spec["type"]).into(),
        or_none(shares),
        or_none(&queuing["queues"]),
        or_none(&queuing["handSize"]),
        or_none(&queuing["queueLengthLimit"]),
        age(object, now),
    ]
}
