//! Listing sandboxes.

use std::sync::Arc;

use bollard::models::{ContainerSummary, ContainerSummaryStateEnum};
use bollard::query_parameters::ListContainersOptionsBuilder;
use cri::{ListPodSandboxRequest, ListPodSandboxResponse, PodSandbox, Status};

use super::status::state;
use super::{is_host_network, network};
use crate::engine::Engine;
use crate::errors::Doing;
use crate::record::{self, Record, SandboxRecord};

/// `ListPodSandbox`.
pub(crate) async fn list(
    engine: &Arc<Engine>,
    request: ListPodSandboxRequest,
) -> Result<ListPodSandboxResponse, Status> {
    let filter = request.filter.unwrap_or_default();
    let options = ListContainersOptionsBuilder::new().all(true).filters(&record::sandboxes(&filter)).build();
    let found = engine.docker.list_containers(Some(options)).await.doing("list pod sandboxes")?;
    let mut items = Vec::with_capacity(found.len());
    for container in found {
        items.extend(item(engine, container)?);
    }
    if let Some(wanted) = filter.state {
        items.retain(|item| item.state == wanted.state);
    }
    Ok(ListPodSandboxResponse { items })
}

fn item(engine: &Engine, container: ContainerSummary) -> Result<Option<PodSandbox>, Status> {
    let Some(record) = SandboxRecord::read(container.labels.as_ref()) else { return Ok(None) };
    let id = container.id.unwrap_or_default();
    let is_running = container.state == Some(ContainerSummaryStateEnum::RUNNING);
    let is_connected = is_running && (is_host_network(&record.config) || network::addresses(engine, &id)?.is_some());
    Ok(Some(PodSandbox {
        id,
        metadata: Some(record.metadata()),
        state: state(is_running, is_connected).into(),
        created_at: record.created_at,
        labels: record.config.labels,
        annotations: record.config.annotations,
        runtime_handler: record.runtime_handler,
    }))
}
