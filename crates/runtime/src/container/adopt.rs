//! Finding the containers of an earlier run.

use std::sync::Arc;

use super::{Container, ContainerPaths, ContainerRecord, ContainerState, mounts, shim, watch};
use crate::disk::{self, DiskError};
use crate::engine::Engine;
use crate::shim::protocol::{Exit, Started, exit_file, started_file};

/// Takes over the container whose directories these are; removes them if no record makes it one.
pub(crate) async fn adopt(engine: &Arc<Engine>, paths: ContainerPaths) -> Result<(), DiskError> {
    let Some(record) = disk::read_json::<ContainerRecord>(&paths.record())? else {
        mounts::unmount(&paths).map_err(DiskError::io("unmount", paths.bundle()))?;
        disk::remove_dir(paths.bundle())?;
        return disk::remove_dir(paths.data());
    };
    let started: Option<Started> = disk::read_json(&started_file(paths.data()))?;
    let exit: Option<Exit> = disk::read_json(&exit_file(paths.data()))?;
    let alive = shim::connect(paths.bundle()).is_ok();
    let state = match (&exit, &started, alive) {
        (Some(exit), _, _) => ContainerState::Exited { started, exit: exit.clone() },
        (None, Some(started), true) => ContainerState::Running(started.clone()),
        (None, None, false) => ContainerState::Created,
        // A shim in the middle of starting its container answers when that is done, which tells how it went.
        (None, None, true) => return adopt_starting(engine, record, paths).await,
        (None, Some(started), false) => {
            let container = Arc::new(Container::new(record, paths, ContainerState::Created));
            let exit = watch::recorded_or_lost(engine, &container).await;
            container.set_state(ContainerState::Exited { started: Some(started.clone()), exit });
            engine.insert_container(container);
            return Ok(());
        }
    };
    let running = matches!(state, ContainerState::Running(_));
    let container = Arc::new(Container::new(record, paths, state));
    engine.insert_container(container.clone());
    if running {
        let name = format!("watch {}", container.id());
        engine.spawner.spawn(name, watch::watch(engine.clone(), container, None));
    }
    Ok(())
}

async fn adopt_starting(engine: &Arc<Engine>, record: ContainerRecord, paths: ContainerPaths) -> Result<(), DiskError> {
    let container = Arc::new(Container::new(record, paths, ContainerState::Created));
    // Any question will do: the shim takes none before the container runs, and hangs up when it fails.
    let answered = shim::reopen_log(&container).await.is_ok();
    let started: Option<Started> = disk::read_json(&started_file(container.paths().data()))?;
    if let (true, Some(started)) = (answered, started) {
        container.set_state(ContainerState::Running(started));
        let name = format!("watch {}", container.id());
        engine.spawner.spawn(name, watch::watch(engine.clone(), container.clone(), None));
    }
    engine.insert_container(container);
    Ok(())
}
