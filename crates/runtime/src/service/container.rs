//! Calls about containers.

use std::collections::HashMap;
use std::sync::Arc;

use cri::{
    ContainerFilter, ContainerStatusRequest, ContainerStatusResponse, CreateContainerRequest, CreateContainerResponse,
    ListContainersRequest, ListContainersResponse, RemoveContainerRequest, RemoveContainerResponse,
    ReopenContainerLogRequest, ReopenContainerLogResponse, StartContainerRequest, StartContainerResponse, Status,
    StopContainerRequest, StopContainerResponse, UpdateContainerResourcesRequest, UpdateContainerResourcesResponse,
};

use super::errors::{no_container, no_sandbox};
use super::sense::{check_container, check_sandbox};
use crate::cgroup::Cgroup;
use crate::container::{self, Container, ContainerState, labels_match};
use crate::disk;
use crate::engine::Engine;
use crate::status::{container_state, container_status, nanoseconds};

fn find(engine: &Engine, id: &str) -> Result<Arc<Container>, Status> {
    engine.container(id).ok_or_else(|| no_container(id))
}

pub(super) async fn create_container(
    engine: &Arc<Engine>,
    request: CreateContainerRequest,
) -> Result<CreateContainerResponse, Status> {
    let id = &request.pod_sandbox_id;
    let sandbox = engine.sandbox(id).ok_or_else(|| no_sandbox(id))?;
    let (worker, config) = (engine.clone(), request.config.unwrap_or_default());
    check_container(&config)?;
    request.sandbox_config.as_ref().map(check_sandbox).transpose()?;
    let image = config.image.as_ref().and_then(|spec| engine.images.find(&spec.image));
    let create = async move { container::create(&worker, &sandbox, config, request.sandbox_config).await };
    let created = engine.detached("create a container", create).await?;
    if let (Err(_), Some(image)) = (&created, image) {
        engine.suspect(&image.id);
    }
    let id = created?;
    Ok(CreateContainerResponse { container_id: id.to_string() })
}

pub(super) async fn start_container(
    engine: &Arc<Engine>,
    request: StartContainerRequest,
) -> Result<StartContainerResponse, Status> {
    let (worker, container) = (engine.clone(), find(engine, &request.container_id)?);
    let image = container.record().image.clone();
    let started = engine.detached("start a container", async move { container::start(&worker, &container).await });
    let started = started.await?;
    if started.is_err() {
        engine.suspect(&image);
    }
    started?;
    Ok(StartContainerResponse {})
}

pub(super) async fn stop_container(
    engine: &Arc<Engine>,
    request: StopContainerRequest,
) -> Result<StopContainerResponse, Status> {
    // What is unknown is stopped.
    if let Some(container) = engine.container(&request.container_id) {
        container::stop_alone(engine, &container, request.timeout).await?;
    }
    Ok(StopContainerResponse {})
}

pub(super) async fn remove_container(
    engine: &Arc<Engine>,
    request: RemoveContainerRequest,
) -> Result<RemoveContainerResponse, Status> {
    if let Some(container) = engine.container(&request.container_id) {
        let worker = engine.clone();
        engine.detached("remove a container", async move { container::remove(&worker, &container).await }).await??;
    }
    Ok(RemoveContainerResponse {})
}

pub(super) async fn list_containers(
    engine: &Arc<Engine>,
    request: ListContainersRequest,
) -> Result<ListContainersResponse, Status> {
    let filter = request.filter.unwrap_or_default();
    let containers = engine.containers();
    let containers = containers.iter().filter(|container| fits(container, &filter)).map(|container| item(container));
    Ok(ListContainersResponse { containers: containers.collect() })
}

fn fits(container: &Container, filter: &ContainerFilter) -> bool {
    let record = container.record();
    let state = filter.state.as_ref().is_none_or(|wanted| wanted.state() == container_state(&container.state()));
    // An empty text starts every identifier.
    state
        && record.id.as_str().starts_with(&filter.id)
        && record.sandbox.as_str().starts_with(&filter.pod_sandbox_id)
        && labels_match(&record.config.labels, &filter.label_selector)
}

fn item(container: &Container) -> cri::Container {
    let record = container.record();
    cri::Container {
        id: record.id.to_string(),
        pod_sandbox_id: record.sandbox.to_string(),
        metadata: record.config.metadata.clone(),
        image: record.config.image.clone(),
        image_ref: record.image_ref.clone(),
        state: container_state(&container.state()).into(),
        created_at: nanoseconds(record.created_at),
        labels: record.config.labels.clone(),
        annotations: record.config.annotations.clone(),
        image_id: record.image.to_string(),
    }
}

pub(super) async fn container_status_call(
    engine: &Arc<Engine>,
    request: ContainerStatusRequest,
) -> Result<ContainerStatusResponse, Status> {
    let container = find(engine, &request.container_id)?;
    let mut info = HashMap::new();
    if request.verbose {
        let spec: Option<serde_json::Value> = disk::read_json(&container.paths().spec())?;
        let text = serde_json::json!({
            "sandboxID": container.record().sandbox,
            "pid": container.pid().unwrap_or(0),
            "config": container.record().config,
            "runtimeSpec": spec,
        });
        info.insert("info".to_owned(), text.to_string());
    }
    Ok(ContainerStatusResponse { status: Some(container_status(engine, &container)), info })
}

pub(super) async fn update_container_resources(
    engine: &Arc<Engine>,
    request: UpdateContainerResourcesRequest,
) -> Result<UpdateContainerResourcesResponse, Status> {
    let container = find(engine, &request.container_id)?;
    let Some(resources) = request.linux else { return Ok(UpdateContainerResourcesResponse {}) };
    match container.state() {
        ContainerState::Running(_) => Cgroup::new(&container.record().cgroup).update(&resources)?,
        ContainerState::Created => container::update_spec(&container, &resources)?,
        ContainerState::Exited { .. } => {
            let text = format!("container {} has exited", container.id());
            return Err(Status::failed_precondition(text));
        }
    }
    container.merge_resources(&resources)?;
    Ok(UpdateContainerResourcesResponse {})
}

pub(super) async fn reopen_container_log(
    engine: &Arc<Engine>,
    request: ReopenContainerLogRequest,
) -> Result<ReopenContainerLogResponse, Status> {
    let container = find(engine, &request.container_id)?;
    if !matches!(container.state(), ContainerState::Running(_)) {
        return Err(Status::failed_precondition(format!("container {} is not running", container.id())));
    }
    container::reopen_log(&container).await?;
    Ok(ReopenContainerLogResponse {})
}
