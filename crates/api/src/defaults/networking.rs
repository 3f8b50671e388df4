//! Network policies, ingress classes and endpoint slices.

use serde_json::Value;

use super::Object;
use super::edit::{child, each, is_empty, made, set};

pub(super) fn network_policy(object: &mut Object) {
    let spec = made(object, "spec");
    for rules in ["ingress", "egress"] {
        for rule in each(spec, rules) {
            for port in each(rule, "ports") {
                set(port, "protocol", "TCP");
            }
        }
    }
    if is_empty(spec, "policyTypes") {
        let mut types = vec![Value::from("Ingress")];
        if !is_empty(spec, "egress") {
            types.push("Egress".into());
        }
        spec.insert("policyTypes".to_owned(), types.into());
    }
}

pub(super) fn ingress_class(object: &mut Object) {
    if let Some(parameters) = child(object, "spec").and_then(|spec| child(spec, "parameters")) {
        set(parameters, "scope", "Cluster");
    }
}

pub(super) fn endpoint_slice(object: &mut Object) {
    for port in each(object, "ports") {
        port.entry("name").or_insert_with(|| "".into());
        set(port, "protocol", "TCP");
    }
}
