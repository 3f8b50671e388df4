//! Stopping and removing containers.

use std::sync::Arc;
use std::time::Duration;

use bollard::errors::Error;
use bollard::query_parameters::{
    RemoveContainerOptionsBuilder, StopContainerOptionsBuilder, WaitContainerOptionsBuilder,
};
use cri::{RemoveContainerRequest, RemoveContainerResponse, Status, StopContainerRequest, StopContainerResponse};
use futures::StreamExt;

use super::Container;
use crate::daemon::PATIENCE;
use crate::engine::Engine;
use crate::errors::{DockerError, Doing, OrGone};

/// `StopContainer`. What is unknown is stopped.
pub(crate) async fn stop(engine: &Arc<Engine>, request: StopContainerRequest) -> Result<StopContainerResponse, Status> {
    let Some(container) = Container::find(engine, &request.container_id).await? else {
        return Ok(StopContainerResponse {});
    };
    let seconds = i32::try_from(request.timeout.max(0)).unwrap_or(i32::MAX);
    let grace = Duration::from_secs(u64::from(seconds.unsigned_abs()));
    // Docker answers when the container has ended.
    let docker = engine.docker.clone().with_timeout(PATIENCE.saturating_add(grace));
    let options = StopContainerOptionsBuilder::new().t(seconds).build();
    let stopped = docker.stop_container(&container.id, Some(options)).await;
    stopped.doing(format!("stop container {}", container.id)).or_gone()?;
    Ok(StopContainerResponse {})
}

/// `RemoveContainer`. What is unknown is removed; what runs is ended first.
pub(crate) async fn remove(
    engine: &Arc<Engine>,
    request: RemoveContainerRequest,
) -> Result<RemoveContainerResponse, Status> {
    if let Some(container) = Container::find(engine, &request.container_id).await? {
        discard(engine, &container.id).await?;
    }
    Ok(RemoveContainerResponse {})
}

/// Removes a container of any state.
pub(crate) async fn discard(engine: &Engine, id: &str) -> Result<(), DockerError> {
    let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    match engine.docker.remove_container(id, Some(options)).await.doing(format!("remove container {id}")).or_gone() {
        // Somebody else removes it already.
        Err(err) if err.is_conflict() => gone(engine, id).await?,
        other => other?,
    }
    engine.forget(id);
    Ok(())
}

/// Waits until a container does not run.
pub(crate) async fn ended(engine: &Engine, id: &str) -> Result<(), DockerError> {
    wait(engine, id, "not-running").await
}

async fn gone(engine: &Engine, id: &str) -> Result<(), DockerError> {
    wait(engine, id, "removed").await
}

async fn wait(engine: &Engine, id: &str, condition: &str) -> Result<(), DockerError> {
    // It may run for years.
    let docker = engine.docker.clone().with_timeout(Duration::from_secs(u64::from(u32::MAX)));
    let options = WaitContainerOptionsBuilder::new().condition(condition).build();
    let waited = std::pin::pin!(docker.wait_container(id, Some(options))).next().await;
    match waited {
        // How it ended is not the question.
        None | Some(Ok(_) | Err(Error::DockerContainerWaitError { .. })) => Ok(()),
        Some(Err(err)) => Err(err).doing(format!("wait for container {id}")).or_gone(),
    }
}
