//! Stopping and removing a sandbox.

use std::sync::Arc;

use bollard::query_parameters::{KillContainerOptions, ListContainersOptionsBuilder};
use cri::{RemovePodSandboxRequest, RemovePodSandboxResponse, Status, StopPodSandboxRequest, StopPodSandboxResponse};

use super::run::discard;
use super::{Sandbox, network};
use crate::container;
use crate::engine::Engine;
use crate::errors::{DockerError, Doing};
use crate::record;

/// `StopPodSandbox`. What is unknown is stopped.
pub(crate) async fn stop(
    engine: &Arc<Engine>,
    request: StopPodSandboxRequest,
) -> Result<StopPodSandboxResponse, Status> {
    if let Some(sandbox) = Sandbox::find(engine, &request.pod_sandbox_id).await? {
        stop_found(engine, &sandbox).await?;
    }
    Ok(StopPodSandboxResponse {})
}

async fn stop_found(engine: &Engine, sandbox: &Sandbox) -> Result<(), Status> {
    for id in containers(engine, &sandbox.id).await? {
        kill(engine, &id).await?;
    }
    // While the namespace is there still: plugins may want to tidy up in it.
    network::disconnect(engine, sandbox).await?;
    kill(engine, &sandbox.id).await?;
    Ok(())
}

/// Ends a container at once. The process that holds a sandbox's namespaces ends by nothing else.
async fn kill(engine: &Engine, id: &str) -> Result<(), DockerError> {
    let killed = engine.docker.kill_container(id, None::<KillContainerOptions>).await;
    match killed.doing(format!("kill container {id}")) {
        // It is gone, or does not run.
        Err(err) if err.is_not_found() || err.is_conflict() => Ok(()),
        Err(err) => Err(err),
        Ok(()) => container::ended(engine, id).await,
    }
}

async fn containers(engine: &Engine, sandbox: &str) -> Result<Vec<String>, DockerError> {
    let options = ListContainersOptionsBuilder::new().all(true).filters(&record::containers_of(sandbox)).build();
    let containers = engine.docker.list_containers(Some(options)).await;
    let containers = containers.doing(format!("list the containers of sandbox {sandbox}"))?;
    Ok(containers.into_iter().filter_map(|container| container.id).collect())
}

/// `RemovePodSandbox`, with its containers.
pub(crate) async fn remove(
    engine: &Arc<Engine>,
    request: RemovePodSandboxRequest,
) -> Result<RemovePodSandboxResponse, Status> {
    if let Some(sandbox) = Sandbox::find(engine, &request.pod_sandbox_id).await? {
        stop_found(engine, &sandbox).await?;
        for id in containers(engine, &sandbox.id).await? {
            container::discard(engine, &id).await?;
        }
        discard(engine, &sandbox.id).await?;
        engine.forget(&sandbox.id);
    }
    Ok(RemovePodSandboxResponse {})
}
