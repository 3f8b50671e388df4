//! Webhook configurations and admission policies.

use serde_json::Map;

use super::Object;
use super::edit::{child, each, made, set};

pub(super) fn validating_webhooks(object: &mut Object) {
    each(object, "webhooks").for_each(webhook);
}

pub(super) fn mutating_webhooks(object: &mut Object) {
    for hook in each(object, "webhooks") {
        webhook(hook);
        set(hook, "reinvocationPolicy", "Never");
    }
}

fn webhook(hook: &mut Object) {
    set(hook, "failurePolicy", "Fail");
    set(hook, "matchPolicy", "Equivalent");
    set(hook, "namespaceSelector", Map::new());
    set(hook, "objectSelector", Map::new());
    set(hook, "timeoutSeconds", 10);
    for rule in each(hook, "rules") {
        set(rule, "scope", "*");
    }
    if let Some(service) = child(hook, "clientConfig").and_then(|config| child(config, "service")) {
        set(service, "port", 443);
    }
}

pub(super) fn admission_policy(object: &mut Object) {
    let spec = made(object, "spec");
    set(spec, "failurePolicy", "Fail");
    if let Some(constraints) = child(spec, "matchConstraints") {
        match_resources(constraints);
    }
}

pub(super) fn admission_policy_binding(object: &mut Object) {
    if let Some(resources) = child(object, "spec").and_then(|spec| child(spec, "matchResources")) {
        match_resources(resources);
    }
}

fn match_resources(resources: &mut Object) {
    set(resources, "matchPolicy", "Equivalent");
    set(resources, "namespaceSelector", Map::new());
    set(resources, "objectSelector", Map::new());
    for rules in ["resourceRules", "excludeResourceRules"] {
        for rule in each(resources, rules) {
            set(rule, "scope", "*");
        }
    }
}
