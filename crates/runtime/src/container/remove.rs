//! Removing a container.

use std::io;
use std::sync::Arc;

use super::{Container, StopError, mounts, stop};
use crate::cgroup::Cgroup;
use crate::disk::{self, DiskError};
use crate::engine::{Engine, EventKind};

/// Why a container was not removed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RemoveError {
    /// It does not end.
    #[error(transparent)]
    Stop(#[from] StopError),
    /// Something stays.
    #[error("cannot {action} of container {container}: {source}")]
    System {
        /// What was attempted.
        action: &'static str,
        /// The container.
        container: String,
        /// What the system said.
        source: io::Error,
    },
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Kills a container if it runs, and removes it.
pub(crate) async fn remove(engine: &Arc<Engine>, container: &Arc<Container>) -> Result<(), RemoveError> {
    let _alone = container.operation.lock().await;
    if engine.container(container.id().as_str()).is_none() {
        return Ok(());
    }
    stop(engine, container, 0).await?;
    let blocking = container.clone();
    let work = tokio::task::spawn_blocking(move || release(&blocking));
    let aborted = |_| RemoveError::System {
        action: "remove the rest",
        container: container.id().to_string(),
        source: io::Error::other("the work was broken off"),
    };
    work.await.map_err(aborted)??;
    engine.forget_container(container.id());
    let record = container.record();
    if record.mounted_images.iter().chain([&record.image]).any(|id| engine.images.find(id.as_str()).is_none()) {
        // It may have been the last to need what that image had.
        engine.images.collect_soon();
    }
    engine.emit_container(EventKind::ContainerDeletedEvent, container);
    Ok(())
}

/// Removes everything of a container that does not run.
pub(super) fn release(container: &Container) -> Result<(), RemoveError> {
    let system = |action| move |source| RemoveError::System { action, container: container.id().to_string(), source };
    let paths = container.paths();
    let cgroup = Cgroup::new(&container.record().cgroup);
    cgroup.kill_all().map_err(system("end the processes"))?;
    cgroup.remove().map_err(system("remove the cgroup"))?;
    // The record before the rest: one whose removal is broken off is no container any more, and must not be started. What
    // has no record is removed at the next start.
    disk::remove_file(&paths.record())?;
    mounts::unmount(paths).map_err(system("unmount the file systems"))?;
    disk::remove_dir(paths.bundle())?;
    Ok(disk::remove_dir(paths.data())?)
}
