//! Namespaces, events, component statuses, API services and certificate requests.

use jiff::Timestamp;
use serde_json::Value;

use super::cells::{self, NONE, age, human_duration, name, number, since, string, string_or};
use super::{AGE, Column, NAME, Printer, text, wide};

pub(super) const PRINTERS: &[Printer] = &[
    Printer { group: "", kind: "ComponentStatus", columns: COMPONENT_STATUS, cells: component_status },
    Printer { group: "", kind: "Event", columns: EVENT, cells: event },
    Printer { group: "", kind: "Namespace", columns: NAMESPACE, cells: namespace },
    Printer { group: "apiregistration.k8s.io", kind: "APIService", columns: API_SERVICE, cells: api_service },
    Printer {
        group: "certificates.k8s.io",
        kind: "CertificateSigningRequest",
        columns: SIGNING_REQUEST,
        cells: signing_request,
    },
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

/// Events of both groups; each names some fields differently.
fn event(object: &Value, now: Timestamp) -> Vec<Value> {
    let either = |core: &str, other: &str| match object.get(core) {
        Some(value) if !value.is_null() => value,
        _ => &object[other],
    };
    let first = either("firstTimestamp", "deprecatedFirstTimestamp");
    let first = since(if first.is_null() { &object["eventTime"] } else { first }, now);
    let last = either("lastTimestamp", "deprecatedLastTimestamp");
    let mut last = if last.is_null() { first.clone() } else { since(last, now) };
    let mut count = number(either("count", "deprecatedCount")).max(1);
    let series = &object["series"];
    if !series.is_null() {
        last = since(&series["lastObservedTime"], now);
        count = number(&series["count"]);
    }
    let regarding = either("involvedObject", "regarding");
    let kind = string(&regarding["kind"]).to_lowercase();
    let target = match string(&regarding["name"]) {
        "" => kind,
        name => format!("{kind}/{name}"),
    };
    let source = either("source", "deprecatedSource");
    let reporter = string(either("reportingComponent", "reportingController"));
    let component = string_or(&source["component"], reporter);
    let instance = string_or(&source["host"], string(&object["reportingInstance"]));
    let source = if instance.is_empty() { component.to_owned() } else { format!("{component}, {instance}") };
    vec![
        last.into(),
        string(&object["type"]).into(),
        string(&object["reason"]).into(),
        target.into(),
        string(&regarding["fieldPath"]).into(),
        source.into(),
        string(either("message", "note")).trim().into(),
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
        Some(condition) if condition["status"] == "True" => "True".to_owned(),
        Some(condition) => format!("{} ({})", string(&condition["status"]), string(&condition["reason"])),
    };
    vec![name(object), service.into(), available.into(), age(object, now)]
}

const SIGNING_REQUEST: &[Column] =
    &[NAME, AGE, text("SignerName"), text("Requestor"), text("RequestedDuration"), text("Condition")];

fn signing_request(object: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &object["spec"];
    let has = |condition_type: &str| cells::condition(object, condition_type).is_some();
    let mut status = match (has("Denied"), has("Approved")) {
        (true, _) => "Denied",
        (false, true) => "Approved",
        (false, false) => "Pending",
    }
    .to_owned();
    if has("Failed") {
        status.push_str(",Failed");
    }
    if !string(&object["status"]["certificate"]).is_empty() {
        status.push_str(",Issued");
    }
    let duration = spec["expirationSeconds"].as_i64().map_or(NONE.to_owned(), human_duration);
    vec![
        name(object),
        age(object, now),
        string_or(&spec["signerName"], NONE).into(),
        string(&spec["username"]).into(),
        duration.into(),
        status.into(),
    ]
}
