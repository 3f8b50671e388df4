//! What the runtime is told of a pod's sandbox and containers: API fields as CRI messages, without any I/O.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use cri as v1;
use k8s_openapi::api::core::v1::{
    AppArmorProfile, Container, Pod, PodSecurityContext, SELinuxOptions, SeccompProfile, SecurityContext,
};

use super::grant::Grant;
use super::users::Users;
use super::{dns, hosts, names, spec};
use crate::resources;

/// What is the same for all pods of a node.
pub struct NodeFacts<'a> {
    /// Where pods' logs go.
    pub pod_logs_dir: &'a Path,
    /// The node's part in resolver configurations.
    pub dns: &'a dns::NodeDns,
    /// How limits of CPU are enforced.
    pub cpu_quota: resources::CpuQuota,
    /// Whether the runtime's seccomp profile is for containers that name none.
    pub seccomp_default: bool,
    /// Where the node's seccomp profiles are.
    pub seccomp_profiles: PathBuf,
}

/// A container's configuration that cannot be carried out. The messages are shown to users.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    /// A root user in a pod that forbids it.
    #[error("container's runAsUser breaks non-root policy (pod: \"{pod}\", container: {container})")]
    RunsAsRoot {
        /// The pod.
        pod: String,
        /// The container.
        container: String,
    },
    /// The image's user is root, or has a name that cannot be checked.
    #[error("{message} (pod: \"{pod}\", container: {container})")]
    ImageUser {
        /// What is wrong.
        message: String,
        /// The pod.
        pod: String,
        /// The container.
        container: String,
    },
}

/// The directory of a pod's logs.
pub fn log_directory(pod_logs_dir: &Path, pod: &Pod) -> std::path::PathBuf {
    pod_logs_dir.join(format!("{}_{}_{}", spec::namespace(pod), spec::name(pod), spec::uid(pod)))
}

/// The pod whose logs such a directory has: UID, namespace and name.
pub fn pod_of_log_directory(name: &str) -> Option<(&str, &str, &str)> {
    // None of the three has the character between them.
    match name.split('_').collect::<Vec<_>>()[..] {
        [namespace, name, uid] => Some((uid, namespace, name)),
        _ => None,
    }
}

/// A container's log file below its pod's directory.
pub fn log_path(container: &str, restart_count: u32) -> String {
    format!("{container}/{restart_count}.log")
}

/// What a pod has of the node.
pub struct PodPlace {
    /// Its cgroup.
    pub cgroup: String,
    /// Its users, if they are not the machine's.
    pub users: Option<Users>,
}

/// What the runtime is told of a pod's sandbox.
pub fn sandbox_config(pod: &Pod, attempt: u32, place: &PodPlace, node: &NodeFacts<'_>) -> v1::PodSandboxConfig {
    let pod_spec = spec::spec(pod);
    let security = pod_spec.security_context.clone().unwrap_or_default();
    let host_network = spec::host_network(pod);
    let sysctls = security.sysctls.iter().flatten();
    v1::PodSandboxConfig {
        metadata: Some(v1::PodSandboxMetadata {
            name: spec::name(pod).to_owned(),
            uid: spec::uid(pod).to_owned(),
            namespace: spec::namespace(pod).to_owned(),
            attempt,
        }),
        // On the node's network the node's name is used.
        hostname: if host_network { String::new() } else { hosts::sandbox_hostname(pod, &node.dns.domain) },
        log_directory: log_directory(node.pod_logs_dir, pod).to_string_lossy().into_owned(),
        dns_config: Some(dns::dns_config(pod, node.dns)),
        port_mappings: if host_network { Vec::new() } else { port_mappings(pod) },
        labels: names::sandbox_labels(pod),
        annotations: names::sandbox_annotations(pod),
        linux: Some(v1::LinuxPodSandboxConfig {
            cgroup_parent: place.cgroup.clone(),
            security_context: Some(sandbox_security(pod, &security, place.users)),
            sysctls: sysctls.map(|sysctl| (sysctl.name.clone(), sysctl.value.clone())).collect(),
            overhead: Some(resources::overhead_resources(pod, node.cpu_quota)),
            resources: Some(resources::pod_resources(pod, node.cpu_quota)),
        }),
        windows: None,
    }
}

fn port_mappings(pod: &Pod) -> Vec<v1::PortMapping> {
    let all = spec::init_containers(pod).iter().filter(|c| spec::is_sidecar(c)).chain(spec::containers(pod));
    all.flat_map(|container| container.ports.iter().flatten())
        .filter(|port| port.host_port.is_some_and(|port| port > 0))
        .map(|port| v1::PortMapping {
            protocol: match port.protocol.as_deref() {
                Some("UDP") => v1::Protocol::Udp,
                Some("SCTP") => v1::Protocol::Sctp,
                _ => v1::Protocol::Tcp,
            } as i32,
            container_port: port.container_port,
            host_port: port.host_port.unwrap_or(0),
            host_ip: port.host_ip.clone().unwrap_or_default(),
        })
        .collect()
}

/// The namespaces that a pod's processes share with the node or with each other.
fn namespaces(pod: &Pod, users: Option<Users>) -> v1::NamespaceOption {
    let pod_spec = spec::spec(pod);
    let node_if =
        |flag: Option<bool>| if flag == Some(true) { v1::NamespaceMode::Node } else { v1::NamespaceMode::Pod };
    let pid = match (pod_spec.host_pid, pod_spec.share_process_namespace) {
        (Some(true), _) => v1::NamespaceMode::Node,
        (_, Some(true)) => v1::NamespaceMode::Pod,
        _ => v1::NamespaceMode::Container,
    };
    v1::NamespaceOption {
        network: node_if(pod_spec.host_network) as i32,
        pid: pid as i32,
        ipc: node_if(pod_spec.host_ipc) as i32,
        target_id: String::new(),
        userns_options: users.map(|users| v1::UserNamespace {
            mode: v1::NamespaceMode::Pod as i32,
            uids: users.mappings(),
            gids: users.mappings(),
        }),
    }
}

fn int64(value: Option<i64>) -> Option<v1::Int64Value> {
    value.map(|value| v1::Int64Value { value })
}

fn sandbox_security(pod: &Pod, security: &PodSecurityContext, users: Option<Users>) -> v1::LinuxSandboxSecurityContext {
    let privileged = |container: &Container| {
        container.security_context.as_ref().is_some_and(|security| security.privileged == Some(true))
    };
    v1::LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces(pod, users)),
        selinux_options: security.se_linux_options.as_ref().map(selinux_options),
        run_as_user: int64(security.run_as_user),
        run_as_group: int64(security.run_as_group),
        supplemental_groups: groups(security),
        supplemental_groups_policy: groups_policy(security),
        privileged: spec::all_containers(pod).iter().any(privileged),
        // The sandbox itself runs nothing of the user's.
        seccomp: Some(v1::SecurityProfile {
            profile_type: v1::security_profile::ProfileType::RuntimeDefault as i32,
            localhost_ref: String::new(),
        }),
        ..v1::LinuxSandboxSecurityContext::default()
    }
}

fn groups(security: &PodSecurityContext) -> Vec<i64> {
    let mut groups = security.supplemental_groups.clone().unwrap_or_default();
    groups.extend(security.fs_group);
    groups
}

fn groups_policy(security: &PodSecurityContext) -> i32 {
    match security.supplemental_groups_policy.as_deref() {
        Some("Strict") => v1::SupplementalGroupsPolicy::Strict as i32,
        _ => v1::SupplementalGroupsPolicy::Merge as i32,
    }
}

/// What parts of a label of SELinux somebody asks for.
pub fn selinux_options(options: &SELinuxOptions) -> v1::SeLinuxOption {
    v1::SeLinuxOption {
        user: options.user.clone().unwrap_or_default(),
        role: options.role.clone().unwrap_or_default(),
        r#type: options.type_.clone().unwrap_or_default(),
        level: options.level.clone().unwrap_or_default(),
    }
}

/// `profiles` is the directory of the node's own.
fn seccomp(profile: Option<&SeccompProfile>, by_default: bool, profiles: &Path) -> v1::SecurityProfile {
    use v1::security_profile::ProfileType;
    let (profile_type, localhost_ref) = match profile {
        Some(profile) if profile.type_ == "RuntimeDefault" => (ProfileType::RuntimeDefault, String::new()),
        Some(profile) if profile.type_ == "Localhost" => {
            let name = profile.localhost_profile.as_deref().unwrap_or_default();
            (ProfileType::Localhost, profiles.join(name).display().to_string())
        }
        None if by_default => (ProfileType::RuntimeDefault, String::new()),
        _ => (ProfileType::Unconfined, String::new()),
    };
    v1::SecurityProfile { profile_type: profile_type as i32, localhost_ref }
}

/// The AppArmor profile of a container: its own, or the pod's. Where neither names one, the runtime decides.
fn app_armor(profile: Option<&AppArmorProfile>) -> Option<v1::SecurityProfile> {
    use v1::security_profile::ProfileType;
    let profile = profile?;
    let (profile_type, localhost_ref) = match profile.type_.as_str() {
        "RuntimeDefault" => (ProfileType::RuntimeDefault, String::new()),
        "Localhost" => (ProfileType::Localhost, profile.localhost_profile.clone().unwrap_or_default()),
        _ => (ProfileType::Unconfined, String::new()),
    };
    Some(v1::SecurityProfile { profile_type: profile_type as i32, localhost_ref })
}

/// The same in the words of runtimes that are older than the message for it.
fn app_armor_text(profile: Option<&AppArmorProfile>) -> String {
    match profile.map(|profile| (profile.type_.as_str(), profile.localhost_profile.as_deref())) {
        Some(("RuntimeDefault", _)) => "runtime/default".to_owned(),
        Some(("Localhost", name)) => format!("localhost/{}", name.unwrap_or_default()),
        Some(_) => "unconfined".to_owned(),
        None => String::new(),
    }
}

/// What a container's configuration is made from, beside pod and container.
pub struct ContainerInputs {
    /// The restart count of the instance.
    pub restart_count: u32,
    /// Variables in order.
    pub environment: Vec<(String, String)>,
    /// The command and arguments, expanded.
    pub command: (Vec<String>, Vec<String>),
    /// What is mounted, the mounts of the grant among it.
    pub mounts: Vec<v1::Mount>,
    /// Volumes that are devices.
    pub devices: Vec<v1::Device>,
    /// What the node gives beside.
    pub grant: Grant,
    /// The image: as the user named it, and as the runtime identifies it.
    pub image_ref: String,
    /// The user that the image names: an id, or a name.
    pub image_user: (Option<i64>, String),
    /// The pod's users, if they are not the machine's.
    pub users: Option<Users>,
    /// The instance whose processes an ephemeral container is to see.
    pub target_id: Option<String>,
    /// What the container may use.
    pub resources: v1::LinuxContainerResources,
}

/// What the runtime is told of a container.
pub fn container_config(
    pod: &Pod,
    container: &Container,
    inputs: ContainerInputs,
    node: &NodeFacts<'_>,
) -> Result<v1::ContainerConfig, ConfigError> {
    let security = container_security(pod, container, &inputs, node)?;
    let image = container.image.clone().unwrap_or_default();
    let grant = inputs.grant;
    let mut annotations: HashMap<String, String> = grant.annotations.into_iter().collect();
    annotations.extend(names::container_annotations(pod, container, inputs.restart_count));
    let given =
        grant.environment.into_iter().filter(|(name, _)| !inputs.environment.iter().any(|(own, _)| own == name));
    let environment: Vec<(String, String)> = given.collect();
    let environment = environment.into_iter().chain(inputs.environment);
    let resources = v1::LinuxContainerResources {
        cpuset_cpus: grant.cpuset_cpus,
        cpuset_mems: grant.cpuset_mems,
        ..inputs.resources
    };
    Ok(v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata { name: container.name.clone(), attempt: inputs.restart_count }),
        image: Some(v1::ImageSpec { image: inputs.image_ref, user_specified_image: image, ..v1::ImageSpec::default() }),
        command: inputs.command.0,
        args: inputs.command.1,
        working_dir: container.working_dir.clone().unwrap_or_default(),
        envs: environment.map(|(key, value)| v1::KeyValue { key, value }).collect(),
        mounts: inputs.mounts,
        devices: grant.devices.into_iter().chain(inputs.devices).collect(),
        labels: names::container_labels(pod, container),
        annotations,
        log_path: log_path(&container.name, inputs.restart_count),
        stdin: container.stdin == Some(true),
        stdin_once: container.stdin_once == Some(true),
        tty: container.tty == Some(true),
        linux: Some(v1::LinuxContainerConfig { resources: Some(resources), security_context: Some(security) }),
        windows: None,
        cdi_devices: grant.cdi_devices.into_iter().map(|name| v1::CdiDevice { name }).collect(),
        stop_signal: stop_signal(container) as i32,
    })
}

/// The signal that asks the container to end, unless its image or the runtime says which.
fn stop_signal(container: &Container) -> v1::Signal {
    let named = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.stop_signal.as_deref());
    // CRI's names of the real-time signals have words where the pod's have signs.
    let name = named.map(|name| name.replace('+', "PLUS").replace('-', "MINUS"));
    name.and_then(|name| v1::Signal::from_str_name(&name)).unwrap_or_default()
}

/// Paths that are hidden from an unprivileged container.
const MASKED_PATHS: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/firmware",
];

/// Paths that an unprivileged container can only read.
const READONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

fn container_security(
    pod: &Pod,
    container: &Container,
    inputs: &ContainerInputs,
    node: &NodeFacts<'_>,
) -> Result<v1::LinuxContainerSecurityContext, ConfigError> {
    let of_pod = spec::spec(pod).security_context.clone().unwrap_or_default();
    let own = container.security_context.clone().unwrap_or_default();
    let run_as_user = own.run_as_user.or(of_pod.run_as_user);
    if own.run_as_non_root.or(of_pod.run_as_non_root) == Some(true) {
        check_non_root(pod, container, run_as_user, &inputs.image_user)?;
    }
    let privileged = own.privileged == Some(true);
    let masked = !privileged && own.proc_mount.as_deref() != Some("Unmasked");
    let paths = |list: &[&str]| if masked { list.iter().map(|path| (*path).to_owned()).collect() } else { Vec::new() };
    let (image_uid, image_username) = &inputs.image_user;
    let mut namespaces = namespaces(pod, inputs.users);
    if let Some(target_id) = &inputs.target_id {
        namespaces.pid = v1::NamespaceMode::Target as i32;
        namespaces.target_id.clone_from(target_id);
    }
    let app_armor_profile = own.app_armor_profile.as_ref().or(of_pod.app_armor_profile.as_ref());
    #[expect(deprecated, reason = "containerd before 1.6 knows no other field")]
    let security = v1::LinuxContainerSecurityContext {
        capabilities: Some(capabilities(&own)),
        privileged,
        namespace_options: Some(namespaces),
        selinux_options: own.se_linux_options.as_ref().or(of_pod.se_linux_options.as_ref()).map(selinux_options),
        run_as_user: int64(run_as_user.or(*image_uid)),
        run_as_username: if run_as_user.is_none() { image_username.clone() } else { String::new() },
        run_as_group: int64(own.run_as_group.or(of_pod.run_as_group)),
        readonly_rootfs: own.read_only_root_filesystem == Some(true),
        supplemental_groups: groups(&of_pod),
        supplemental_groups_policy: groups_policy(&of_pod),
        no_new_privs: own.allow_privilege_escalation == Some(false),
        masked_paths: paths(&MASKED_PATHS),
        readonly_paths: paths(&READONLY_PATHS),
        seccomp: Some(if privileged {
            seccomp(None, false, &node.seccomp_profiles)
        } else {
            let profile = own.seccomp_profile.as_ref().or(of_pod.seccomp_profile.as_ref());
            seccomp(profile, node.seccomp_default, &node.seccomp_profiles)
        }),
        apparmor: app_armor(app_armor_profile),
        apparmor_profile: app_armor_text(app_armor_profile),
        ..v1::LinuxContainerSecurityContext::default()
    };
    Ok(security)
}

fn capabilities(security: &SecurityContext) -> v1::Capability {
    let capabilities = security.capabilities.clone().unwrap_or_default();
    v1::Capability {
        add_capabilities: capabilities.add.unwrap_or_default(),
        drop_capabilities: capabilities.drop.unwrap_or_default(),
        add_ambient_capabilities: Vec::new(),
    }
}

fn check_non_root(
    pod: &Pod,
    container: &Container,
    run_as_user: Option<i64>,
    (image_uid, image_username): &(Option<i64>, String),
) -> Result<(), ConfigError> {
    let (pod, container) = (spec::full_name(pod), container.name.clone());
    match (run_as_user, image_uid) {
        (Some(0), _) => Err(ConfigError::RunsAsRoot { pod, container }),
        (Some(_), _) => Ok(()),
        (None, Some(0)) => {
            let message = "container has runAsNonRoot and image will run as root".to_owned();
            Err(ConfigError::ImageUser { message, pod, container })
        }
        (None, None) if !image_username.is_empty() => {
            let message = format!(
                "container has runAsNonRoot and image has non-numeric user ({image_username}), cannot verify user is non-root"
            );
            Err(ConfigError::ImageUser { message, pod, container })
        }
        (None, None) => {
            let message = "container has runAsNonRoot and image will run as root".to_owned();
            Err(ConfigError::ImageUser { message, pod, container })
        }
        (None, Some(_)) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use cri::security_profile::ProfileType;
    use k8s_openapi::api::core::v1::Lifecycle;

    use super::*;

    #[test]
    fn directories_of_logs_tell_their_pods() {
        let pod = testkit::pod("space/a-pod").uid("8d3c-1").build();
        let dir = log_directory(Path::new("/logs"), &pod);
        let name = dir.file_name().and_then(|name| name.to_str()).expect("a name");
        assert_eq!(pod_of_log_directory(name), Some(("8d3c-1", "space", "a-pod")));
        assert_eq!(pod_of_log_directory("lost+found"), None);
    }

    #[test]
    fn a_debugging_container_makes_its_pod_privileged() {
        let mut pod = testkit::pod("space/a-pod").uid("1").build();
        let privileged = |pod: &Pod| sandbox_security(pod, &PodSecurityContext::default(), None).privileged;
        assert!(!privileged(&pod));
        let debugger = serde_json::json!({"name": "debugger", "securityContext": {"privileged": true}});
        let debugger = serde_json::from_value(debugger).expect("an ephemeral container");
        pod.spec.get_or_insert_default().ephemeral_containers = Some(vec![debugger]);
        assert!(privileged(&pod));
    }

    #[track_caller]
    fn check_stop_signal(named: Option<&str>, expected: v1::Signal) {
        let lifecycle = Lifecycle { stop_signal: named.map(str::to_owned), ..Lifecycle::default() };
        let container = Container { lifecycle: Some(lifecycle), ..Container::default() };
        assert_eq!(stop_signal(&container), expected);
    }

    #[test]
    fn stop_signals_have_cris_names() {
        check_stop_signal(Some("SIGUSR1"), v1::Signal::Sigusr1);
        check_stop_signal(Some("SIGRTMIN+3"), v1::Signal::Sigrtminplus3);
        check_stop_signal(Some("SIGRTMAX-2"), v1::Signal::Sigrtmaxminus2);
        check_stop_signal(None, v1::Signal::RuntimeDefault);
        assert_eq!(stop_signal(&Container::default()), v1::Signal::RuntimeDefault);
    }

    #[track_caller]
    fn check_seccomp(named: Option<&str>, by_default: bool, expected: ProfileType) {
        let profile =
            named.map(|name| SeccompProfile { type_: name.to_owned(), localhost_profile: Some("a.json".to_owned()) });
        let found = seccomp(profile.as_ref(), by_default, Path::new("/profiles"));
        assert_eq!(found.profile_type, expected as i32, "{named:?} {by_default}");
        let path = if expected == ProfileType::Localhost { "/profiles/a.json" } else { "" };
        assert_eq!(found.localhost_ref, path);
    }

    #[test]
    fn the_runtimes_seccomp_profile_is_for_those_who_name_none() {
        for by_default in [false, true] {
            check_seccomp(Some("RuntimeDefault"), by_default, ProfileType::RuntimeDefault);
            check_seccomp(Some("Unconfined"), by_default, ProfileType::Unconfined);
            check_seccomp(Some("Localhost"), by_default, ProfileType::Localhost);
        }
        check_seccomp(None, false, ProfileType::Unconfined);
        check_seccomp(None, true, ProfileType::RuntimeDefault);
    }

    #[track_caller]
    fn check_app_armor(type_: &str, expected: ProfileType, name: &str, text: &str) {
        let profile = AppArmorProfile { type_: type_.to_owned(), localhost_profile: Some("mine".to_owned()) };
        let found = app_armor(Some(&profile)).expect("one is named");
        assert_eq!((found.profile_type, found.localhost_ref.as_str()), (expected as i32, name));
        assert_eq!(app_armor_text(Some(&profile)), text);
    }

    #[test]
    fn app_armor_profiles_are_told_in_both_ways() {
        check_app_armor("RuntimeDefault", ProfileType::RuntimeDefault, "", "runtime/default");
        check_app_armor("Unconfined", ProfileType::Unconfined, "", "unconfined");
        check_app_armor("Localhost", ProfileType::Localhost, "mine", "localhost/mine");
        assert_eq!((app_armor(None), app_armor_text(None)), (None, String::new()));
    }
}
