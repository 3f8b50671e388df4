//! Removing a sandbox with its containers.

use std::sync::Arc;

use super::stop::{release, release_paths, stop_locked};
use super::{Sandbox, SandboxPaths, StopSandboxError};
use crate::container::{self, RemoveError};
use crate::disk::{self, DiskError};
use crate::engine::{Engine, EventKind};

/// Why a sandbox was not removed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RemoveSandboxError {
    /// It was not stopped.
    #[error(transparent)]
    Stop(#[from] StopSandboxError),
    /// A container was not removed.
    #[error(transparent)]
    Container(#[from] RemoveError),
    /// Its directories stay.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Stops and removes a sandbox and everything in it.
pub(crate) async fn remove(engine: &Arc<Engine>, sandbox: &Arc<Sandbox>) -> Result<(), RemoveSandboxError> {
    let _alone = sandbox.operation.write().await;
    stop_locked(engine, sandbox).await?;
    for container in engine.containers_of(sandbox.id()) {
        container::remove(engine, &container).await?;
    }
    remove_dirs(sandbox.paths())?;
    engine.forget_sandbox(sandbox.id());
    engine.emit_sandbox(EventKind::ContainerDeletedEvent, sandbox);
    Ok(())
}

/// Removes a sandbox that never became ready.
pub(crate) async fn remove_rest(engine: &Engine, sandbox: &Arc<Sandbox>) -> Result<(), RemoveSandboxError> {
    release(engine, sandbox).await?;
    Ok(remove_dirs(sandbox.paths())?)
}

/// Removes a sandbox of which nothing is known but where it is; its connection goes with those of all that are unknown.
/// Blocks.
pub(crate) fn discard(paths: &SandboxPaths) -> Result<(), RemoveSandboxError> {
    release_paths(paths)?;
    Ok(remove_dirs(paths)?)
}

fn remove_dirs(paths: &SandboxPaths) -> Result<(), DiskError> {
    disk::remove_dir(paths.run())?;
    disk::remove_dir(paths.data())
}
