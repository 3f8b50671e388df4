//! Stopping a sandbox: its containers, its network, its namespaces.

use std::io;
use std::sync::Arc;

use network::DetachError;

use super::namespaces::NamespaceError;
use super::{Sandbox, SandboxPaths, SandboxPhase, is_host_network, namespaces, pause};
use crate::container::{self, StopError};
use crate::disk::DiskError;
use crate::engine::{Engine, EventKind};
use crate::mountinfo;

/// Why a sandbox was not stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StopSandboxError {
    /// A container does not end.
    #[error(transparent)]
    Container(#[from] StopError),
    /// The network namespace stays.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// The network connection stays.
    #[error("failed to tear down sandbox network: {0}")]
    Network(#[from] DetachError),
    /// Something else stays.
    #[error("cannot {action}: {source}")]
    System {
        /// What was attempted.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Stops a sandbox; one that is stopped already is fine.
pub(crate) async fn stop(engine: &Arc<Engine>, sandbox: &Arc<Sandbox>) -> Result<(), StopSandboxError> {
    let _alone = sandbox.operation.write().await;
    stop_locked(engine, sandbox).await
}

/// The same for one who holds the sandbox already.
pub(super) async fn stop_locked(engine: &Arc<Engine>, sandbox: &Arc<Sandbox>) -> Result<(), StopSandboxError> {
    let was_ready = sandbox.record().phase == SandboxPhase::Ready;
    for container in engine.containers_of(sandbox.id()) {
        container::stop(engine, &container, 0).await?;
    }
    release(engine, sandbox).await?;
    sandbox.end()?;
    if was_ready {
        engine.emit_sandbox(EventKind::ContainerStoppedEvent, sandbox);
    }
    Ok(())
}

/// Gives back everything that a sandbox holds in the kernel.
pub(super) async fn release(engine: &Engine, sandbox: &Arc<Sandbox>) -> Result<(), StopSandboxError> {
    let blocking = sandbox.clone();
    let work = tokio::task::spawn_blocking(move || release_paths(blocking.paths()));
    let aborted = |_| StopSandboxError::System {
        action: "stop the sandbox",
        source: io::Error::other("the work was broken off"),
    };
    work.await.map_err(aborted)??;
    if let Some(network) = &engine.network
        && !is_host_network(&sandbox.record().config)
    {
        network.detach(sandbox.id().as_str()).await?;
    }
    Ok(())
}

/// Ends and unmounts what a sandbox has in its directories. Blocks.
pub(super) fn release_paths(paths: &SandboxPaths) -> Result<(), StopSandboxError> {
    let system = |action| move |source| StopSandboxError::System { action, source };
    pause::stop(paths).map_err(system("stop the pause process"))?;
    let cgroup = paths.own_cgroup();
    cgroup.kill_all().and_then(|()| cgroup.remove()).map_err(system("remove the sandbox's cgroup"))?;
    // The namespace before its connection: that takes the interfaces with it, which is much faster.
    namespaces::release_network(paths)?;
    mountinfo::unmount_all(paths.run()).map_err(system("unmount the sandbox's file systems"))
}
