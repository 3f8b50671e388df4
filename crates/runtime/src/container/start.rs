//! Starting a container.

use std::io;
use std::sync::Arc;

use super::{Container, ContainerState, shim, watch};
use crate::cgroup::Cgroup;
use crate::disk::{self, DiskError};
use crate::engine::{Engine, EventKind};
use crate::sandbox::SandboxPhase;
use crate::shim::protocol::{Exit, Failure, Response, state_dir};

/// Why a container was not started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// It runs, or has run.
    #[error("container {0} is not in the created state")]
    State(String),
    /// Its sandbox is not ready.
    #[error("sandbox {0} is not ready")]
    SandboxNotReady(String),
    /// It cannot become what it shall be.
    #[error("failed to start container: {0}")]
    Failed(String),
    /// There is no shim for it.
    #[error("cannot run the shim of container {container}: {source}")]
    Shim {
        /// The container.
        container: String,
        /// What the system said.
        source: io::Error,
    },
    /// An earlier start has left something that stays.
    #[error("cannot remove what is left of an earlier start of container {container}: {source}")]
    Left {
        /// The container.
        container: String,
        /// What the system said.
        source: io::Error,
    },
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// The exit status of a container that never ran, as other runtimes give it.
const START_FAILED: i32 = 128;

/// Starts a container. If its program cannot be started, the container has exited.
pub(crate) async fn start(engine: &Arc<Engine>, container: &Arc<Container>) -> Result<(), StartError> {
    let sandbox_id = container.record().sandbox.to_string();
    let sandbox = engine.sandbox(&sandbox_id).ok_or_else(|| StartError::SandboxNotReady(sandbox_id.clone()))?;
    let _stays = sandbox.operation.read().await;
    let _alone = container.operation.lock().await;
    if sandbox.record().phase != SandboxPhase::Ready {
        return Err(StartError::SandboxNotReady(sandbox_id));
    }
    if container.state() != ContainerState::Created {
        return Err(StartError::State(container.id().to_string()));
    }
    clear(container).await?;
    let launched = shim::launch(&engine.shim_program, container.paths().bundle(), engine.start_timeout).await;
    let (mut child, response) = match launched {
        Ok(launched) => launched,
        Err(source) => {
            clear(container).await?;
            return Err(StartError::Shim { container: container.id().to_string(), source });
        }
    };
    match response {
        Response::Started(started) => {
            for warning in &started.warnings {
                tracing::warn!(container = %container.id(), warning, "the container runs with less than it asked for");
            }
            container.set_state(ContainerState::Running(started));
            engine.emit_container(EventKind::ContainerStartedEvent, container);
            engine.spawner.spawn(
                format!("watch {}", container.id()),
                watch::watch(engine.clone(), container.clone(), Some(child)),
            );
            Ok(())
        }
        response => {
            // It ends by itself after this answer.
            let _ = child.wait().await;
            let reason = match response {
                Response::Failed(reason) => reason,
                other => format!("unexpected answer of the shim: {other:?}"),
            };
            let log = std::fs::read_to_string(container.paths().bundle().join("shim.log")).unwrap_or_default();
            tracing::warn!(container = %container.id(), reason, log, "a container could not be started");
            if let Err(err) = clear(container).await {
                tracing::warn!(container = %container.id(), %err, "a failed start has left something");
            }
            let exit = Exit {
                exit_code: START_FAILED,
                oom_killed: false,
                finished_at: engine.env.now(),
                failure: Some(Failure::Start(reason.clone())),
            };
            exit.write(container.paths().data(), container.paths().bundle())?;
            container.set_state(ContainerState::Exited { started: None, exit });
            engine.emit_container(EventKind::ContainerStoppedEvent, container);
            Err(StartError::Failed(reason))
        }
    }
}

/// Ends and removes what is left of a start that came to nothing, if there was one: processes, their cgroup, and what an
/// OCI runtime keeps. The container can be started once more then.
pub(super) async fn clear(container: &Arc<Container>) -> Result<(), StartError> {
    if !shim::is_left(container.paths().bundle()) {
        return Ok(());
    }
    let blocking = container.clone();
    let work = move || {
        let cgroup = Cgroup::new(&blocking.record().cgroup);
        cgroup.kill_all().and_then(|()| cgroup.remove())?;
        let bundle = blocking.paths().bundle();
        // The mark of a start at last: whatever breaks this off, it is gone on with.
        disk::remove_dir(&state_dir(bundle)).and_then(|()| shim::forget(bundle)).map_err(io::Error::other)
    };
    let cleared = tokio::task::spawn_blocking(work).await.unwrap_or_else(|err| Err(io::Error::other(err)));
    cleared.map_err(|source| StartError::Left { container: container.id().to_string(), source })
}
