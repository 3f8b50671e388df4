//! Autoscalers and disruption budgets.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::cells::{NONE, UNKNOWN, UNSET, age, few, list, name, number, scalar, string, string_or};
use super::{AGE, Column, NAME, Printer, integer, text};

pub(super) const PRINTERS: &[Printer] = &[
    Printer { group: "autoscaling", kind: "HorizontalPodAutoscaler", columns: AUTOSCALER, cells: autoscaler },
    Printer { group: "autoscaling", kind: "Scale", columns: SCALE, cells: scale },
    Printer { group: "policy", kind: "PodDisruptionBudget", columns: BUDGET, cells: budget },
];

/// The name is no link to an object of its own.
const SCALE: &[Column] = &[text("Name"), integer("Desired"), integer("Available"), AGE];

fn scale(object: &Value, now: Timestamp) -> Vec<Value> {
    let replicas = |part: &str| number(&object[part]["replicas"]);
    vec![name(object), replicas("spec").into(), replicas("status").into(), age(object, now)]
}

const AUTOSCALER: &[Column] =
    &[NAME, text("Reference"), text("Targets"), text("MinPods"), text("MaxPods"), text("Replicas"), AGE];

fn autoscaler(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let target = &spec["scaleTargetRef"];
    vec![
        name(object),
        format!("{}/{}", string(&target["kind"]), string(&target["name"])).into(),
        targets(spec, status).into(),
        spec["minReplicas"].as_i64().map_or_else(|| UNSET.to_owned(), |least| least.to_string()).into(),
        number(&spec["maxReplicas"]).into(),
        number(&status["currentReplicas"]).into(),
        age(object, now),
    ]
}

fn targets(spec: &Value, status: &Value) -> String {
    let cpu;
    let mut metrics = list(&spec["metrics"]);
    let mut current = list(&status["currentMetrics"]).to_vec();
    // The first version has one metric, in fields of its own.
    if let Some(percent) = spec["targetCPUUtilizationPercentage"].as_i64() {
        cpu = [json!({"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": percent}}})];
        metrics = &cpu;
        if let Some(used) = status["currentCPUUtilizationPercentage"].as_i64() {
            current = vec![json!({"resource": {"current": {"averageUtilization": used}}})];
        }
    }
    if metrics.is_empty() {
        return NONE.to_owned();
    }
    let shown: Vec<String> = metrics
        .iter()
        .enumerate()
        .map(|(index, metric)| target(metric, current.get(index).unwrap_or(&Value::Null)))
        .collect();
    few(&shown, 2, ", ")
}

/// One metric: what is, and what is wanted.
fn target(metric: &Value, status: &Value) -> String {
    let source = match string(&metric["type"]) {
        "External" => "external",
        "Pods" => "pods",
        "Object" => "object",
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        _ => return "<unknown type>".to_owned(),
    };
    let wanted = &metric[source]["target"];
    let current = &status[source]["current"];
    let is_known = !status[source].is_null();
    // What is measured of an average is only asked for where there is one, but for resources and pods.
    let shown = |value: &Value| match value.is_null() {
        true if is_known => "<nil>".to_owned(),
        true => UNKNOWN.to_owned(),
        false => scalar(value),
    };
    let if_any = |value: &Value| if value.is_null() { UNKNOWN.to_owned() } else { scalar(value) };
    let percent = |value: &Value, otherwise: &str| {
        value.as_i64().map_or_else(|| otherwise.to_owned(), |percent| format!("{percent}%"))
    };
    let average = !wanted["averageValue"].is_null();
    match source {
        "resource" | "containerResource" => {
            let resource = string_or(&metric[source]["name"], "");
            match average {
                true => {
                    format!("{resource}: {}/{}", shown(&current["averageValue"]), scalar(&wanted["averageValue"]))
                }
                false => {
                    let is = percent(&current["averageUtilization"], UNKNOWN);
                    format!("{resource}: {is}/{}", percent(&wanted["averageUtilization"], "<auto>"))
                }
            }
        }
        "pods" => format!("{}/{}", shown(&current["averageValue"]), scalar(&wanted["averageValue"])),
        _ if average => format!("{}/{} (avg)", if_any(&current["averageValue"]), scalar(&wanted["averageValue"])),
        _ => format!("{}/{}", shown(&current["value"]), scalar(&wanted["value"])),
    }
}

const BUDGET: &[Column] = &[NAME, text("Min Available"), text("Max Unavailable"), integer("Allowed Disruptions"), AGE];

fn budget(object: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &object["spec"];
    let bound = |value: &Value| if value.is_null() { "N/A".to_owned() } else { scalar(value) };
    vec![
        name(object),
        bound(&spec["minAvailable"]).into(),
        bound(&spec["maxUnavailable"]).into(),
        number(&object["status"]["disruptionsAllowed"]).into(),
        age(object, now),
    ]
}
