//! Making a sandbox.

use std::sync::Arc;

use bollard::models::{ContainerCreateBody, HealthConfig, HostConfig};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, InspectContainerOptions, RemoveContainerOptionsBuilder, StartContainerOptions,
};
use cri::{NamespaceMode, PodSandboxConfig, RunPodSandboxRequest, RunPodSandboxResponse, Status};

use super::{Sandbox, is_host_network, namespaces, network, resolv};
use crate::container::{cgroup_parent, no_log, security};
use crate::engine::Engine;
use crate::errors::{DockerError, Doing, OrGone};
use crate::names;
use crate::pause::{self, PauseImage};
use crate::record::{Record, SandboxRecord};
use crate::times::nanoseconds;

/// What a sandbox's process gets of the CPU where others want it, too: next to nothing is what it needs.
const CPU_SHARES: i64 = 2;

/// A sandbox is the last thing to be killed for want of memory.
const OOM_SCORE_ADJ: i64 = -998;

/// `RunPodSandbox`.
pub(crate) async fn run(engine: &Arc<Engine>, request: RunPodSandboxRequest) -> Result<RunPodSandboxResponse, Status> {
    let config = request.config.unwrap_or_default();
    let metadata = config.metadata.clone().ok_or_else(|| Status::invalid_argument("the sandbox has no metadata"))?;
    let handler = request.runtime_handler;
    if !handler.is_empty() && !engine.daemon.runtimes.contains(&handler) {
        return Err(Status::invalid_argument(format!("no runtime for {handler:?} is configured")));
    }
    if namespaces(&config).userns_options.is_some_and(|users| users.mode() == NamespaceMode::Pod) {
        return Err(Status::invalid_argument("Docker Engine has no user namespaces for single pods"));
    }
    let created_at = nanoseconds(engine.env.now());
    let record = SandboxRecord { config, runtime_handler: handler, created_at };
    let body = body(engine, &pause::ensure(engine).await?, &record);
    let id = create(engine, &names::sandbox(&metadata), body).await?;
    match start(engine, &id, &record.config).await {
        Ok(()) => Ok(RunPodSandboxResponse { pod_sandbox_id: id }),
        Err(err) => {
            // What the kubelet does not know it would not remove.
            if let Some(sandbox) = Sandbox::find(engine, &id).await.ok().flatten()
                && let Err(err) = network::disconnect(engine, &sandbox).await
            {
                tracing::warn!(sandbox = id, err = err.message(), "a sandbox that failed stays connected");
                return Err(err);
            }
            discard(engine, &id).await?;
            Err(err)
        }
    }
}

async fn start(engine: &Engine, id: &str, config: &PodSandboxConfig) -> Result<(), Status> {
    engine.docker.start_container(id, None::<StartContainerOptions>).await.doing("start the sandbox's container")?;
    let sandbox = Sandbox::get(engine, id).await?;
    if let (Some(dns), Some(path)) = (&config.dns_config, &sandbox.container.resolv_conf_path) {
        resolv::write(path.as_ref(), dns)
            .map_err(|err| Status::internal(format!("cannot write the sandbox's {path}: {err}")))?;
    }
    if is_host_network(config) {
        return Ok(());
    }
    network::connect(engine, &sandbox).await
}

/// Creates the container; whoever has its name and never came to run gives way.
async fn create(engine: &Engine, name: &str, body: ContainerCreateBody) -> Result<String, Status> {
    let action = || format!("create the container of sandbox {name}");
    let create = async |body: ContainerCreateBody| {
        let options = CreateContainerOptionsBuilder::new().name(name).build();
        engine.docker.create_container(Some(options), body).await.doing(action())
    };
    let created = match create(body.clone()).await {
        Err(err) if err.is_conflict() => {
            let other = engine.docker.inspect_container(name, None::<InspectContainerOptions>).await;
            let other = other.doing(format!("inspect {name}"))?;
            if other.state.and_then(|state| state.running).unwrap_or(true) {
                return Err(err.into());
            }
            discard(engine, &other.id.unwrap_or_default()).await?;
            create(body).await?
        }
        other => other?,
    };
    Ok(created.id)
}

/// Removes the container.
pub(super) async fn discard(engine: &Engine, id: &str) -> Result<(), DockerError> {
    let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    engine.docker.remove_container(id, Some(options)).await.doing(format!("remove sandbox {id}")).or_gone()
}

fn body(engine: &Engine, image: &PauseImage, record: &SandboxRecord) -> ContainerCreateBody {
    let config = &record.config;
    let linux = config.linux.clone().unwrap_or_default();
    let context = linux.security_context.clone().unwrap_or_default();
    let namespaces = namespaces(config);
    let of_node = |mode: NamespaceMode| mode == NamespaceMode::Node;
    let host = HostConfig {
        cgroup_parent: cgroup_parent(engine, &linux.cgroup_parent),
        cpu_shares: Some(CPU_SHARES),
        oom_score_adj: Some(OOM_SCORE_ADJ.max(engine.lowest_oom_score_adj)),
        network_mode: Some(if is_host_network(config) { "host" } else { "none" }.to_owned()),
        // The containers of the pod join it.
        ipc_mode: Some(if of_node(namespaces.ipc()) { "host" } else { "shareable" }.to_owned()),
        pid_mode: of_node(namespaces.pid()).then(|| "host".to_owned()),
        uts_mode: is_host_network(config).then(|| "host".to_owned()),
        sysctls: (!linux.sysctls.is_empty()).then(|| linux.sysctls.clone()),
        readonly_rootfs: Some(true),
        security_opt: Some(security::sandbox_options(engine, &context)),
        runtime: (!record.runtime_handler.is_empty()).then(|| record.runtime_handler.clone()),
        log_config: Some(no_log()),
        ..HostConfig::default()
    };
    ContainerCreateBody {
        image: Some(image.name.clone()),
        entrypoint: image.entrypoint.clone(),
        hostname: (!config.hostname.is_empty() && !is_host_network(config)).then(|| config.hostname.clone()),
        user: security::user(&context.run_as_user, "", &context.run_as_group),
        healthcheck: Some(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() }),
        labels: Some(record.labels()),
        host_config: Some(host),
        ..ContainerCreateBody::default()
    }
}
