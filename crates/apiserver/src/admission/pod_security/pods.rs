//! Pods: refused or warned of when they are made, and when what counts in them changes.

use api::status::Status;
use serde_json::Value;

use super::super::Attributes;
use super::{audit, has_exempt_runtime_class, is_exempt, policy, warn};

/// Subresources through which nothing that counts can change. Of others everything is judged.
const IGNORED: [&str; 8] = ["exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status"];

pub(super) fn validate(attributes: &Attributes<'_>, pod: &Value) -> Result<(), Status> {
    if IGNORED.contains(&attributes.caller.subresource) || is_exempt(attributes) {
        return Ok(());
    }
    let Some(policy) = policy(attributes) else {
        let namespace = attributes.scope.namespace.unwrap_or_default();
        return Err(Status::internal(format!("failed to lookup namespace {namespace}")));
    };
    let is_unchanged = attributes.old.is_some_and(|old| !is_significant(pod, old));
    if is_unchanged || has_exempt_runtime_class(attributes, pod) {
        return Ok(());
    }
    attributes.annotate("pod-security.kubernetes.io/enforce-policy", || policy.enforce.to_string());
    audit(attributes, &policy, pod);
    let violations = api::pod_security::evaluate(policy.enforce, pod);
    if !violations.is_empty() {
        let why = format!("violates PodSecurity \"{}\": {}", policy.enforce, violations.details());
        return Err(attributes.forbidden(pod, why));
    }
    warn(attributes, &policy, pod);
    Ok(())
}

/// Whether an update changes something that controls look at, or what runs.
fn is_significant(pod: &Value, old: &Value) -> bool {
    let annotation_differs = |key: &str| {
        api::meta::annotation(pod, key).unwrap_or_default() != api::meta::annotation(old, key).unwrap_or_default()
    };
    let differs = |(new, old): (&Value, &Value)| {
        let name = new["name"].as_str().unwrap_or_default();
        new["image"] != old["image"]
            || annotation_differs(&format!("container.seccomp.security.alpha.kubernetes.io/{name}"))
    };
    let lists_differ = |list: &str| {
        let (new, old) = (containers(pod, list), containers(old, list));
        new.len() != old.len() || new.iter().zip(old).any(differs)
    };
    let debuggers = containers(old, "ephemeralContainers");
    annotation_differs("seccomp.security.alpha.kubernetes.io/pod")
        || lists_differ("containers")
        || lists_differ("initContainers")
        || containers(pod, "ephemeralContainers").iter().any(|new| {
            let before = debuggers.iter().find(|old| old["name"] == new["name"]);
            before.is_none_or(|old| differs((new, old)))
        })
}

fn containers<'a>(pod: &'a Value, list: &str) -> &'a [Value] {
    pod["spec"][list].as_array().map_or(&[], Vec::as_slice)
}
