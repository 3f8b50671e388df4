//! From CRI's description of a container to the OCI runtime specification's.
//!
//! The result is the JSON document that the specification defines. What depends on the machine or on files of the image
//! is in the submodules; this one puts the document together.

mod capabilities;
mod devices;
mod mounts;
mod process;
mod resources;
mod user;

use std::path::{Path, PathBuf};

use cri::security_profile::ProfileType;
use cri::{ContainerConfig, Labels, LinuxContainerSecurityContext, NamespaceMode, NamespaceOption, PodSandboxConfig};
use oci_spec::image::ImageConfiguration;
use oci_spec::runtime::LinuxSeccomp;
use serde_json::{Value, json};

use crate::sandbox::{IdMap, SandboxPaths};
use crate::seccomp::{self, Filter, SeccompError};

use capabilities::Capabilities;
pub(crate) use capabilities::{COUNT as CAPABILITIES, UnknownCapability, number as capability_number};
pub(crate) use devices::DeviceError;
pub(crate) use mounts::{MountError, root_propagation, source as mount_source};
pub(crate) use resources::resources as limits;
pub(crate) use user::{ResolvedUser, UserError};

/// Why no specification could be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpecError {
    /// Neither the image nor the container says what to run.
    #[error("no command specified")]
    NoCommand,
    /// The user is not one of the image.
    #[error(transparent)]
    User(#[from] UserError),
    /// A mount cannot be made.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// A device is not there.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A capability has an unknown name.
    #[error(transparent)]
    Capability(#[from] UnknownCapability),
    /// The system calls cannot be filtered.
    #[error(transparent)]
    Seccomp(#[from] SeccompError),
    /// The working directory cannot be made.
    #[error("cannot make working directory {}: {source}", path.display())]
    WorkingDir {
        /// The directory in the container.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// What a specification is made of.
pub(crate) struct SpecInput<'a> {
    pub config: &'a ContainerConfig,
    pub sandbox_config: &'a PodSandboxConfig,
    pub sandbox: &'a SandboxPaths,
    pub image: &'a ImageConfiguration,
    /// The mounted root of the container.
    pub rootfs: &'a Path,
    /// The container's cgroup.
    pub cgroup: &'a Path,
    /// The namespaces that the sandbox has.
    pub sandbox_options: NamespaceOption,
    /// For each of the container's mounts the path on this machine that is mounted in its place, if there is one: of an
    /// image, or of a source that had to be prepared.
    pub prepared: &'a [Option<PathBuf>],
    /// The pid namespace of the container whose processes this one shall see.
    pub target_pid_namespace: Option<PathBuf>,
    /// Whether another OCI runtime than libcontainer reads the specification.
    pub is_for_program: bool,
    /// The pod's users, if they are not the machine's.
    pub map: Option<IdMap>,
    /// The profile of AppArmor, if it has one.
    pub profile: Option<&'a str>,
    /// The labels of SELinux, if it has some.
    pub labels: Option<&'a Labels>,
}

/// A specification with what others need to know of it.
pub(crate) struct MadeSpec {
    /// The document.
    pub document: Value,
    /// The user that the container runs as.
    pub user: ResolvedUser,
    /// Whether its processes have a pid namespace of their own.
    pub own_pid_namespace: bool,
    /// The filter of its system calls.
    pub filter: Option<Filter>,
}

/// Paths that containers do not see unless they ask for it.
const MASKED_PATHS: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Paths that containers do not change unless they ask for it.
const READONLY_PATHS: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The security context, empty where there is none.
pub(crate) fn security_context(config: &ContainerConfig) -> LinuxContainerSecurityContext {
    config.linux.as_ref().and_then(|linux| linux.security_context.clone()).unwrap_or_default()
}

/// Makes the specification. Reads users from the container's root and makes its working directory there.
pub(crate) fn make(input: &SpecInput<'_>) -> Result<MadeSpec, SpecError> {
    let context = security_context(input.config);
    let mut capabilities = capabilities::capabilities(&context)?;
    let profile = seccomp_profile(&context, &capabilities)?;
    // Other runtimes take the profile as it is.
    let own = profile.as_ref().filter(|_| !input.is_for_program);
    let mut filter = own.map(Filter::compile).transpose()?;
    if let Some(filter) = filter.as_mut().filter(|_| !context.no_new_privs) {
        // Who may gain privileges by a program may install a filter only with privileges.
        filter.dropped = capabilities.lend(&["CAP_SYS_ADMIN", "CAP_SETPCAP"]);
    }
    let user = user::resolve(&context, input.image, input.rootfs)?;
    let (mut process, cwd) = process::process(input, &context, &user, &capabilities)?;
    if let Some(profile) = input.profile {
        process["apparmorProfile"] = json!(profile);
    }
    if let Some(labels) = input.labels.filter(|labels| !labels.processes.is_empty()) {
        process["selinuxLabel"] = json!(labels.processes);
    }
    process::make_cwd(input.rootfs, &cwd, input.map)?;
    let privileged = context.privileged;
    // Protobuf cannot tell "none given" from "given: none". Only of those who are nobody on the machine it is taken to
    // mean that nothing is hidden: that is what their kubelet says for `procMount: Unmasked`.
    let is_open =
        privileged || (input.map.is_some() && context.masked_paths.is_empty() && context.readonly_paths.is_empty());
    let (namespaces, own_pid_namespace) = namespaces(input, &context);
    let linux_resources = input.config.linux.as_ref().and_then(|linux| linux.resources.clone()).unwrap_or_default();
    let devices = devices::devices(&input.config.devices, privileged)?;
    let mut resources = resources::resources(&linux_resources);
    resources["devices"] = devices::rules(&devices, privileged);
    let mounts = mounts::mounts(input, &context)?;
    let mut linux = json!({
        "namespaces": namespaces,
        "rootfsPropagation": mounts::root_propagation_name(&input.config.mounts, input.is_for_program),
        "cgroupsPath": input.cgroup,
        "resources": resources,
        "devices": devices.iter().map(devices::Device::to_json).collect::<Vec<_>>(),
        "maskedPaths": paths(is_open, &context.masked_paths, MASKED_PATHS),
        "readonlyPaths": paths(is_open, &context.readonly_paths, READONLY_PATHS),
    });
    if let Some(map) = input.map.filter(|_| input.is_for_program) {
        let mapping = json!([{"containerID": 0, "hostID": map.host_id, "size": map.length}]);
        linux["uidMappings"] = mapping.clone();
        linux["gidMappings"] = mapping;
    }
    if let Some(labels) = input.labels {
        linux["mountLabel"] = json!(labels.files);
    }
    if let Some(profile) = profile.filter(|_| input.is_for_program) {
        linux["seccomp"] = json!(profile);
    }
    let document = json!({
        "ociVersion": "1.0.2",
        "root": {"path": input.rootfs, "readonly": context.readonly_rootfs},
        "process": process,
        "mounts": mounts,
        "linux": linux,
    });
    Ok(MadeSpec { document, user, own_pid_namespace, filter })
}

/// The profile that the container's system calls are filtered by, if they are.
fn seccomp_profile(
    context: &LinuxContainerSecurityContext,
    capabilities: &Capabilities,
) -> Result<Option<LinuxSeccomp>, SeccompError> {
    if context.privileged {
        return Ok(None);
    }
    let (kind, path) = match &context.seccomp {
        Some(wanted) => (wanted.profile_type(), wanted.localhost_ref.as_str()),
        None => older_profile(context),
    };
    match kind {
        ProfileType::Unconfined => Ok(None),
        ProfileType::RuntimeDefault => Ok(Some(seccomp::default_profile(capabilities.has()))),
        ProfileType::Localhost => seccomp::read(path).map(Some),
    }
}

/// The profile in the words of older callers, who give all of it in one text.
#[expect(deprecated, reason = "callers that are older than the other field still use it")]
fn older_profile(context: &LinuxContainerSecurityContext) -> (ProfileType, &str) {
    match context.seccomp_profile_path.as_str() {
        "" | "unconfined" => (ProfileType::Unconfined, ""),
        "runtime/default" | "docker/default" => (ProfileType::RuntimeDefault, ""),
        path => (ProfileType::Localhost, path.strip_prefix("localhost/").unwrap_or(path)),
    }
}

fn paths(is_open: bool, wanted: &[String], default: &[&str]) -> Value {
    if is_open {
        json!([])
    } else if wanted.is_empty() {
        json!(default)
    } else {
        json!(wanted)
    }
}

fn namespaces(input: &SpecInput<'_>, context: &LinuxContainerSecurityContext) -> (Vec<Value>, bool) {
    let options = context.namespace_options.clone().unwrap_or_default();
    let of_sandbox = &input.sandbox_options;
    let joined = |kind: &str, path: &Path| json!({"type": kind, "path": path});
    let mut namespaces = vec![json!({"type": "mount"})];
    let sandbox = input.sandbox;
    if input.map.is_some() {
        namespaces.push(joined("user", &sandbox.namespace("user")));
    }
    // Network, names and IPC are the sandbox's, whatever the container says: it may say nothing.
    if of_sandbox.network() != NamespaceMode::Node {
        namespaces.push(joined("network", &sandbox.namespace("net")));
        namespaces.push(joined("uts", &sandbox.namespace("uts")));
    }
    if of_sandbox.ipc() != NamespaceMode::Node {
        namespaces.push(joined("ipc", &sandbox.namespace("ipc")));
    }
    let mut own_pid_namespace = false;
    match (options.pid(), of_sandbox.pid(), &input.target_pid_namespace) {
        (NamespaceMode::Node, ..) | (NamespaceMode::Pod, NamespaceMode::Node, _) => {}
        (NamespaceMode::Pod, NamespaceMode::Pod, _) => namespaces.push(joined("pid", &sandbox.namespace("pid"))),
        (NamespaceMode::Target, _, Some(target)) => namespaces.push(joined("pid", target)),
        _ => {
            own_pid_namespace = true;
            namespaces.push(json!({"type": "pid"}));
        }
    }
    if crate::cgroup::Hierarchy::of_machine().is_v2() && !context.privileged {
        namespaces.push(json!({"type": "cgroup"}));
    }
    (namespaces, own_pid_namespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(profile: Option<&str>, labels: Option<&Labels>) -> oci_spec::runtime::Spec {
        let dir = tempfile::tempdir().expect("a directory");
        let config = ContainerConfig { command: vec!["/bin/true".to_owned()], ..ContainerConfig::default() };
        let input = SpecInput {
            config: &config,
            sandbox_config: &PodSandboxConfig::default(),
            sandbox: &SandboxPaths::new(dir.path().join("data"), dir.path().join("run"), "/pod".into()),
            image: &ImageConfiguration::default(),
            rootfs: dir.path(),
            cgroup: Path::new("/skiff/c"),
            sandbox_options: NamespaceOption::default(),
            prepared: &[],
            target_pid_namespace: None,
            is_for_program: false,
            map: None,
            profile,
            labels,
        };
        let made = make(&input).expect("a specification");
        serde_json::from_value(made.document).expect("as the specification has it")
    }

    /// What a runtime reads of profile and labels.
    #[track_caller]
    fn check(profile: Option<&str>, labels: Option<(&str, &str)>, expected: [Option<&str>; 3]) {
        let labels =
            labels.map(|(processes, files)| Labels { processes: processes.to_owned(), files: files.to_owned() });
        let spec = made(profile, labels.as_ref());
        let process = spec.process().as_ref().expect("a process");
        let linux = spec.linux().as_ref().expect("Linux");
        let found = [process.apparmor_profile(), process.selinux_label(), linux.mount_label()];
        assert_eq!(found.map(Option::as_deref), expected);
    }

    #[test]
    fn whoever_makes_the_container_is_told_how_it_is_confined() {
        check(None, None, [None, None, None]);
        check(Some("skiff-default"), None, [Some("skiff-default"), None, None]);
        check(None, Some(("processes", "files")), [None, Some("processes"), Some("files")]);
        check(None, Some(("", "files")), [None, None, Some("files")]);
    }
}
