//! Config maps, secrets, service accounts and what limits a namespace.

use jiff::Timestamp;
use serde_json::Value;

use super::cells::{age, count, name, number, scalar, string, string_or};
use super::{AGE, Column, NAME, Printer, boolean, integer, text};

pub(super) const PRINTERS: &[Printer] = &[
    Printer { group: "", kind: "ConfigMap", columns: CONFIG_MAP, cells: config_map },
    Printer { group: "", kind: "ResourceQuota", columns: RESOURCE_QUOTA, cells: resource_quota },
    Printer { group: "", kind: "Secret", columns: SECRET, cells: secret },
    Printer { group: "", kind: "ServiceAccount", columns: SERVICE_ACCOUNT, cells: service_account },
    Printer { group: "scheduling.k8s.io", kind: "PriorityClass", columns: PRIORITY_CLASS, cells: priority_class },
];

const CONFIG_MAP: &[Column] = &[NAME, text("Data"), AGE];

fn config_map(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(object), (count(&object["data"]) + count(&object["binaryData"])).into(), age(object, now)]
}

const SECRET: &[Column] = &[NAME, text("Type"), text("Data"), AGE];

fn secret(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(object), string(&object["type"]).into(), count(&object["data"]).into(), age(object, now)]
}

const SERVICE_ACCOUNT: &[Column] = &[NAME, text("Secrets"), AGE];

fn service_account(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(object), count(&object["secrets"]).into(), age(object, now)]
}

const RESOURCE_QUOTA: &[Column] = &[NAME, text("Request"), text("Limit"), AGE];

fn resource_quota(object: &Value, now: Timestamp) -> Vec<Value> {
    let (mut requests, mut limits) = (Vec::new(), Vec::new());
    let status = &object["status"];
    for (resource, hard) in status["hard"].as_object().into_iter().flatten() {
        let used = string_or(&status["used"][resource], "0");
        let part = format!("{resource}: {used}/{}", scalar(hard));
        if resource.starts_with("limits.") { limits.push(part) } else { requests.push(part) }
    }
    vec![name(object), requests.join(", ").into(), limits.join(", ").into(), age(object, now)]
}

const PRIORITY_CLASS: &[Column] = &[NAME, integer("Value"), boolean("Global-Default"), AGE, text("PreemptionPolicy")];

fn priority_class(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(object),
        number(&object["value"]).into(),
        (object["globalDefault"] == true).into(),
        age(object, now),
        string(&object["preemptionPolicy"]).into(),
    ]
}
