//! Questions to a pod's specification that several parts ask.

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Probe};

use crate::static_pods;

/// When a container is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Whenever it ends.
    Always,
    /// When it fails.
    OnFailure,
    /// Not at all.
    Never,
}

impl RestartPolicy {
    fn parse(text: &str) -> Self {
        match text {
            "OnFailure" => Self::OnFailure,
            "Never" => Self::Never,
            _ => Self::Always,
        }
    }
}

/// The specification; a pod read from the API always has one.
pub fn spec(pod: &Pod) -> &PodSpec {
    static EMPTY: std::sync::LazyLock<PodSpec> = std::sync::LazyLock::new(PodSpec::default);
    pod.spec.as_ref().unwrap_or(&EMPTY)
}

/// The pod's UID.
pub fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

/// The pod's namespace.
pub fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or_default()
}

/// The pod's name.
pub fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

/// `name_namespace(uid)`, the way in which messages name a pod.
pub fn full_name(pod: &Pod) -> String {
    format!("{}_{}({})", name(pod), namespace(pod), uid(pod))
}

/// The group that the pod's volumes are given to, if any.
pub fn fs_group(pod: &Pod) -> Option<i64> {
    spec(pod).security_context.as_ref().and_then(|security| security.fs_group)
}

/// The pod's restart policy.
pub fn restart_policy(pod: &Pod) -> RestartPolicy {
    RestartPolicy::parse(spec(pod).restart_policy.as_deref().unwrap_or("Always"))
}

/// A container's own restart policy, or its pod's.
pub fn container_restart_policy(pod: &Pod, container: &Container) -> RestartPolicy {
    container.restart_policy.as_deref().map_or_else(|| restart_policy(pod), RestartPolicy::parse)
}

/// The init containers.
pub fn init_containers(pod: &Pod) -> &[Container] {
    spec(pod).init_containers.as_deref().unwrap_or_default()
}

/// The regular containers.
pub fn containers(pod: &Pod) -> &[Container] {
    &spec(pod).containers
}

/// Init containers, then regular ones, then ephemeral ones (in the shape of regular ones).
pub fn all_containers(pod: &Pod) -> Vec<Container> {
    let mut all: Vec<Container> = init_containers(pod).iter().chain(containers(pod)).cloned().collect();
    all.extend(ephemeral_containers(pod));
    all
}

/// The ephemeral containers, in the shape of regular ones.
pub fn ephemeral_containers(pod: &Pod) -> Vec<Container> {
    let ephemeral = spec(pod).ephemeral_containers.iter().flatten();
    ephemeral
        .map(|c| Container {
            args: c.args.clone(),
            command: c.command.clone(),
            env: c.env.clone(),
            env_from: c.env_from.clone(),
            image: c.image.clone(),
            image_pull_policy: c.image_pull_policy.clone(),
            name: c.name.clone(),
            resources: c.resources.clone(),
            security_context: c.security_context.clone(),
            stdin: c.stdin,
            stdin_once: c.stdin_once,
            termination_message_path: c.termination_message_path.clone(),
            termination_message_policy: c.termination_message_policy.clone(),
            tty: c.tty,
            volume_devices: c.volume_devices.clone(),
            volume_mounts: c.volume_mounts.clone(),
            working_dir: c.working_dir.clone(),
            ..Container::default()
        })
        .collect()
}

/// The definition of a container of any sort.
pub fn container(pod: &Pod, name: &str) -> Option<Container> {
    all_containers(pod).into_iter().find(|container| container.name == name)
}

/// Whether a container of the pod is an init container, sidecars included.
pub fn is_init(pod: &Pod, container: &Container) -> bool {
    init_containers(pod).iter().any(|init| init.name == container.name)
}

/// Whether an init container keeps running beside the regular ones.
pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// Whether a container that ended with an exit code is to be started again.
pub fn restarts_after(pod: &Pod, container: &Container, exit_code: i32) -> bool {
    for rule in container.restart_policy_rules.iter().flatten() {
        let Some(codes) = &rule.exit_codes else { continue };
        let listed = codes.values.iter().flatten().any(|code| *code == exit_code);
        let matches = if codes.operator == "NotIn" { !listed } else { listed };
        if matches && rule.action == "Restart" {
            return true;
        }
    }
    match container_restart_policy(pod, container) {
        RestartPolicy::Always => true,
        RestartPolicy::OnFailure => exit_code != 0,
        RestartPolicy::Never => false,
    }
}

/// The same for an init container, which in a pod that always restarts is tried again only when it fails.
pub fn restarts_after_init(pod: &Pod, container: &Container, exit_code: i32) -> bool {
    exit_code != 0 && restarts_after(pod, container, exit_code)
}

/// Whether the pod is being deleted.
pub fn is_deleted(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Whether the pod shares the node's network.
pub fn host_network(pod: &Pod) -> bool {
    spec(pod).host_network == Some(true)
}

/// The pod's phase in the API; empty where it has none yet.
pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// Pods at or above this priority keep the cluster itself alive.
const SYSTEM_CRITICAL: i32 = 2_000_000_000;

/// Whether the cluster or the node cannot do without the pod: static pods, and those of a system's priority.
pub fn is_critical(pod: &Pod) -> bool {
    static_pods::is_static(pod) || static_pods::is_mirror(pod) || priority(pod) >= SYSTEM_CRITICAL
}

/// The pod's priority.
pub fn priority(pod: &Pod) -> i32 {
    spec(pod).priority.unwrap_or(0)
}

/// Whether the pod has come to its end, as the API knows it.
pub fn is_terminal(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// How long the pod may take to stop, from its deletion or its specification.
pub fn grace_period(pod: &Pod) -> i64 {
    let deletion = pod.metadata.deletion_grace_period_seconds.filter(|_| is_deleted(pod));
    deletion.or(spec(pod).termination_grace_period_seconds).unwrap_or(30).max(0)
}

/// Whether a probe is there that says when the container has started.
pub fn has_startup_probe(container: &Container) -> bool {
    container.startup_probe.is_some()
}

/// The grace period after a failed probe: the probe's own, or the pod's.
pub fn probe_grace_period(pod: &Pod, probe: Option<&Probe>) -> i64 {
    probe.and_then(|probe| probe.termination_grace_period_seconds).unwrap_or_else(|| grace_period(pod))
}

/// The sort of a pod's container, as metrics call it.
pub fn container_type(pod: &Pod, name: &str) -> &'static str {
    let has = |list: &[Container]| list.iter().any(|container| container.name == name);
    match (has(containers(pod)), has(init_containers(pod))) {
        (true, _) => "container",
        (_, true) => "init_container",
        _ => "ephemeral_container",
    }
}
