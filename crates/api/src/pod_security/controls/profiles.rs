//! Profiles of the kernel's security modules, and the masks over `/proc`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::Violation;
use super::super::pod::{Pod, containers, plural, quoted, setters};

/// Begins the annotations that profiles of AppArmor were before they had a field.
const APP_ARMOR_ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";

pub(super) fn app_armor(pod: &Pod<'_>) -> Option<Violation> {
    let mut values = BTreeSet::new();
    let mut is_bad = |profile: Option<&Value>| {
        let Some(profile) = profile else { return false };
        let kind = profile.get("type").and_then(Value::as_str).unwrap_or_default();
        let is_bad = !matches!(kind, "RuntimeDefault" | "Localhost");
        if is_bad {
            values.insert(kind.to_owned());
        }
        is_bad
    };
    let is_pod = is_bad(pod.context("/appArmorProfile"));
    let names = pod.names(|container| is_bad(container.context("/appArmorProfile")));
    let is_allowed = |profile: &str| matches!(profile, "" | "runtime/default") || profile.starts_with("localhost/");
    let annotations: BTreeSet<String> = pod
        .annotations()
        .filter(|(key, value)| key.starts_with(APP_ARMOR_ANNOTATION) && !is_allowed(value))
        .map(|(key, value)| format!("{key}={}", crate::field::quote(value)))
        .collect();
    let annotated =
        (!annotations.is_empty()).then(|| plural(annotations.len(), "annotation", "annotations").to_owned());
    let who: Vec<String> = setters(is_pod, &names).into_iter().chain(annotated).collect();
    let values: Vec<String> = values.into_iter().chain(annotations).collect();
    (!who.is_empty()).then(|| {
        let reason = plural(values.len(), "forbidden AppArmor profile", "forbidden AppArmor profiles");
        let detail = format!("{} must not set AppArmor profile type to {}", who.join(" and "), quoted(&values));
        Violation::new(reason, detail)
    })
}

/// Types of SELinux that confine a container.
const SELINUX_TYPES: [&str; 4] = ["", "container_t", "container_init_t", "container_kvm_t"];

fn selinux(pod: &Pod<'_>, further: &[&str]) -> Option<Violation> {
    let (mut types, mut has_user, mut has_role) = (BTreeSet::new(), false, false);
    let mut is_bad = |options: Option<&Value>| {
        let text = |field: &str| options.and_then(|o| o.get(field)?.as_str()).unwrap_or_default().to_owned();
        let kind = text("type");
        let is_type_bad = !SELINUX_TYPES.contains(&kind.as_str()) && !further.contains(&kind.as_str());
        if is_type_bad {
            types.insert(kind);
        }
        let (is_user_set, is_role_set) = (!text("user").is_empty(), !text("role").is_empty());
        has_user |= is_user_set;
        has_role |= is_role_set;
        is_type_bad || is_user_set || is_role_set
    };
    let is_pod = is_bad(pod.context("/seLinuxOptions"));
    let names = pod.names(|container| is_bad(container.context("/seLinuxOptions")));
    let who = setters(is_pod, &names)?;
    let typed = (!types.is_empty()).then(|| format!("{} {}", plural(types.len(), "type", "types"), quoted(&types)));
    let user = has_user.then(|| "user may not be set".to_owned());
    let role = has_role.then(|| "role may not be set".to_owned());
    let what: Vec<String> = typed.into_iter().chain(user).chain(role).collect();
    let detail = format!("{who} set forbidden securityContext.seLinuxOptions: {}", what.join("; "));
    Some(Violation::new("seLinuxOptions", detail))
}

pub(super) fn selinux_1_0(pod: &Pod<'_>) -> Option<Violation> {
    selinux(pod, &[])
}

pub(super) fn selinux_1_31(pod: &Pod<'_>) -> Option<Violation> {
    selinux(pod, &["container_engine_t"])
}

pub(super) fn proc_mount(pod: &Pod<'_>) -> Option<Violation> {
    let mut types = BTreeSet::new();
    let names = pod.names(|container| {
        let kind = container.context("/procMount").and_then(Value::as_str).filter(|kind| *kind != "Default");
        types.extend(kind);
        kind.is_some()
    });
    (!names.is_empty()).then(|| {
        let detail = format!("{} must not set securityContext.procMount to {}", containers(&names), quoted(types));
        Violation::new("procMount", detail)
    })
}

/// Behind a user namespace an open `/proc` gives nothing away, so containers in the pod may nest.
pub(super) fn proc_mount_of_host_users(pod: &Pod<'_>) -> Option<Violation> {
    super::of_host_users(pod, proc_mount)
}
