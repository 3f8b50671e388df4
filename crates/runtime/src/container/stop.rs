//! Stopping a container: its stop signal, then SIGKILL.

use std::sync::Arc;
use std::time::Duration;

use super::{Container, ContainerState, ShimError, shim};
use crate::engine::Engine;

/// SIGKILL.
const KILL: i32 = 9;

/// How long a killed container may take to be gone; only a process stuck in the kernel takes longer.
const KILL_TIME: Duration = Duration::from_secs(30);

/// Why a container was not stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StopError {
    /// Its shim did not send the signal.
    #[error(transparent)]
    Shim(#[from] ShimError),
    /// It does not end.
    #[error("container {0} does not end although it was killed")]
    Stuck(String),
}

/// [`stop`], after a start or a removal that is under way: what is being started runs in a moment.
pub(crate) async fn stop_alone(engine: &Engine, container: &Arc<Container>, timeout: i64) -> Result<(), StopError> {
    if container.state() == ContainerState::Created {
        drop(container.operation.lock().await);
    }
    stop(engine, container, timeout).await
}

/// Stops a container with `timeout` seconds of grace; one that does not run is fine.
pub(crate) async fn stop(engine: &Engine, container: &Arc<Container>, timeout: i64) -> Result<(), StopError> {
    if !is_running(container) {
        return Ok(());
    }
    if let Ok(seconds @ 1..) = u64::try_from(timeout) {
        send(container, container.record().stop_signal).await?;
        if ends_within(engine, container, Duration::from_secs(seconds)).await {
            return Ok(());
        }
    }
    send(container, KILL).await?;
    if ends_within(engine, container, KILL_TIME).await {
        return Ok(());
    }
    Err(StopError::Stuck(container.id().to_string()))
}

fn is_running(container: &Container) -> bool {
    matches!(container.state(), ContainerState::Running(_))
}

async fn ends_within(engine: &Engine, container: &Container, time: Duration) -> bool {
    tokio::select! {
        () = container.ended() => true,
        () = engine.env.sleep(time) => false,
    }
}

/// Sends a signal; a container that ends in this moment is as good.
async fn send(container: &Container, signal: i32) -> Result<(), StopError> {
    match shim::signal(container, signal).await {
        Ok(()) => Ok(()),
        // The shim leaves when the container has ended; the watcher is about to notice.
        Err(ShimError::Talk { .. } | ShimError::Refused(_)) => Ok(()),
        Err(err) => Err(err.into()),
    }
}
