//! `pods/binding`: the scheduler's decision, written to the pod.

use api::status::Status;
use serde_json::{Value, json};

/// The pod with the node that a Binding names.
pub(crate) fn apply(pod: &Value, binding: &Value, now: jiff::Timestamp) -> Result<Value, Status> {
    let name = api::meta::name(pod);
    let conflict = |why: String| Err(Status::conflict("", "pods/binding", name, why));
    let target = binding.pointer("/target/name").and_then(Value::as_str).unwrap_or_default();
    if let (Some(wanted), Some(found)) = (api::meta::uid(binding), api::meta::uid(pod))
        && wanted != found
    {
        return conflict(format!("Precondition failed: UID in precondition: {wanted}, UID in object meta: {found}"));
    }
    if api::meta::is_deleting(pod) {
        return conflict(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    let assigned = pod.pointer("/spec/nodeName").and_then(Value::as_str).unwrap_or_default();
    if !assigned.is_empty() {
        return conflict(format!("pod {name} is already assigned to node \"{assigned}\""));
    }
    let gates = pod.pointer("/spec/schedulingGates").and_then(Value::as_array);
    if gates.is_some_and(|gates| !gates.is_empty()) {
        return conflict(format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    let mut bound = pod.clone();
    bound["spec"]["nodeName"] = target.into();
    for (key, value) in api::meta::annotations(binding).into_iter().flatten() {
        api::meta::set_annotation(&mut bound, key, value.as_str().unwrap_or_default());
    }
    for (key, value) in api::meta::labels(binding).into_iter().flatten() {
        api::meta::set_label(&mut bound, key, value.as_str().unwrap_or_default());
    }
    let conditions = &mut bound["status"]["conditions"];
    if !conditions.is_array() {
        *conditions = json!([]);
    }
    let scheduled = json!({
        "type": "PodScheduled", "status": "True", "lastProbeTime": null,
        "lastTransitionTime": api::meta::format_time(now),
    });
    if let Some(conditions) = conditions.as_array_mut() {
        conditions.retain(|condition| condition["type"] != "PodScheduled");
        conditions.push(scheduled);
    }
    Ok(bound)
}

/// Refuses a Binding that names no node, with upstream's unclassified answers.
pub(crate) fn check(binding: &Value, pod: &str) -> Result<(), Status> {
    let given = api::meta::name(binding);
    if given != pod {
        return Err(Status::bad_request("name in URL does not match name in Binding object"));
    }
    let path = api::field::Path::new("target");
    let text = |field: &str| binding.pointer(&format!("/target/{field}")).and_then(Value::as_str).unwrap_or_default();
    if !matches!(text("kind"), "" | "Node") {
        let supported = ["Node", "<empty>"];
        let error = api::field::FieldError::not_supported(&path.child("kind"), text("kind"), &supported);
        return Err(Status::unclassified(error.to_string()));
    }
    if text("name").is_empty() {
        let error = api::field::FieldError::required(&path.child("name"), "");
        return Err(Status::unclassified(error.to_string()));
    }
    Ok(())
}
