//! Removing a sandbox with its containers.

use std::sync::Arc;

use super::stop::{release, stop_locked};
use super::{Sandbox, StopSandboxError};
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
    remove_dirs(sandbox)?;
    engine.forget_sandbox(sandbox.id());
    engine.emit_sandbox(EventKind::ContainerDeletedEvent, sandbox);
    Ok(())
}

/// Removes a sandbox that never became ready.
pub(crate) async fn remove_rest(engine: &Engine, sandbox: &Arc<Sandbox>) -> Result<(), RemoveSandboxError> {
    release(engine, sandbox).await?;
    Ok(remove_dirs(sandbox)?)
}

fn remove_dirs(sandbox: &Sandbox) -> Result<(), DiskError> {
    disk::remove_dir(sandbox.paths().run())?;
    disk::remove_dir(sandbox.paths().data())
}
