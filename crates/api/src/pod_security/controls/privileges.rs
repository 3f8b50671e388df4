//! What processes may do beyond their user: privileged containers, capabilities, escalation.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::Violation;
use super::super::pod::{Container, Pod, containers, quoted};

pub(super) fn privileged(pod: &Pod<'_>) -> Option<Violation> {
    let names = pod.names(|container| container.context("/privileged") == Some(&Value::Bool(true)));
    (!names.is_empty()).then(|| {
        let detail = format!("{} must not set securityContext.privileged=true", containers(&names));
        Violation::new("privileged", detail)
    })
}

pub(super) fn escalation(pod: &Pod<'_>) -> Option<Violation> {
    let names = pod.names(|container| container.context("/allowPrivilegeEscalation") != Some(&Value::Bool(false)));
    (!names.is_empty()).then(|| {
        let detail = format!("{} must set securityContext.allowPrivilegeEscalation=false", containers(&names));
        Violation::new("allowPrivilegeEscalation != false", detail)
    })
}

/// What container runtimes give without being asked.
const DEFAULT_CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// What says that containers add capabilities that are not allowed.
fn adding(pod: &Pod<'_>, allowed: &[&str]) -> Option<String> {
    let mut forbidden: BTreeSet<&str> = BTreeSet::new();
    let names = pod.names(|container| {
        let added: Vec<&str> = listed(*container, "add").filter(|name| !allowed.contains(name)).collect();
        forbidden.extend(&added);
        !added.is_empty()
    });
    (!names.is_empty()).then(|| {
        let (who, which) = (containers(&names), quoted(forbidden));
        format!("{who} must not include {which} in securityContext.capabilities.add")
    })
}

fn listed<'a>(container: Container<'a>, list: &str) -> impl Iterator<Item = &'a str> + use<'a> {
    container.list(&format!("/securityContext/capabilities/{list}")).filter_map(Value::as_str)
}

pub(super) fn added_capabilities(pod: &Pod<'_>) -> Option<Violation> {
    Some(Violation::new("non-default capabilities", adding(pod, &DEFAULT_CAPABILITIES)?))
}

pub(super) fn dropped_capabilities(pod: &Pod<'_>) -> Option<Violation> {
    let names = pod.names(|container| !listed(*container, "drop").any(|name| name == "ALL"));
    let keeping = (!names.is_empty())
        .then(|| format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", containers(&names)));
    let details: Vec<String> = keeping.into_iter().chain(adding(pod, &["NET_BIND_SERVICE"])).collect();
    (!details.is_empty()).then(|| Violation::new("unrestricted capabilities", details.join("; ")))
}
