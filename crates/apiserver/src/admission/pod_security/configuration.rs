//! What an administrator decides about PodSecurity beside labels.

use api::pod_security::Policy;
use serde_json::Value;

/// Upstream's `PodSecurityConfiguration`: what holds without labels, and for whom nothing holds.
#[derive(Clone, Debug, Default)]
pub struct PodSecurityConfiguration {
    /// What holds in namespaces without labels.
    pub defaults: Policy,
    /// Users whose requests are not judged.
    pub exempt_usernames: Vec<String>,
    /// Namespaces in which nothing is judged.
    pub exempt_namespaces: Vec<String>,
    /// RuntimeClasses whose pods are not judged.
    pub exempt_runtime_classes: Vec<String>,
}

/// Whether a list has a name; no list has the empty one.
fn has(list: &[String], name: &str) -> bool {
    !name.is_empty() && list.iter().any(|entry| entry == name)
}

impl PodSecurityConfiguration {
    pub(super) fn has_username(&self, name: &str) -> bool {
        has(&self.exempt_usernames, name)
    }

    pub(super) fn has_namespace(&self, name: &str) -> bool {
        has(&self.exempt_namespaces, name)
    }

    /// Whether the RuntimeClass of a pod or template is exempt.
    pub(super) fn has_runtime_class(&self, pod: &Value) -> bool {
        let name = pod.pointer("/spec/runtimeClassName").and_then(Value::as_str).unwrap_or_default();
        has(&self.exempt_runtime_classes, name)
    }
}
