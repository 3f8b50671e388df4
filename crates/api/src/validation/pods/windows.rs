//! What a pod must not have on the operating system that it names.

use k8s_openapi::api::core::v1::{PodOS, PodSpec, SecurityContext};

use crate::field::{ErrorList, FieldError, Path};
use crate::validation::check;

/// Judges `spec.os` and the fields that it rules out.
pub(super) fn os(os: &PodOS, spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    match os.name.as_str() {
        "" => errors.push(FieldError::required(&path.child("os").child("name"), "cannot be empty")),
        "linux" => linux(spec, path, errors),
        "windows" => windows(spec, path, errors),
        other => errors.push(FieldError::not_supported(&path.child("os"), other, &["linux", "windows"])),
    }
}

/// The security contexts of all containers, with their paths.
fn contexts<'a>(spec: &'a PodSpec, path: &'a Path) -> impl Iterator<Item = (&'a SecurityContext, Path)> {
    let containers = spec.containers.iter().enumerate().map(|entry| ("containers", entry));
    let init = spec.init_containers.iter().flatten().enumerate().map(|entry| ("initContainers", entry));
    containers.chain(init).filter_map(|(list, (index, container))| {
        let path = path.child(list).index(index).child("securityContext");
        container.security_context.as_ref().map(|context| (context, path))
    })
}

fn linux(spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    let why = "windows options cannot be set for a linux pod";
    if spec.security_context.as_ref().is_some_and(|context| context.windows_options.is_some()) {
        errors.push(FieldError::forbidden(&path.child("securityContext").child("windowsOptions"), why));
    }
    for (context, path) in contexts(spec, path) {
        if context.windows_options.is_some() {
            errors.push(FieldError::forbidden(&path.child("windowsOptions"), why));
        }
    }
}

fn windows(spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    let mut refuse = |path: Path| errors.push(FieldError::forbidden(&path, "cannot be set for a windows pod"));
    if let Some(context) = &spec.security_context {
        let path = path.child("securityContext");
        let set = [
            ("appArmorProfile", context.app_armor_profile.is_some()),
            ("seLinuxOptions", context.se_linux_options.is_some()),
            ("seccompProfile", context.seccomp_profile.is_some()),
            ("fsGroup", context.fs_group.is_some()),
            ("fsGroupChangePolicy", context.fs_group_change_policy.is_some()),
            ("sysctls", context.sysctls.as_ref().is_some_and(|list| !list.is_empty())),
            ("runAsUser", context.run_as_user.is_some()),
            ("runAsGroup", context.run_as_group.is_some()),
            ("supplementalGroups", context.supplemental_groups.is_some()),
            ("supplementalGroupsPolicy", context.supplemental_groups_policy.is_some()),
        ];
        set.into_iter().filter(|(_, set)| *set).for_each(|(field, _)| refuse(path.child(field)));
    }
    for (field, set) in [
        ("hostUsers", spec.host_users.is_some()),
        ("hostPID", spec.host_pid == Some(true)),
        ("hostIPC", spec.host_ipc == Some(true)),
        ("shareProcessNamespace", spec.share_process_namespace.is_some()),
    ] {
        if set {
            refuse(if field == "hostUsers" { path.child(field) } else { path.child("securityContext").child(field) });
        }
    }
    for (context, path) in contexts(spec, path) {
        let set = [
            ("appArmorProfile", context.app_armor_profile.is_some()),
            ("seLinuxOptions", context.se_linux_options.is_some()),
            ("seccompProfile", context.seccomp_profile.is_some()),
            ("capabilities", context.capabilities.is_some()),
            ("readOnlyRootFilesystem", context.read_only_root_filesystem.is_some()),
            ("privileged", context.privileged.is_some()),
            ("allowPrivilegeEscalation", context.allow_privilege_escalation.is_some()),
            ("procMount", !check::text(&context.proc_mount).is_empty()),
            ("runAsUser", context.run_as_user.is_some()),
            ("runAsGroup", context.run_as_group.is_some()),
        ];
        set.into_iter().filter(|(_, set)| *set).for_each(|(field, _)| refuse(path.child(field)));
    }
}
