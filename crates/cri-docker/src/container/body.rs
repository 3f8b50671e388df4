//! A container of CRI's as Docker is asked for it.

use bollard::models::{ContainerCreateBody, DeviceMapping, HealthConfig, HostConfig};
use cri::{ContainerConfig, LinuxContainerSecurityContext, NamespaceMode, Signal, Status};

use super::{log_config, mounts, resources, security};
use crate::engine::Engine;
use crate::record::{ContainerRecord, Record};
use crate::sandbox::{Sandbox, is_host_network};

/// What a container is made of.
pub(super) struct Parts<'a> {
    pub engine: &'a Engine,
    pub sandbox: &'a Sandbox,
    pub config: &'a ContainerConfig,
    pub record: &'a ContainerRecord,
}

/// What Docker is asked for. An error where it has nothing of the kind.
pub(super) fn body(parts: &Parts<'_>) -> Result<ContainerCreateBody, Status> {
    let config = parts.config;
    if !config.cdi_devices.is_empty() {
        return Err(Status::invalid_argument("this adapter passes no CDI devices on to Docker Engine"));
    }
    let linux = config.linux.clone().unwrap_or_default();
    let context = linux.security_context.unwrap_or_default();
    if context.run_as_group.is_some() && context.run_as_user.is_none() && context.run_as_username.is_empty() {
        return Err(Status::invalid_argument("runAsGroup is specified without a user"));
    }
    let list = |values: &[String]| (!values.is_empty()).then(|| values.to_vec());
    Ok(ContainerCreateBody {
        image: Some(parts.record.image_id.clone()),
        entrypoint: list(&config.command),
        cmd: list(&config.args),
        env: Some(config.envs.iter().map(|env| format!("{}={}", env.key, env.value)).collect()),
        working_dir: (!config.working_dir.is_empty()).then(|| config.working_dir.clone()),
        user: security::user(&context.run_as_user, &context.run_as_username, &context.run_as_group),
        open_stdin: Some(config.stdin),
        stdin_once: Some(config.stdin_once),
        tty: Some(config.tty),
        stop_signal: stop_signal(config.stop_signal()),
        // Probes are the kubelet's.
        healthcheck: Some(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() }),
        labels: Some(parts.record.labels()),
        host_config: Some(host(parts, &context)?),
        ..ContainerCreateBody::default()
    })
}

fn host(parts: &Parts<'_>, context: &LinuxContainerSecurityContext) -> Result<HostConfig, Status> {
    let Parts { engine, sandbox, config, record } = parts;
    let mounts = mounts::mounts(&config.mounts, engine.daemon.has_selinux)?;
    let devices = config.devices.iter().map(|device| DeviceMapping {
        path_on_host: Some(device.host_path.clone()),
        path_in_container: Some(device.container_path.clone()),
        cgroup_permissions: Some(device.permissions.clone()),
    });
    let sandbox_linux = sandbox.record.config.linux.clone().unwrap_or_default();
    let capabilities = context.capabilities.clone().unwrap_or_default();
    if !capabilities.add_ambient_capabilities.is_empty() {
        return Err(Status::invalid_argument("Docker Engine gives no ambient capabilities"));
    }
    let host = HostConfig {
        mounts: Some(mounts.mounts),
        binds: Some(mounts.binds),
        devices: Some(devices.collect()),
        cgroup_parent: resources::cgroup_parent(engine, &sandbox_linux.cgroup_parent),
        privileged: Some(context.privileged),
        cap_add: Some(capabilities.add_capabilities),
        cap_drop: Some(capabilities.drop_capabilities),
        group_add: Some(context.supplemental_groups.iter().map(ToString::to_string).collect()),
        readonly_rootfs: Some(context.readonly_rootfs),
        security_opt: Some(security::options(engine, context)?),
        masked_paths: (!context.privileged).then(|| context.masked_paths.clone()),
        readonly_paths: (!context.privileged).then(|| context.readonly_paths.clone()),
        runtime: (!sandbox.record.runtime_handler.is_empty()).then(|| sandbox.record.runtime_handler.clone()),
        log_config: Some(if record.log_path.is_empty() { super::no_log() } else { log_config() }),
        ..namespaces(sandbox, context)
    };
    let limits = config.linux.as_ref().and_then(|linux| linux.resources.clone()).unwrap_or_default();
    if limits.hugepage_limits.iter().any(|pages| pages.limit > 0) {
        return Err(Status::invalid_argument("Docker Engine gives no huge pages"));
    }
    Ok(resources::limit(host, &limits, engine.lowest_oom_score_adj))
}

/// The namespaces of the pod that the container joins.
fn namespaces(sandbox: &Sandbox, context: &LinuxContainerSecurityContext) -> HostConfig {
    let wanted = context.namespace_options.clone().unwrap_or_default();
    let of = |id: &str| format!("container:{id}");
    let pid = match wanted.pid() {
        NamespaceMode::Pod => Some(of(&sandbox.id)),
        NamespaceMode::Container => None,
        NamespaceMode::Node => Some("host".to_owned()),
        NamespaceMode::Target => Some(of(&wanted.target_id)),
    };
    let ipc = if wanted.ipc() == NamespaceMode::Node { "host".to_owned() } else { of(&sandbox.id) };
    let is_host = is_host_network(&sandbox.record.config);
    HostConfig {
        // By the sandbox also where it is the machine's: names, hosts and resolvers are those of the pod.
        network_mode: Some(of(&sandbox.id)),
        uts_mode: is_host.then(|| "host".to_owned()),
        ipc_mode: Some(ipc),
        pid_mode: pid,
        ..HostConfig::default()
    }
}

/// The signal as Docker reads it; nothing for what the image says.
fn stop_signal(signal: Signal) -> Option<String> {
    if signal == Signal::RuntimeDefault {
        return None;
    }
    Some(signal.as_str_name().replace("PLUS", "+").replace("MINUS", "-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_dockers_names() {
        assert_eq!(stop_signal(Signal::RuntimeDefault), None);
        assert_eq!(stop_signal(Signal::Sigquit).as_deref(), Some("SIGQUIT"));
        assert_eq!(stop_signal(Signal::Sigrtminplus3).as_deref(), Some("SIGRTMIN+3"));
    }

    #[track_caller]
    fn check(context: LinuxContainerSecurityContext, expected: [Option<&str>; 3]) {
        let sandbox = Sandbox { id: "pod".to_owned(), record: Default::default(), container: Default::default() };
        let host = namespaces(&sandbox, &context);
        assert_eq!([host.network_mode, host.ipc_mode, host.pid_mode], expected.map(|mode| mode.map(str::to_owned)));
    }

    #[test]
    fn containers_join_the_pods_namespaces() {
        let context = |pid: NamespaceMode, ipc: NamespaceMode| LinuxContainerSecurityContext {
            namespace_options: Some(cri::NamespaceOption {
                pid: pid.into(),
                ipc: ipc.into(),
                target_id: "other".to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        };
        let pod = Some("container:pod");
        check(context(NamespaceMode::Container, NamespaceMode::Pod), [pod, pod, None]);
        check(context(NamespaceMode::Pod, NamespaceMode::Pod), [pod, pod, pod]);
        check(context(NamespaceMode::Node, NamespaceMode::Node), [pod, Some("host"), Some("host")]);
        check(context(NamespaceMode::Target, NamespaceMode::Pod), [pod, pod, Some("container:other")]);
    }
}
