//! What controllers make pods of: its owner is warned, its pods are judged when they come.

use serde_json::Value;

use super::super::Attributes;
use super::{audit, has_exempt_runtime_class, is_exempt, policy, warn};

/// Where the template is, by group and resource.
const TEMPLATES: [(&str, &str, &str); 8] = [
    ("", "podtemplates", "/template"),
    ("", "replicationcontrollers", "/spec/template"),
    ("apps", "daemonsets", "/spec/template"),
    ("apps", "deployments", "/spec/template"),
    ("apps", "replicasets", "/spec/template"),
    ("apps", "statefulsets", "/spec/template"),
    ("batch", "cronjobs", "/spec/jobTemplate/spec/template"),
    ("batch", "jobs", "/spec/template"),
];

/// Where the template of a resource is, if it has one.
pub(super) fn path(group: &str, plural: &str) -> Option<&'static str> {
    TEMPLATES.iter().find(|(g, p, _)| (*g, *p) == (group, plural)).map(|(_, _, path)| *path)
}

pub(super) fn validate(attributes: &Attributes<'_>, object: &Value, path: &str) {
    if !attributes.caller.subresource.is_empty() || is_exempt(attributes) {
        return;
    }
    let Some(template) = object.pointer(path).filter(|template| !template.is_null()) else { return };
    let policy = policy(attributes).filter(|_| !has_exempt_runtime_class(attributes, template));
    if let Some(policy) = policy {
        audit(attributes, &policy, template);
        warn(attributes, &policy, template);
    }
}
