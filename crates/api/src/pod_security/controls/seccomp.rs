//! Filters on system calls.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::Violation;
use super::super::pod::{Pod, containers, plural, quoted, setters};

const POD_ANNOTATION: &str = "seccomp.security.alpha.kubernetes.io/pod";
const CONTAINER_ANNOTATION: &str = "container.seccomp.security.alpha.kubernetes.io/";

/// Before there was a field.
pub(super) fn annotations(pod: &Pod<'_>) -> Option<Violation> {
    let of_containers = pod.containers().map(|container| format!("{CONTAINER_ANNOTATION}{}", container.name()));
    let forbidden: BTreeSet<String> = std::iter::once(POD_ANNOTATION.to_owned())
        .chain(of_containers)
        .filter_map(|key| {
            let value = pod.annotation(&key)?;
            let is_allowed = matches!(value, "runtime/default" | "docker/default") || value.starts_with("localhost/");
            (!is_allowed).then(|| format!("{key}={}", crate::field::quote(value)))
        })
        .collect();
    (!forbidden.is_empty()).then(|| {
        let noun = plural(forbidden.len(), "annotation", "annotations");
        let all: Vec<String> = forbidden.into_iter().collect();
        Violation::new("seccompProfile", format!("forbidden {noun} {}", all.join(", ")))
    })
}

/// What a profile is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Profile<'a> {
    Unset,
    Good,
    Bad(&'a str),
}

impl<'a> Profile<'a> {
    fn of(profile: Option<&'a Value>) -> Self {
        match profile.map(|profile| profile.get("type").and_then(Value::as_str).unwrap_or_default()) {
            None => Self::Unset,
            Some("RuntimeDefault" | "Localhost") => Self::Good,
            Some(other) => Self::Bad(other),
        }
    }
}

const FIELD: &str = "/seccompProfile";

/// No profile may be set that filters nothing.
pub(super) fn allowed(pod: &Pod<'_>) -> Option<Violation> {
    let mut values = BTreeSet::new();
    let mut is_bad = |profile| {
        let Profile::Bad(value) = profile else { return false };
        values.insert(value);
        true
    };
    let is_pod = is_bad(Profile::of(pod.context(FIELD)));
    let names = pod.names(|container| is_bad(Profile::of(container.context(FIELD))));
    let who = setters(is_pod, &names)?;
    let detail = format!("{who} must not set securityContext.seccompProfile.type to {}", quoted(values));
    Some(Violation::new("seccompProfile", detail))
}

/// Every container must have a profile, its own or the pod's.
pub(super) fn required(pod: &Pod<'_>) -> Option<Violation> {
    if let Some(violation) = allowed(pod) {
        return Some(violation);
    }
    if Profile::of(pod.context(FIELD)) == Profile::Good {
        return None;
    }
    let names = pod.names(|container| Profile::of(container.context(FIELD)) == Profile::Unset);
    (!names.is_empty()).then(|| {
        let who = containers(&names);
        let wanted = "\"RuntimeDefault\" or \"Localhost\"";
        let detail = format!("pod or {who} must set securityContext.seccompProfile.type to {wanted}");
        Violation::new("seccompProfile", detail)
    })
}
