//! `ContainerStatus`.

use std::collections::HashMap;
use std::sync::Arc;

use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::ListContainersOptionsBuilder;
use cri::{
    ContainerState, ContainerStatus, ContainerStatusRequest, ContainerStatusResponse, ContainerUser, ImageSpec, Status,
};

use super::{Container, groups, resources};
use crate::engine::Engine;
use crate::errors::{DockerError, Doing};
use crate::record;
use crate::times;

/// The exit code of what did not come to run, where Docker has none.
const NOT_STARTED: i32 = 128;

/// The status of a container.
pub(crate) async fn status(
    engine: &Arc<Engine>,
    request: ContainerStatusRequest,
) -> Result<ContainerStatusResponse, Status> {
    let container = Container::get(engine, &request.container_id).await?;
    let mut info = HashMap::new();
    if request.verbose {
        let pid = container.inspected.state.as_ref().and_then(|state| state.pid).unwrap_or(0);
        let text = serde_json::json!({
            "sandboxID": container.record.sandbox,
            "pid": pid,
            "config": container.record.config,
            "docker": container.inspected,
        });
        info.insert("info".to_owned(), text.to_string());
    }
    let status = complete(engine, container).await;
    Ok(ContainerStatusResponse { status: Some(status), info })
}

/// The statuses of a sandbox's containers.
pub(crate) async fn statuses_of(engine: &Engine, sandbox: &str) -> Result<Vec<ContainerStatus>, DockerError> {
    let options = ListContainersOptionsBuilder::new().all(true).filters(&record::containers_of(sandbox)).build();
    let found = engine.docker.list_containers(Some(options)).await.doing("list containers")?;
    let mut statuses = Vec::new();
    for id in found.into_iter().filter_map(|container| container.id) {
        if let Some(container) = Container::find(engine, &id).await? {
            statuses.push(complete(engine, container).await);
        }
    }
    Ok(statuses)
}

/// Of a container that ended nothing is said before its log is complete: whoever hears of it may read that at once.
async fn complete(engine: &Engine, container: Container) -> ContainerStatus {
    let status = of(&container);
    if status.state() == ContainerState::ContainerExited {
        engine.logs.complete(&container.id).await;
    }
    status
}

/// The container's state. One that failed to start is still to be started for Docker, and has ended for CRI.
pub(super) fn state(container: &Container) -> ContainerState {
    let state = container.inspected.state.clone().unwrap_or_default();
    if container.is_running() {
        ContainerState::ContainerRunning
    } else if times::parse(state.started_at.as_deref()).is_some() || has_failed(&state) {
        ContainerState::ContainerExited
    } else {
        ContainerState::ContainerCreated
    }
}

fn has_failed(state: &bollard::models::ContainerState) -> bool {
    state.error.as_ref().is_some_and(|error| !error.is_empty())
}

fn of(container: &Container) -> ContainerStatus {
    let Container { id, record, inspected } = container;
    let config = &record.config;
    let annotations = config.image.clone().unwrap_or_default().annotations;
    let mut status = ContainerStatus {
        id: id.clone(),
        metadata: config.metadata.clone(),
        state: state(container).into(),
        created_at: record.created_at,
        image: Some(ImageSpec { image: record.image_name.clone(), annotations, ..ImageSpec::default() }),
        image_ref: record.image_ref.clone(),
        image_id: record.image_id.clone(),
        labels: config.labels.clone(),
        annotations: config.annotations.clone(),
        mounts: config.mounts.clone(),
        log_path: record.log_path.clone(),
        resources: inspected.host_config.as_ref().map(resources::of),
        stop_signal: config.stop_signal,
        user: user(inspected),
        ..ContainerStatus::default()
    };
    let state = inspected.state.clone().unwrap_or_default();
    let started_at = times::parse(state.started_at.as_deref());
    status.started_at = started_at.unwrap_or(0);
    if status.state() == ContainerState::ContainerExited {
        end(&mut status, &state, started_at.is_some());
    }
    status
}

/// The user of the first process, as far as it is certain.
fn user(inspected: &ContainerInspectResponse) -> Option<ContainerUser> {
    let user = inspected.config.as_ref().and_then(|config| config.user.as_deref());
    let further = inspected.host_config.as_ref().and_then(|host| host.group_add.as_deref());
    groups::user(user, further).map(|linux| ContainerUser { linux: Some(linux) })
}

/// How the container ended.
fn end(status: &mut ContainerStatus, state: &bollard::models::ContainerState, was_started: bool) {
    status.exit_code = state.exit_code.and_then(|code| i32::try_from(code).ok()).unwrap_or_default();
    if !was_started {
        (status.started_at, status.finished_at) = (status.created_at, status.created_at);
        if status.exit_code == 0 {
            status.exit_code = NOT_STARTED;
        }
        status.reason = "StartError".to_owned();
        status.message = state.error.clone().unwrap_or_default();
        return;
    }
    status.finished_at = times::parse(state.finished_at.as_deref()).unwrap_or(status.started_at);
    let reason = match (state.oom_killed.unwrap_or(false), status.exit_code) {
        (true, _) => "OOMKilled",
        (false, 0) => "Completed",
        (false, _) => "Error",
    };
    status.reason = reason.to_owned();
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: &str = "0001-01-01T00:00:00Z";
    const THEN: &str = "2026-01-02T03:04:05Z";

    #[track_caller]
    fn check(state: bollard::models::ContainerState, expected: (ContainerState, i32, &str)) {
        let inspected = ContainerInspectResponse { state: Some(state), ..Default::default() };
        let status = of(&Container { id: "x".to_owned(), record: Default::default(), inspected });
        assert_eq!((status.state(), status.exit_code, status.reason.as_str()), expected);
    }

    fn docker(running: bool, started: &str, exit_code: i64) -> bollard::models::ContainerState {
        bollard::models::ContainerState {
            running: Some(running),
            started_at: Some(started.to_owned()),
            finished_at: Some(started.to_owned()),
            exit_code: Some(exit_code),
            ..Default::default()
        }
    }

    #[test]
    fn states_and_ends_are_told_apart() {
        check(docker(false, NEVER, 0), (ContainerState::ContainerCreated, 0, ""));
        check(docker(true, THEN, 0), (ContainerState::ContainerRunning, 0, ""));
        check(docker(false, THEN, 0), (ContainerState::ContainerExited, 0, "Completed"));
        check(docker(false, THEN, 3), (ContainerState::ContainerExited, 3, "Error"));
        let killed = bollard::models::ContainerState { oom_killed: Some(true), ..docker(false, THEN, 137) };
        check(killed, (ContainerState::ContainerExited, 137, "OOMKilled"));
        let error = Some("exec: \"x\": not found".to_owned());
        let failed = bollard::models::ContainerState { error, ..docker(false, NEVER, 127) };
        check(failed, (ContainerState::ContainerExited, 127, "StartError"));
    }
}
