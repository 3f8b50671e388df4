//! The table of controls.

mod host;
mod privileges;
mod profiles;
mod seccomp;
mod users;
mod volumes;

use super::pod::Pod;
use super::{Level, LevelVersion, Version, Violation};

/// Looks at a pod; answers what is wrong with it.
type Check = fn(&Pod<'_>) -> Option<Violation>;

/// One control of the standards.
struct Control {
    id: &'static str,
    /// What it looks at, by the minor version since which it does.
    checks: &'static [(i64, Check)],
    /// The control of the level below that this one is stricter than.
    replaces: Option<&'static str>,
}

impl Control {
    const fn new(id: &'static str, checks: &'static [(i64, Check)]) -> Self {
        Self { id, checks, replaces: None }
    }

    const fn replacing(self, id: &'static str) -> Self {
        Self { replaces: Some(id), ..self }
    }

    /// What it looks at in a version; `None` in versions before it.
    fn check(&self, version: Version) -> Option<Check> {
        self.checks.iter().rev().find(|(since, _)| Version::Minor(*since) <= version).map(|(_, check)| *check)
    }
}

/// Controls of `baseline`, in the order of their ids, which is that of messages.
const BASELINE: [Control; 12] = [
    Control::new("appArmorProfile", &[(0, profiles::app_armor)]),
    Control::new("capabilities_baseline", &[(0, privileges::added_capabilities)]),
    Control::new("hostNamespaces", &[(0, host::namespaces)]),
    Control::new("hostPathVolumes", &[(0, volumes::host_path)]),
    Control::new("hostPorts", &[(0, host::ports)]),
    Control::new("hostProbesAndHostLifecycle", &[(34, host::probes)]),
    Control::new("privileged", &[(0, privileges::privileged)]),
    Control::new("procMount", &[(0, profiles::proc_mount), (35, profiles::proc_mount_of_host_users)]),
    Control::new("seLinuxOptions", &[(0, profiles::selinux_1_0), (31, profiles::selinux_1_31)]),
    Control::new("seccompProfile_baseline", &[(0, seccomp::annotations), (19, seccomp::allowed)]),
    Control::new(
        "sysctls",
        &[(0, host::sysctls_1_0), (27, host::sysctls_1_27), (29, host::sysctls_1_29), (32, host::sysctls_1_32)],
    ),
    Control::new("windowsHostProcess", &[(0, host::windows_process)]),
];

/// What `restricted` has beside that.
const RESTRICTED: [Control; 7] = [
    Control::new(
        "allowPrivilegeEscalation",
        &[(8, privileges::escalation), (25, |pod| of_linux(pod, privileges::escalation))],
    ),
    Control::new(
        "capabilities_restricted",
        &[(22, privileges::dropped_capabilities), (25, |pod| of_linux(pod, privileges::dropped_capabilities))],
    )
    .replacing("capabilities_baseline"),
    Control::new("procMount_restricted", &[(35, profiles::proc_mount)]).replacing("procMount"),
    Control::new("restrictedVolumes", &[(0, volumes::restricted)]).replacing("hostPathVolumes"),
    Control::new("runAsNonRoot", &[(0, users::non_root), (35, |pod| of_host_users(pod, users::non_root))]),
    Control::new("runAsUser", &[(23, users::user), (35, |pod| of_host_users(pod, users::user))]),
    Control::new("seccompProfile_restricted", &[(19, seccomp::required), (25, |pod| of_linux(pod, seccomp::required))])
        .replacing("seccompProfile_baseline"),
];

/// The checks of a level in a version.
pub(super) fn of(policy: LevelVersion) -> impl Iterator<Item = Check> {
    let stricter: &[Control] = if policy.level == Level::Restricted { &RESTRICTED } else { &[] };
    let version = policy.version;
    let is_replaced =
        move |id: &str| stricter.iter().any(|control| control.replaces == Some(id) && control.check(version).is_some());
    let kept = BASELINE.iter().filter(move |control| !is_replaced(control.id));
    kept.chain(stricter).filter_map(move |control| control.check(version))
}

/// What a check says of pods that are not for Windows, where it has no meaning.
fn of_linux(pod: &Pod<'_>, check: Check) -> Option<Violation> {
    if pod.is_windows() { None } else { check(pod) }
}

/// What a check says of pods whose users are those of the node.
fn of_host_users(pod: &Pod<'_>, check: Check) -> Option<Violation> {
    if pod.has_user_namespace() { None } else { check(pod) }
}
