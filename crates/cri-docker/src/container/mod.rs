//! Containers: what CRI wants of them as Docker makes them, and what Docker says of them as CRI wants it.

mod body;
mod create;
mod groups;
mod list;
mod mounts;
mod resources;
pub(crate) mod security;
mod start;
mod status;
mod stop;
mod update;

use std::collections::HashMap;

use bollard::models::{ContainerInspectResponse, ContainerSummary, ContainerSummaryStateEnum, HostConfigLogConfig};
use bollard::query_parameters::{InspectContainerOptions, ListContainersOptionsBuilder};
use cri::Status;

use crate::engine::Engine;
use crate::errors::{DockerError, Doing, no_container};
use crate::record::{self, ContainerRecord, Record};

pub(crate) use create::create;
pub(crate) use list::list;
pub(crate) use resources::cgroup_parent;
pub(crate) use start::start;
pub(crate) use status::{status, statuses_of};
pub(crate) use stop::{discard, ended, remove, stop};
pub(crate) use update::update;

/// Docker keeps so much of a container's log, beside the file that the kubelet reads and rotates: what may come while the
/// adapter does not run.
const LOG_FILE_SIZE: &str = "32m";
const LOG_FILES: &str = "2";

/// A container as it is now.
pub(crate) struct Container {
    pub id: String,
    pub record: ContainerRecord,
    pub inspected: ContainerInspectResponse,
}

impl Container {
    /// The container with this id, or the only one whose id begins so; nothing where there is none.
    pub(crate) async fn find(engine: &Engine, id: &str) -> Result<Option<Self>, DockerError> {
        if id.is_empty() {
            return Ok(None);
        }
        let found = engine.docker.inspect_container(id, None::<InspectContainerOptions>).await;
        let inspected = match found.doing(format!("inspect container {id}")) {
            Ok(inspected) => inspected,
            Err(err) if err.is_not_found() => return Ok(None),
            Err(err) => return Err(err),
        };
        let labels = inspected.config.as_ref().and_then(|config| config.labels.as_ref());
        let Some(record) = ContainerRecord::read(labels) else { return Ok(None) };
        Ok(Some(Self { id: inspected.id.clone().unwrap_or_default(), record, inspected }))
    }

    /// The same, where one must be.
    pub(crate) async fn get(engine: &Engine, id: &str) -> Result<Self, Status> {
        Self::find(engine, id).await?.ok_or_else(|| no_container(id))
    }

    /// The same, where it must run.
    pub(crate) async fn running(engine: &Engine, id: &str) -> Result<Self, Status> {
        let container = Self::get(engine, id).await?;
        if !container.is_running() {
            return Err(Status::failed_precondition(format!("container {id} is not running")));
        }
        Ok(container)
    }

    /// Whether its process runs.
    pub(crate) fn is_running(&self) -> bool {
        self.inspected.state.as_ref().and_then(|state| state.running).unwrap_or(false)
    }
}

/// Goes on with the logs of all containers: those that run, and those that ended while nobody looked.
pub(crate) async fn adopt_logs(engine: &Engine) -> Result<(), DockerError> {
    let options = ListContainersOptionsBuilder::new().all(true).filters(&record::of_kind::<ContainerRecord>()).build();
    let containers = engine.docker.list_containers(Some(options)).await.doing("list containers")?;
    let started = |container: &ContainerSummary| container.state != Some(ContainerSummaryStateEnum::CREATED);
    for container in containers.into_iter().filter(started) {
        if let (Some(id), Some(record)) = (container.id, ContainerRecord::read(container.labels.as_ref())) {
            engine.logs.follow(&id, &record);
        }
    }
    Ok(())
}

/// How Docker keeps what a container writes, until it is in the kubelet's file.
fn log_config() -> HostConfigLogConfig {
    let limits = [("max-size", LOG_FILE_SIZE), ("max-file", LOG_FILES)];
    let limits: HashMap<_, _> = limits.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    HostConfigLogConfig { typ: Some("json-file".to_owned()), config: Some(limits) }
}

/// Of who has nothing to say nothing is kept.
pub(crate) fn no_log() -> HostConfigLogConfig {
    HostConfigLogConfig { typ: Some("none".to_owned()), config: None }
}
