//! What pods say for Windows, and what a pod must not have on the operating system that it names.

use k8s_openapi::api::core::v1::{PodOS, PodSecurityContext, PodSpec, WindowsSecurityContextOptions};

use super::containers;
use crate::field::{ErrorList, FieldError, Path};
use crate::validation::{check, names};

const CREDENTIAL_SPEC_LIMIT: usize = 64 * 1024;
const DOMAIN_LIMIT: usize = 256;
const USER_LIMIT: usize = 104;

/// Judges the options of a pod or of a container.
pub(super) fn options(options: &WindowsSecurityContextOptions, path: &Path, errors: &mut ErrorList) {
    if let Some(name) = &options.gmsa_credential_spec_name {
        check::invalid(errors, &path.child("gmsaCredentialSpecName"), name.as_str(), names::dns_subdomain(name));
    }
    if let Some(spec) = &options.gmsa_credential_spec {
        let why = match spec.len() {
            0 => Some("gmsaCredentialSpec cannot be an empty string"),
            length if length > CREDENTIAL_SPEC_LIMIT => Some("gmsaCredentialSpec size must be under 64 KiB"),
            _ => None,
        };
        check::invalid(
            errors,
            &path.child("gmsaCredentialSpec"),
            spec.as_str(),
            why.map(str::to_owned).into_iter().collect(),
        );
    }
    if let Some(name) = &options.run_as_user_name {
        let whys = user_name(name).into_iter().map(|why| format!("runAsUserName{why}")).collect();
        check::invalid(errors, &path.child("runAsUserName"), name.as_str(), whys);
    }
}

/// What is wrong with a user of Windows, `[DOMAIN\\]USER`.
fn user_name(name: &str) -> Vec<String> {
    if name.is_empty() {
        return vec![" cannot be an empty string".to_owned()];
    }
    if name.chars().any(|character| character.is_ascii_control()) {
        return vec![" cannot contain control characters".to_owned()];
    }
    let (domain, user) = match name.split_once('\\') {
        Some((_, user)) if user.contains('\\') => return vec![" cannot contain more than one backslash".to_owned()],
        Some((domain, user)) => (Some(domain), user),
        None => (None, name),
    };
    let is_domain = domain.is_none_or(|domain| is_net_bios_name(domain) || is_dns_name(domain));
    let rules = [
        (domain.is_none_or(|domain| domain.len() < DOMAIN_LIMIT), "'s Domain length must be under 256 characters"),
        (is_domain, "'s Domain doesn't match the NetBios nor the DNS format"),
        (!user.is_empty(), "'s User cannot be empty"),
        (user.len() <= USER_LIMIT, "'s User length must not be longer than 104 characters"),
        (
            user.is_empty() || !user.chars().all(|character| matches!(character, '.' | ' ')),
            "'s User cannot contain only periods or spaces",
        ),
        (
            !user.contains(|character| "\"/\\:;|=,+*?<>@[]".contains(character)),
            "'s User cannot contain the following characters: \"/\\:;|=,+*?<>@[]",
        ),
    ];
    rules.into_iter().filter(|(holds, _)| !holds).map(|(_, why)| why.to_owned()).collect()
}

fn is_net_bios_name(name: &str) -> bool {
    (1..=15).contains(&name.chars().count())
        && !name.starts_with('.')
        && !name.contains(|character| "\\/:*?\"<>|".contains(character))
}

/// Labels of letters, digits and dashes, with dots between them.
fn is_dns_name(name: &str) -> bool {
    name.split('.').all(|label| names::dns_label(&label.to_ascii_lowercase()).is_empty())
}

/// Judges which containers run in the processes of the host: all or none, and on its network.
pub(super) fn host_processes(spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    let said = |options: Option<&WindowsSecurityContextOptions>| options.and_then(|options| options.host_process);
    let of_pod = said(spec.security_context.as_ref().and_then(|context| context.windows_options.as_ref()));
    let (mut with, mut without) = (0, 0);
    for container in containers::every(spec) {
        let of_container = said(container.security.and_then(|context| context.windows_options.as_ref()));
        if let (Some(of_pod), Some(of_container)) = (of_pod, of_container)
            && of_pod != of_container
        {
            let why = format!("pod hostProcess value must be identical if both are specified, was {of_pod}");
            let path = container.path(path).child("securityContext").child("windowsOptions").child("hostProcess");
            errors.push(FieldError::invalid(&path, of_container, why));
        }
        *if of_container.or(of_pod) == Some(true) { &mut with } else { &mut without } += 1;
    }
    if with == 0 {
        return;
    }
    if without > 0 {
        let why = "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        errors.push(FieldError::invalid(path, "", why));
    }
    if spec.host_network != Some(true) {
        let why = "hostNetwork must be true if pod contains any hostProcess containers";
        errors.push(FieldError::invalid(&path.child("hostNetwork"), false, why));
    }
}

/// Judges `spec.os` and the fields that it rules out.
pub(super) fn os(os: &PodOS, spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    match os.name.as_str() {
        "" => errors.push(FieldError::required(&path.child("os").child("name"), "")),
        "linux" => linux(spec, path, errors),
        "windows" => windows(spec, path, errors),
        other => errors.push(FieldError::not_supported(&path.child("os"), other, &["linux", "windows"])),
    }
}

fn linux(spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    let why = "windows options cannot be set for a linux pod";
    if spec.security_context.as_ref().is_some_and(|context| context.windows_options.is_some()) {
        errors.push(FieldError::forbidden(&path.child("securityContext").child("windowsOptions"), why));
    }
    for container in containers::every(spec) {
        if container.security.is_some_and(|context| context.windows_options.is_some()) {
            let path = container.path(path).child("securityContext").child("windowsOptions");
            errors.push(FieldError::forbidden(&path, why));
        }
    }
}

fn windows(spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    let mut refuse = |path: &Path, field: &str, is_set: bool| {
        if is_set {
            errors.push(FieldError::forbidden(&path.child(field), "cannot be set for a windows pod"));
        }
    };
    let default = PodSecurityContext::default();
    let context = spec.security_context.as_ref().unwrap_or(&default);
    let context_path = path.child("securityContext");
    refuse(&context_path, "appArmorProfile", context.app_armor_profile.is_some());
    refuse(&context_path, "seLinuxOptions", context.se_linux_options.is_some());
    refuse(path, "hostUsers", spec.host_users.is_some());
    refuse(path, "hostPID", spec.host_pid == Some(true));
    refuse(path, "hostIPC", spec.host_ipc == Some(true));
    refuse(&context_path, "seccompProfile", context.seccomp_profile.is_some());
    refuse(&context_path, "fsGroup", context.fs_group.is_some());
    refuse(&context_path, "fsGroupChangePolicy", context.fs_group_change_policy.is_some());
    refuse(&context_path, "sysctls", context.sysctls.as_ref().is_some_and(|list| !list.is_empty()));
    refuse(path, "shareProcessNamespace", spec.share_process_namespace.is_some());
    refuse(&context_path, "runAsUser", context.run_as_user.is_some());
    refuse(&context_path, "runAsGroup", context.run_as_group.is_some());
    refuse(&context_path, "supplementalGroups", context.supplemental_groups.is_some());
    refuse(&context_path, "supplementalGroupsPolicy", context.supplemental_groups_policy.is_some());
    refuse(&context_path, "seLinuxChangePolicy", context.se_linux_change_policy.is_some());
    for container in containers::every(spec) {
        let Some(context) = container.security else { continue };
        let path = container.path(path).child("securityContext");
        refuse(&path, "appArmorProfile", context.app_armor_profile.is_some());
        refuse(&path, "seLinuxOptions", context.se_linux_options.is_some());
        refuse(&path, "seccompProfile", context.seccomp_profile.is_some());
        refuse(&path, "capabilities", context.capabilities.is_some());
        refuse(&path, "readOnlyRootFilesystem", context.read_only_root_filesystem.is_some());
        refuse(&path, "privileged", context.privileged.is_some());
        refuse(&path, "allowPrivilegeEscalation", context.allow_privilege_escalation.is_some());
        refuse(&path, "procMount", context.proc_mount.is_some());
        refuse(&path, "runAsUser", context.run_as_user.is_some());
        refuse(&path, "runAsGroup", context.run_as_group.is_some());
    }
}
