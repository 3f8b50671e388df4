//! Whom processes run as.

use serde_json::Value;

use super::super::Violation;
use super::super::pod::{Pod, containers, setters};

pub(super) fn non_root(pod: &Pod<'_>) -> Option<Violation> {
    const REASON: &str = "runAsNonRoot != true";
    let of_pod = pod.context("/runAsNonRoot").and_then(Value::as_bool);
    let is_false = |found: Option<&Value>| found == Some(&Value::Bool(false));
    let names = pod.names(|container| is_false(container.context("/runAsNonRoot")));
    if let Some(who) = setters(of_pod == Some(false), &names) {
        return Some(Violation::new(REASON, format!("{who} must not set securityContext.runAsNonRoot=false")));
    }
    if of_pod == Some(true) {
        return None;
    }
    let names = pod.names(|container| container.context("/runAsNonRoot").is_none());
    (!names.is_empty()).then(|| {
        let who = containers(&names);
        Violation::new(REASON, format!("pod or {who} must set securityContext.runAsNonRoot=true"))
    })
}

pub(super) fn user(pod: &Pod<'_>) -> Option<Violation> {
    let is_root = |found: Option<&Value>| found.and_then(Value::as_i64) == Some(0);
    let names = pod.names(|container| is_root(container.context("/runAsUser")));
    let who = setters(is_root(pod.context("/runAsUser")), &names)?;
    Some(Violation::new("runAsUser=0", format!("{who} must not set runAsUser=0")))
}
