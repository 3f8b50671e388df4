//! Kinds whose defaulting is a line or two.

use super::Object;
use super::edit::{child, each, is_unset, made, set, text};

const RBAC_GROUP: &str = "rbac.authorization.k8s.io";

pub(super) fn role_binding(object: &mut Object) {
    if let Some(role) = child(object, "roleRef") {
        set(role, "apiGroup", RBAC_GROUP);
    }
    for subject in each(object, "subjects") {
        if matches!(text(subject, "kind"), "User" | "Group") {
            set(subject, "apiGroup", RBAC_GROUP);
        }
    }
}

pub(super) fn priority_class(object: &mut Object) {
    set(object, "preemptionPolicy", "PreemptLowerPriority");
}

pub(super) fn token_request(object: &mut Object) {
    set(made(object, "spec"), "expirationSeconds", 3600);
}

pub(super) fn api_service(object: &mut Object) {
    if let Some(service) = child(object, "spec").and_then(|spec| child(spec, "service")) {
        set(service, "port", 443);
    }
}

pub(super) fn custom_resource_definition(object: &mut Object) {
    let spec = made(object, "spec");
    if let Some(names) = child(spec, "names") {
        let kind = text(names, "kind").to_owned();
        if !kind.is_empty() {
            set(names, "singular", kind.to_lowercase());
            set(names, "listKind", format!("{kind}List"));
        }
    }
    let is_named = !is_unset(spec, "conversion");
    let conversion = made(spec, "conversion");
    if !is_named {
        set(conversion, "strategy", "None");
    }
    let config = child(conversion, "webhook").and_then(|webhook| child(webhook, "clientConfig"));
    if let Some(service) = config.and_then(|config| child(config, "service")) {
        set(service, "port", 443);
    }
}

pub(super) fn flow_schema(object: &mut Object) {
    let spec = made(object, "spec");
    if is_unset(spec, "matchingPrecedence") || spec["matchingPrecedence"] == 0 {
        spec.insert("matchingPrecedence".to_owned(), 1000.into());
    }
}

pub(super) fn priority_level_configuration(object: &mut Object) {
    let spec = made(object, "spec");
    if let Some(exempt) = child(spec, "exempt") {
        set(exempt, "nominalConcurrencyShares", 0);
        set(exempt, "lendablePercent", 0);
    }
    if let Some(limited) = child(spec, "limited") {
        set(limited, "nominalConcurrencyShares", 30);
        set(limited, "lendablePercent", 0);
        if let Some(queuing) = child(limited, "limitResponse").and_then(|response| child(response, "queuing")) {
            for (key, value) in [("queues", 64), ("handSize", 8), ("queueLengthLimit", 50)] {
                super::edit::set_nonzero(queuing, key, value);
            }
        }
    }
}

pub(super) fn resource_claim(object: &mut Object) {
    if let Some(devices) = child(object, "spec").and_then(|spec| child(spec, "devices")) {
        for request in each(devices, "requests") {
            // In the first beta the fields of an exact request stand in the request itself.
            if !is_unset(request, "deviceClassName") {
                device_request(request);
            }
            if let Some(exactly) = child(request, "exactly") {
                device_request(exactly);
            }
            each(request, "firstAvailable").for_each(device_request);
        }
    }
}

pub(super) fn resource_claim_template(object: &mut Object) {
    if let Some(spec) = child(object, "spec") {
        resource_claim(spec);
    }
}

fn device_request(request: &mut Object) {
    set(request, "allocationMode", "ExactCount");
    if text(request, "allocationMode") == "ExactCount" {
        super::edit::set_nonzero(request, "count", 1);
    }
}
