//! `UpdateContainerResources`.

use std::sync::Arc;

use cri::{Status, UpdateContainerResourcesRequest, UpdateContainerResourcesResponse};

use super::{Container, resources};
use crate::engine::Engine;
use crate::errors::Doing;

/// Changes the limits of a container.
pub(crate) async fn update(
    engine: &Arc<Engine>,
    request: UpdateContainerResourcesRequest,
) -> Result<UpdateContainerResourcesResponse, Status> {
    let container = Container::get(engine, &request.container_id).await?;
    if let Some(limits) = &request.linux {
        let change = resources::change(limits);
        let updated = engine.docker.update_container(&container.id, change).await;
        updated.doing(format!("change the limits of container {}", container.id))?;
    }
    Ok(UpdateContainerResourcesResponse {})
}
