//! Pods: what a new one begins with, their quality of service, their graceful end.

mod profiles;
mod selectors;

use std::collections::BTreeMap;

use api::quantity::Quantity;
use serde_json::{Value, json};

/// A new pod is pending, and its class of service is decided for good; tells what is deprecated in it.
pub(super) fn prepare_create(object: &mut Value, now: jiff::Timestamp) -> Vec<String> {
    let class = qos_class(object);
    object["status"] = json!({"phase": "Pending", "qosClass": class});
    let gates = object.pointer("/spec/schedulingGates").and_then(Value::as_array);
    if gates.is_some_and(|gates| !gates.is_empty()) {
        object["status"]["conditions"] = json!([{
            "type": "PodScheduled", "status": "False", "lastProbeTime": null,
            "lastTransitionTime": api::meta::format_time(now), "reason": "SchedulingGated",
            "message": "Scheduling is blocked due to non-empty scheduling gates",
        }]);
    }
    selectors::complete(object);
    profiles::join(object)
}

/// The class of service and what only the status subresource may set stay as they were.
pub(super) fn prepare_update(new: &mut Value, old: &Value) {
    super::copy(new, old, "status");
}

/// `podIP` is the first of `podIPs`: whoever sets one of them sets both.
fn join_addresses(status: &mut Value) {
    let first = status.pointer("/podIPs/0/ip").and_then(Value::as_str).unwrap_or_default().to_owned();
    let single = status.get("podIP").and_then(Value::as_str).unwrap_or_default().to_owned();
    if single.is_empty() && !first.is_empty() {
        status["podIP"] = first.into();
    } else if !single.is_empty() && single != first {
        status["podIPs"] = json!([{"ip": single}]);
    }
}

/// A status update may leave out what was decided at creation.
pub(super) fn prepare_status_update(new: &mut Value, old: &Value) {
    if let Some(status) = new.get_mut("status").filter(|status| status.is_object()) {
        join_addresses(status);
    }
    if let Some(class) = old.pointer("/status/qosClass")
        && let Some(status) = new.get_mut("status").and_then(Value::as_object_mut)
        && status.get("qosClass").and_then(Value::as_str).is_none_or(str::is_empty)
    {
        status.insert("qosClass".to_owned(), class.clone());
    }
}

/// How long a deleted pod has: none if it runs nowhere.
pub(super) fn grace_period(object: &Value, requested: Option<i64>) -> Option<i64> {
    let wanted = requested
        .or_else(|| object.pointer("/spec/terminationGracePeriodSeconds").and_then(Value::as_i64))
        .unwrap_or(30);
    // A negative period means the shortest one.
    let wanted = if wanted < 0 { 1 } else { wanted };
    let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let is_scheduled = !text("/spec/nodeName").is_empty();
    let is_over = matches!(text("/status/phase"), "Succeeded" | "Failed");
    Some(if is_scheduled && !is_over { wanted } else { 0 })
}

/// `Guaranteed`, `Burstable` or `BestEffort`, from requests and limits for CPU and memory.
fn qos_class(pod: &Value) -> &'static str {
    const COMPUTE: [&str; 2] = ["cpu", "memory"];
    let list = |field: &str| pod.pointer(&format!("/spec/{field}")).and_then(Value::as_array).into_iter().flatten();
    let containers: Vec<&Value> = list("initContainers").chain(list("containers")).collect();
    let pod_level = pod.pointer("/spec/resources");
    let sources: Vec<&Value> = match pod_level.filter(|resources| resources.as_object().is_some_and(|r| !r.is_empty()))
    {
        Some(resources) => vec![resources],
        None => containers.iter().filter_map(|container| container.get("resources")).collect(),
    };
    let mut requests: BTreeMap<&str, Quantity> = BTreeMap::new();
    let mut limits: BTreeMap<&str, Quantity> = BTreeMap::new();
    let mut is_guaranteed = pod_level.is_some() || sources.len() == containers.len();
    for resources in &sources {
        let read = |field: &str, name: &str| {
            let value = resources.get(field)?.get(name)?;
            let text = value.as_str().map(str::to_owned).unwrap_or_else(|| value.to_string());
            Quantity::parse(&text).ok().filter(|quantity| quantity.milli_value() > 0)
        };
        for name in COMPUTE {
            let (request, limit) = (read("requests", name), read("limits", name));
            is_guaranteed &= limit.is_some();
            if let Some(request) = request.or(limit) {
                add(&mut requests, name, request);
            }
            if let Some(limit) = limit {
                add(&mut limits, name, limit);
            }
        }
    }
    if requests.is_empty() && limits.is_empty() {
        return "BestEffort";
    }
    if is_guaranteed && requests == limits && limits.len() == COMPUTE.len() { "Guaranteed" } else { "Burstable" }
}

fn add<'a>(totals: &mut BTreeMap<&'a str, Quantity>, name: &'a str, quantity: Quantity) {
    *totals.entry(name).or_default() += quantity;
}
