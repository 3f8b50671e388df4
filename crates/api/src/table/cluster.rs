//! Namespaces, events, component statuses and API services.

use jiff::Timestamp;
use serde_json::Value;

use super::cells::{self, age, name, number, since, string, string_or};
use super::{AGE, Column, NAME, Printer, text, wide};

pub(super) const PRINTERS: &[Printer] = &[
    Printer { group: "", kind: "ComponentStatus", columns: COMPONENT_STATUS, cells: component_status },
    Printer { group: "", kind: "Event", columns: EVENT, cells: event },
    Printer { group: "", kind: "Namespace", columns: NAMESPACE, cells: namespace },
    Printer { group: "apiregistration.k8s.io", kind: "APIService", columns: API_SERVICE, cells: api_service },
    Printer { group: "events.k8s.io", kind: "Event", columns: EVENT, cells: event },
];

const NAMESPACE: &[Column] = &[NAME, text("Status"), AGE];

fn namespace(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(object), string(&object["status"]["phase"]).into(), age(object, now)]
}

const EVENT: &[Column] = &[
    text("Last Seen"),
    text("Type"),
    text("Reason"),
    text("Object"),
    wide("Subobject"),
    wide("Source"),
    text("Message"),
    wide("First Seen"),
    wide("Count"),
    Column { name: "Name", ty: "string", format: "name", priority: 1 },
];

/// Events of both groups are stored, and shown, as those of the core group.
fn event(object: &Value, now: Timestamp) -> Vec<Value> {
    let first = &object["firstTimestamp"];
    let first = since(if first.is_null() { &object["eventTime"] } else { first }, now);
    let last = &object["lastTimestamp"];
    let mut last = if last.is_null() { first.clone() } else { since(last, now) };
    let mut count = number(&object["count"]).max(1);
    let series = &object["series"];
    if !series.is_null() {
        last = since(&series["lastObservedTime"], now);
        count = number(&series["count"]);
    }
    let regarding = &object["involvedObject"];
    let kind = string(&regarding["kind"]).to_lowercase();
    let target = match string(&regarding["name"]) {
        "" => kind,
        name => format!("{kind}/{name}"),
    };
    let source = &object["source"];
    let component = string_or(&source["component"], string(&object["reportingComponent"]));
    let instance = string_or(&source["host"], string(&object["reportingInstance"]));
    let source = if instance.is_empty() { component.to_owned() } else { format!("{component}, {instance}") };
    vec![
        last.into(),
        string(&object["type"]).into(),
        string(&object["reason"]).into(),
        target.into(),
        string(&regarding["fieldPath"]).into(),
        source.into(),
        string(&object["message"]).trim().into(),
        first.into(),
        count.into(),
        name(object),
    ]
}

const COMPONENT_STATUS: &[Column] = &[NAME, text("Status"), text("Message"), text("Error")];

fn component_status(object: &Value, _now: Timestamp) -> Vec<Value> {
    let conditions = cells::list(&object["conditions"]);
    let healthy = conditions.iter().find(|condition| condition["type"] == "Healthy").unwrap_or(&Value::Null);
    let status = match string(&healthy["status"]) {
        "True" => "Healthy",
        "False" => "Unhealthy",
        _ => "Unknown",
    };
    vec![name(object), status.into(), string(&healthy["message"]).into(), string(&healthy["error"]).into()]
}

const API_SERVICE: &[Column] = &[NAME, text("Service"), text("Available"), AGE];

fn api_service(object: &Value, now: Timestamp) -> Vec<Value> {
    let service = &object["spec"]["service"];
    let service = match service.is_null() {
        true => "Local".to_owned(),
        false => format!("{}/{}", string(&service["namespace"]), string(&service["name"])),
    };
    let available = match cells::condition(object, "Available") {
        None => "Unknown".to_owned(),
        Some(condition) => match (string(&condition["status"]), string(&condition["reason"])) {
            (status, "") | (status @ "True", _) => status.to_owned(),
            (status, reason) => format!("{status} ({reason})"),
        },
    };
    vec![name(object), service.into(), available.into(), age(object, now)]
}
