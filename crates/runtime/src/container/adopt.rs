//! Finding the containers of an earlier run.

use std::sync::Arc;
use std::time::Duration;

use super::{Container, ContainerPaths, ContainerRecord, ContainerState, mounts, shim, start, watch};
use crate::cgroup::Cgroup;
use crate::disk::{self, DiskError};
use crate::engine::{Engine, EventKind};
use crate::shim::protocol::{Exit, ShimConfig, Started, started_file};

/// How long a shim may take to leave after its container has ended.
const LEAVE_TIME: Duration = Duration::from_secs(10);

/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_millis(10);

/// Takes over the container whose directories these are; removes them if no record makes it one.
pub(crate) async fn adopt(engine: &Arc<Engine>, paths: ContainerPaths) -> Result<(), DiskError> {
    let bundle = paths.bundle().to_owned();
    let record = match disk::read_record::<ContainerRecord>(&paths.record()) {
        Ok(Some(record)) if engine.sandbox(record.sandbox.as_str()).is_some() => record,
        Ok(None) => return discard(engine, paths).await,
        Ok(Some(record)) => {
            tracing::warn!(container = %record.id, "a container is removed, for its sandbox is gone");
            return discard(engine, paths).await;
        }
        Err(err) if err.is_damage() => {
            tracing::warn!(bundle = %bundle.display(), %err, "a container is removed, for its record is damaged");
            return discard(engine, paths).await;
        }
        Err(err) => return Err(err),
    };
    // Before the files: what a shim has written when it is gone is all that it will write.
    let alive = shim::connect(paths.bundle()).is_ok();
    let started = unless_damaged(&record, disk::read_json::<Started>(&started_file(paths.data())))?;
    let exit = unless_damaged(&record, Exit::read(paths.data(), paths.bundle()))?;
    let state = match (exit, started, alive) {
        (Read::There(exit), started, _) => ContainerState::Exited { started: started.there(), exit },
        (Read::Absent, Read::There(started), true) => ContainerState::Running(started),
        (Read::Absent, Read::Absent, false) => {
            let container = Arc::new(Container::new(record, paths, ContainerState::Created));
            clear_broken_start(&container).await;
            engine.insert_container(container);
            return Ok(());
        }
        (Read::Absent, Read::Absent, true) => {
            adopt_starting(engine, Arc::new(Container::new(record, paths, ContainerState::Created))).await;
            return Ok(());
        }
        (_, started, _) => {
            let container = Arc::new(Container::new(record, paths, ContainerState::Created));
            let exit = watch::recorded_or_lost(engine, &container).await;
            container.set_state(ContainerState::Exited { started: started.there(), exit });
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

/// Takes over a container whose shim is in the middle of starting it. Nobody starts, stops or removes it until that has
/// come to its end, and nothing else waits for that.
async fn adopt_starting(engine: &Arc<Engine>, container: Arc<Container>) {
    engine.insert_container(container.clone());
    let sandbox = engine.sandbox(container.record().sandbox.as_str());
    let stays = match &sandbox {
        Some(sandbox) => Some(sandbox.operation.clone().read_owned().await),
        None => None,
    };
    let alone = container.operation.clone().lock_owned().await;
    let (name, engine) = (format!("adopt {}", container.id()), engine.clone());
    engine.clone().spawner.spawn(name, async move {
        let _held = (stays, alone);
        if let Err(err) = end_of_start(&engine, &container).await {
            tracing::warn!(container = %container.id(), %err, "nobody knows how the start of a container went");
        }
    });
}

/// Waits for the end of a start that an earlier process began, and notes how it went.
async fn end_of_start(engine: &Arc<Engine>, container: &Arc<Container>) -> Result<(), DiskError> {
    let runs = shim::comes_to_run(container, engine.start_timeout).await;
    let paths = container.paths();
    let started: Option<Started> = disk::read_json(&started_file(paths.data()))?;
    match started {
        Some(started) if runs => {
            container.set_state(ContainerState::Running(started));
            engine.emit_container(EventKind::ContainerStartedEvent, container);
            let name = format!("watch {}", container.id());
            engine.spawner.spawn(name, watch::watch(engine.clone(), container.clone(), None));
        }
        // It has run, and ended before the question.
        Some(_) => {
            let exit = watch::recorded_or_lost(engine, container).await;
            container.set_state(ContainerState::Exited { started, exit });
            engine.emit_container(EventKind::ContainerStoppedEvent, container);
        }
        // It can be started once more.
        None => clear_broken_start(container).await,
    }
    Ok(())
}

/// Clears away what a start has left that was broken off. What cannot be cleared is tried again before the next one.
async fn clear_broken_start(container: &Arc<Container>) {
    if let Err(err) = start::clear(container).await {
        tracing::warn!(container = %container.id(), %err, "what a broken start has left stays until the next one");
    }
}

/// What became of reading something that may be absent.
enum Read<T> {
    Absent,
    There(T),
    Damaged,
}

impl<T> Read<T> {
    fn there(self) -> Option<T> {
        match self {
            Self::There(value) => Some(value),
            Self::Absent | Self::Damaged => None,
        }
    }
}

fn unless_damaged<T>(record: &ContainerRecord, read: Result<Option<T>, DiskError>) -> Result<Read<T>, DiskError> {
    match read {
        Ok(None) => Ok(Read::Absent),
        Ok(Some(value)) => Ok(Read::There(value)),
        Err(err) if err.is_damage() => {
            tracing::warn!(container = %record.id, %err, "nobody knows any more how far a container is");
            Ok(Read::Damaged)
        }
        Err(err) => Err(err),
    }
}

/// Removes a container of which too little is known, and ends what runs of it.
async fn discard(engine: &Engine, paths: ContainerPaths) -> Result<(), DiskError> {
    // The shim was told where its container's processes are; this is not on the disk.
    let told = disk::read_json::<ShimConfig>(&ShimConfig::file(paths.bundle())).ok().flatten();
    if let Some(told) = told {
        let deadline = engine.env.instant() + LEAVE_TIME;
        loop {
            let cgroup = Cgroup::new(&told.cgroup);
            let ended = tokio::task::spawn_blocking(move || cgroup.kill_all().and_then(|()| cgroup.remove())).await;
            if let Ok(Err(err)) = ended {
                tracing::warn!(container = told.id, %err, "cannot end the processes of a container that is removed");
            }
            // It still writes down how the container ended, or is only about to start it.
            if shim::connect(paths.bundle()).is_err() || engine.env.instant() >= deadline {
                break;
            }
            engine.env.sleep(LOOK).await;
        }
    }
    mounts::unmount(&paths).map_err(DiskError::io("unmount", paths.bundle()))?;
    disk::remove_dir(paths.bundle())?;
    disk::remove_dir(paths.data())
}
