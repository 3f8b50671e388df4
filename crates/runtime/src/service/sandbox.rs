//! Calls about pod sandboxes.

use std::collections::HashMap;
use std::sync::Arc;

use cri::{
    ListPodSandboxRequest, ListPodSandboxResponse, PodSandbox, PodSandboxFilter, PodSandboxStatusRequest,
    PodSandboxStatusResponse, RemovePodSandboxRequest, RemovePodSandboxResponse, RunPodSandboxRequest,
    RunPodSandboxResponse, Status, StopPodSandboxRequest, StopPodSandboxResponse, UpdatePodSandboxResourcesRequest,
    UpdatePodSandboxResourcesResponse,
};

use super::errors::no_sandbox;
use super::sense::check_sandbox;
use crate::container::{Container, labels_match};
use crate::engine::Engine;
use crate::sandbox::{self, Sandbox, SandboxRecord, metadata};
use crate::status::{container_status, nanoseconds, sandbox_state, sandbox_status};

pub(super) async fn run_pod_sandbox(
    engine: &Arc<Engine>,
    request: RunPodSandboxRequest,
) -> Result<RunPodSandboxResponse, Status> {
    let handler = request.runtime_handler;
    if !engine.runtime_handlers.has(&handler) {
        return Err(Status::invalid_argument(format!("no runtime for {handler:?} is configured")));
    }
    let (worker, config) = (engine.clone(), request.config.unwrap_or_default());
    check_sandbox(&config)?;
    let run = async move { sandbox::run(&worker, config, handler).await };
    let id = engine.detached("run a sandbox", run).await??;
    Ok(RunPodSandboxResponse { pod_sandbox_id: id.to_string() })
}

pub(super) async fn stop_pod_sandbox(
    engine: &Arc<Engine>,
    request: StopPodSandboxRequest,
) -> Result<StopPodSandboxResponse, Status> {
    // What is unknown is stopped.
    if let Some(sandbox) = engine.sandbox(&request.pod_sandbox_id) {
        let worker = engine.clone();
        engine.detached("stop a sandbox", async move { sandbox::stop(&worker, &sandbox).await }).await??;
    }
    Ok(StopPodSandboxResponse {})
}

pub(super) async fn remove_pod_sandbox(
    engine: &Arc<Engine>,
    request: RemovePodSandboxRequest,
) -> Result<RemovePodSandboxResponse, Status> {
    if let Some(sandbox) = engine.sandbox(&request.pod_sandbox_id) {
        let worker = engine.clone();
        engine.detached("remove a sandbox", async move { sandbox::remove(&worker, &sandbox).await }).await??;
    }
    Ok(RemovePodSandboxResponse {})
}

pub(super) async fn pod_sandbox_status(
    engine: &Arc<Engine>,
    request: PodSandboxStatusRequest,
) -> Result<PodSandboxStatusResponse, Status> {
    let id = &request.pod_sandbox_id;
    let sandbox = engine.sandbox(id).ok_or_else(|| no_sandbox(id))?;
    let containers = engine.containers_of(sandbox.id());
    let mut info = HashMap::new();
    if request.verbose {
        info.insert("info".to_owned(), details(&sandbox, &containers).to_string());
    }
    Ok(PodSandboxStatusResponse {
        status: Some(sandbox_status(&sandbox)),
        info,
        containers_statuses: containers.iter().map(|container| container_status(engine, container)).collect(),
        timestamp: nanoseconds(engine.env.now()),
    })
}

/// What people and their tools look for in a sandbox: under the names that `crictl inspectp` shows of other runtimes, so
/// that `.info.pid` and the namespaces of `.info.runtimeSpec` lead into the pod.
fn details(sandbox: &Sandbox, containers: &[Arc<Container>]) -> serde_json::Value {
    let (record, paths) = (sandbox.record(), sandbox.paths());
    let kinds = [("network", "net"), ("uts", "uts"), ("ipc", "ipc"), ("pid", "pid"), ("user", "user")];
    let kinds = kinds.into_iter().map(|(kind, file)| (kind, paths.namespace(file)));
    let namespaces = kinds.filter(|(_, path)| path.exists());
    let namespaces = namespaces.map(|(kind, path)| serde_json::json!({"type": kind, "path": path}));
    // A sandbox without a process of its own is entered as well by one of a container's.
    let pid = sandbox::pause_pid(paths).or_else(|| containers.iter().find_map(|container| container.pid()));
    serde_json::json!({
        "pid": pid.unwrap_or(0),
        "runtimeHandler": record.runtime_handler,
        "runtimeSpec": {
            "hostname": record.config.hostname,
            "linux": {
                "namespaces": namespaces.collect::<Vec<_>>(),
                "cgroupsPath": paths.cgroup_parent(&record.config),
                "sysctl": record.config.linux.as_ref().map(|linux| &linux.sysctls),
            },
        },
        "config": record.config,
    })
}

pub(super) async fn list_pod_sandbox(
    engine: &Arc<Engine>,
    request: ListPodSandboxRequest,
) -> Result<ListPodSandboxResponse, Status> {
    let filter = request.filter.unwrap_or_default();
    let records = engine.sandboxes().into_iter().map(|sandbox| sandbox.record());
    let items = records.filter(|record| fits(record, &filter)).map(item).collect();
    Ok(ListPodSandboxResponse { items })
}

/// Notes the pod's resources. Its cgroup is the kubelet's, who changed it before.
pub(super) async fn update_pod_sandbox_resources(
    engine: &Arc<Engine>,
    request: UpdatePodSandboxResourcesRequest,
) -> Result<UpdatePodSandboxResourcesResponse, Status> {
    let id = &request.pod_sandbox_id;
    let sandbox = engine.sandbox(id).ok_or_else(|| no_sandbox(id))?;
    sandbox.set_resources(request.overhead, request.resources)?;
    Ok(UpdatePodSandboxResourcesResponse {})
}

fn fits(record: &SandboxRecord, filter: &PodSandboxFilter) -> bool {
    let state = filter.state.as_ref().is_none_or(|wanted| wanted.state() == sandbox_state(record.phase));
    // An empty text starts every identifier.
    state && record.id.as_str().starts_with(&filter.id) && labels_match(&record.config.labels, &filter.label_selector)
}

fn item(record: SandboxRecord) -> PodSandbox {
    PodSandbox {
        id: record.id.to_string(),
        metadata: Some(metadata(&record.config)),
        state: sandbox_state(record.phase).into(),
        created_at: nanoseconds(record.created_at),
        labels: record.config.labels,
        annotations: record.config.annotations,
        runtime_handler: record.runtime_handler,
    }
}
