//! `ListContainers`.

use std::sync::Arc;

use bollard::models::{ContainerSummary, ContainerSummaryStateEnum};
use bollard::query_parameters::ListContainersOptionsBuilder;
use cri::{ContainerState, ListContainersRequest, ListContainersResponse, Status};

use super::{Container, status};
use crate::engine::Engine;
use crate::errors::{DockerError, Doing};
use crate::record::{self, ContainerRecord, Record};

/// Lists containers.
pub(crate) async fn list(
    engine: &Arc<Engine>,
    request: ListContainersRequest,
) -> Result<ListContainersResponse, Status> {
    let filter = request.filter.unwrap_or_default();
    let options = ListContainersOptionsBuilder::new().all(true).filters(&record::containers(&filter)).build();
    let found = engine.docker.list_containers(Some(options)).await.doing("list containers")?;
    let mut containers = Vec::with_capacity(found.len());
    for container in found {
        containers.extend(item(engine, container).await?);
    }
    if let Some(wanted) = filter.state {
        containers.retain(|container| container.state == wanted.state);
    }
    Ok(ListContainersResponse { containers })
}

async fn item(engine: &Engine, container: ContainerSummary) -> Result<Option<cri::Container>, DockerError> {
    let Some(record) = ContainerRecord::read(container.labels.as_ref()) else { return Ok(None) };
    let id = container.id.unwrap_or_default();
    let state = match container.state {
        // Whether it failed to start is not in the list.
        Some(ContainerSummaryStateEnum::CREATED) => match Container::find(engine, &id).await? {
            Some(container) => status::state(&container),
            None => return Ok(None),
        },
        Some(
            ContainerSummaryStateEnum::RUNNING
            | ContainerSummaryStateEnum::PAUSED
            | ContainerSummaryStateEnum::RESTARTING
            | ContainerSummaryStateEnum::STOPPING,
        ) => ContainerState::ContainerRunning,
        _ => ContainerState::ContainerExited,
    };
    Ok(Some(cri::Container {
        id,
        pod_sandbox_id: record.sandbox,
        metadata: record.config.metadata,
        image: record.config.image,
        image_ref: record.image_ref,
        state: state.into(),
        created_at: record.created_at,
        labels: record.config.labels,
        annotations: record.config.annotations,
        image_id: record.image_id,
    }))
}
