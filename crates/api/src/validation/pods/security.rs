//! Security contexts of pods and containers.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{
    AppArmorProfile, PodSecurityContext, PodSpec, SeccompProfile, SecurityContext, Sysctl,
};

use super::{containers, windows};
use crate::field::{ErrorList, FieldError, Path};
use crate::validation::{check, names};

/// Judges the security context of a pod.
pub(super) fn pod(spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    let default = PodSecurityContext::default();
    let context = spec.security_context.as_ref().unwrap_or(&default);
    for (field, id) in
        [("fsGroup", context.fs_group), ("runAsUser", context.run_as_user), ("runAsGroup", context.run_as_group)]
    {
        id_in_range(id, &path.child(field), errors);
    }
    for (index, group) in context.supplemental_groups.iter().flatten().enumerate() {
        id_in_range(Some(*group), &path.child("supplementalGroups").index(index), errors);
    }
    if spec.share_process_namespace == Some(true) && spec.host_pid == Some(true) {
        let why = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.push(FieldError::invalid(&path.child("shareProcessNamespace"), true, why));
    }
    sysctls(context.sysctls.as_deref().unwrap_or_default(), spec, &path.child("sysctls"), errors);
    let policies = ["Always", "OnRootMismatch"];
    check::optional_one_of(errors, &path.child("fsGroupChangePolicy"), &context.fs_group_change_policy, &policies);
    if let Some(profile) = &context.seccomp_profile {
        seccomp(profile, &path.child("seccompProfile"), errors);
    }
    if let Some(options) = &context.windows_options {
        windows::options(options, &path.child("windowsOptions"), errors);
    }
    if let Some(profile) = &context.app_armor_profile {
        app_armor(profile, &path.child("appArmorProfile"), errors);
    }
    for (field, value, supported) in [
        ("supplementalGroupsPolicy", &context.supplemental_groups_policy, ["Merge", "Strict"]),
        ("seLinuxChangePolicy", &context.se_linux_change_policy, ["MountOption", "Recursive"]),
    ] {
        check::optional_one_of(errors, &path.child(field), value, &supported);
    }
}

/// Judges what a pod with users of its own must not share with its node.
pub(super) fn host_users(spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    if spec.host_users != Some(false) {
        return;
    }
    let why = "when `hostUsers` is false";
    // Two of the names are those of upstream's types.
    for (field, set) in [("hostNetwork", spec.host_network), ("HostPID", spec.host_pid), ("HostIPC", spec.host_ipc)] {
        if set == Some(true) {
            errors.push(FieldError::forbidden(&path.child(field), why));
        }
    }
    for container in containers::every(spec).filter(|container| container.has_devices) {
        errors.push(FieldError::forbidden(&container.path(path).child("volumeDevices"), why));
    }
}

/// Judges the security context of a container.
pub(super) fn container(context: &SecurityContext, host_users: bool, path: &Path, errors: &mut ErrorList) {
    id_in_range(context.run_as_user, &path.child("runAsUser"), errors);
    id_in_range(context.run_as_group, &path.child("runAsGroup"), errors);
    check::optional_one_of(errors, &path.child("procMount"), &context.proc_mount, &["Default", "Unmasked"]);
    if host_users && check::text(&context.proc_mount) == "Unmasked" {
        let why = "`hostUsers` must be false to use `Unmasked`";
        errors.push(FieldError::invalid(&path.child("procMount"), "Unmasked", why));
    }
    if let Some(profile) = &context.seccomp_profile {
        seccomp(profile, &path.child("seccompProfile"), errors);
    }
    if context.allow_privilege_escalation == Some(false) {
        if context.privileged == Some(true) {
            let why = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            errors.push(FieldError::invalid(path, check::json(context), why));
        }
        let added = context.capabilities.iter().flat_map(|capabilities| capabilities.add.iter().flatten());
        for _ in added.filter(|capability| *capability == "CAP_SYS_ADMIN") {
            let why = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            errors.push(FieldError::invalid(path, check::json(context), why));
        }
    }
    if let Some(options) = &context.windows_options {
        windows::options(options, &path.child("windowsOptions"), errors);
    }
    if let Some(profile) = &context.app_armor_profile {
        app_armor(profile, &path.child("appArmorProfile"), errors);
    }
}

fn id_in_range(id: Option<i64>, path: &Path, errors: &mut ErrorList) {
    if let Some(id) = id {
        check::invalid(errors, path, id, names::user_or_group_id(id));
    }
}

const PROFILE_TYPES: [&str; 3] = ["Localhost", "RuntimeDefault", "Unconfined"];
/// How long the path of a profile may be.
const MAX_PROFILE_PATH: usize = 4095;

fn seccomp(profile: &SeccompProfile, path: &Path, errors: &mut ErrorList) {
    let type_path = path.child("type");
    if profile.type_.is_empty() {
        errors.push(FieldError::required(&type_path, "type is required when seccompProfile is set"));
    } else {
        check::one_of(errors, &type_path, &profile.type_, &PROFILE_TYPES);
    }
    let path = path.child("localhostProfile");
    match (&*profile.type_, &profile.localhost_profile) {
        ("Localhost", None) => {
            errors.push(FieldError::required(&path, "must be set when seccomp type is Localhost"));
        }
        ("Localhost", Some(file)) => check::descending_path(errors, &path, file),
        (_, Some(_)) => {
            let why = "can only be set when seccomp type is Localhost";
            errors.push(FieldError::invalid(&path, check::json(profile), why));
        }
        (_, None) => {}
    }
}

fn app_armor(profile: &AppArmorProfile, path: &Path, errors: &mut ErrorList) {
    let file_path = path.child("localhostProfile");
    let file = check::text(&profile.localhost_profile);
    match profile.type_.as_str() {
        "Localhost" => {
            if file.trim() != file {
                let why = "must not be padded with whitespace";
                errors.push(FieldError::invalid(&file_path, file, why));
            } else if file.is_empty() {
                errors.push(FieldError::required(&file_path, "must be set when AppArmor type is Localhost"));
            }
            if file.len() > MAX_PROFILE_PATH {
                errors.push(FieldError::too_long(&file_path, MAX_PROFILE_PATH));
            }
        }
        "RuntimeDefault" | "Unconfined" => {
            if profile.localhost_profile.is_some() {
                let why = "can only be set when AppArmor type is Localhost";
                errors.push(FieldError::invalid(&file_path, file, why));
            }
        }
        "" => errors.push(FieldError::required(&path.child("type"), "type is required when appArmorProfile is set")),
        other => {
            errors.push(FieldError::not_supported(&path.child("type"), other, &PROFILE_TYPES));
        }
    }
}

const SYSCTL_REGEX: &str = r"([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?";

fn is_sysctl(name: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    name.len() <= 253
        && name.split(['.', '/']).all(|part| {
            let bytes = part.as_bytes();
            let inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(byte);
            edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(inner)
        })
}

fn sysctls(sysctls: &[Sysctl], spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    let mut seen = BTreeSet::new();
    for (index, sysctl) in sysctls.iter().enumerate() {
        let path = path.index(index).child("name");
        let name = sysctl.name.as_str();
        if name.is_empty() {
            errors.push(FieldError::required(&path, ""));
        } else if !is_sysctl(name) {
            let why = format!("must have at most 253 characters and match regex {SYSCTL_REGEX}");
            errors.push(FieldError::invalid(&path, name, why));
        } else if !seen.insert(name) {
            errors.push(FieldError::duplicate(&path, name));
        }
        // Names with slashes have them instead of all dots.
        let has_slashes = name.find(['.', '/']).is_some_and(|at| name.as_bytes()[at] == b'/');
        let dotted = if has_slashes { name.replace('/', ".") } else { name.to_owned() };
        if spec.host_network == Some(true) && dotted.starts_with("net") {
            errors.push(FieldError::invalid(&path, name, "may not be specified when 'hostNetwork' is true"));
        }
        let ipc = dotted == "kernel.sem"
            || ["kernel.shm", "kernel.msg", "fs.mqueue."].iter().any(|prefix| dotted.starts_with(prefix));
        if spec.host_ipc == Some(true) && ipc {
            errors.push(FieldError::invalid(&path, name, "may not be specified when 'hostIPC' is true"));
        }
    }
}
