//! `StartContainer`.

use std::sync::Arc;

use bollard::query_parameters::StartContainerOptions;
use cri::{StartContainerRequest, StartContainerResponse, Status};

use super::Container;
use crate::engine::Engine;
use crate::errors::Doing;
use crate::times;

/// Starts a container that was made and never started.
pub(crate) async fn start(
    engine: &Arc<Engine>,
    request: StartContainerRequest,
) -> Result<StartContainerResponse, Status> {
    let container = Container::get(engine, &request.container_id).await?;
    let started = container.inspected.state.as_ref().and_then(|state| times::parse(state.started_at.as_deref()));
    if started.is_some() {
        return Err(Status::failed_precondition(format!("container {} was started before", container.id)));
    }
    let started = engine.docker.start_container(&container.id, None::<StartContainerOptions>).await;
    started.doing(format!("start container {}", container.id))?;
    engine.logs.follow(&container.id, &container.record);
    Ok(StartContainerResponse {})
}
