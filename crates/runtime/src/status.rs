//! What CRI shows of sandboxes and containers.

use cri::{
    ContainerState as CriState, ContainerStatus, ContainerUser, ImageSpec, LinuxContainerUser, LinuxPodSandboxStatus,
    Namespace, PodIp, PodSandboxNetworkStatus, PodSandboxState, PodSandboxStatus,
};
use jiff::Timestamp;

use crate::container::{Container, ContainerRecord, ContainerState, signal_name};
use crate::engine::Engine;
use crate::sandbox::{Sandbox, SandboxPhase, metadata, namespace_options};
use crate::shim::protocol::{Exit, Failure};

/// CRI's times.
pub(crate) fn nanoseconds(time: Timestamp) -> i64 {
    i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX)
}

/// A sandbox's state as CRI has it.
pub(crate) fn sandbox_state(phase: SandboxPhase) -> PodSandboxState {
    match phase {
        SandboxPhase::Ready => PodSandboxState::SandboxReady,
        SandboxPhase::Creating | SandboxPhase::NotReady => PodSandboxState::SandboxNotready,
    }
}

/// The status of a sandbox.
pub(crate) fn sandbox_status(sandbox: &Sandbox) -> PodSandboxStatus {
    let record = sandbox.record();
    let ready = record.phase == SandboxPhase::Ready;
    let ips: Vec<String> = if ready { record.ips.iter().map(ToString::to_string).collect() } else { Vec::new() };
    let mut ips = ips.into_iter();
    let network = PodSandboxNetworkStatus {
        ip: ips.next().unwrap_or_default(),
        additional_ips: ips.map(|ip| PodIp { ip }).collect(),
    };
    PodSandboxStatus {
        id: record.id.to_string(),
        metadata: Some(metadata(&record.config)),
        state: sandbox_state(record.phase).into(),
        created_at: nanoseconds(record.created_at),
        network: Some(network),
        linux: Some(LinuxPodSandboxStatus {
            namespaces: Some(Namespace { options: Some(namespace_options(&record.config)) }),
        }),
        labels: record.config.labels,
        annotations: record.config.annotations,
        runtime_handler: record.runtime_handler,
    }
}

/// A container's state as CRI has it.
pub(crate) fn container_state(state: &ContainerState) -> CriState {
    match state {
        ContainerState::Created => CriState::ContainerCreated,
        ContainerState::Running(_) => CriState::ContainerRunning,
        ContainerState::Exited { .. } => CriState::ContainerExited,
    }
}

/// The status of a container.
pub(crate) fn container_status(engine: &Engine, container: &Container) -> ContainerStatus {
    let record = container.record();
    let state = container.state();
    let mut status = ContainerStatus {
        id: record.id.to_string(),
        metadata: record.config.metadata.clone(),
        state: container_state(&state).into(),
        created_at: nanoseconds(record.created_at),
        image: record.config.image.clone(),
        image_ref: record.image_ref.clone(),
        image_id: record.image.to_string(),
        labels: record.config.labels.clone(),
        annotations: record.config.annotations.clone(),
        mounts: mounts(record),
        log_path: record.log_path.as_ref().map(|path| path.display().to_string()).unwrap_or_default(),
        resources: Some(cri::ContainerResources { linux: Some(container.resources()), windows: None }),
        user: Some(ContainerUser {
            linux: Some(LinuxContainerUser {
                uid: record.user.uid.into(),
                gid: record.user.gid.into(),
                supplemental_groups: record.user.groups.iter().map(|group| i64::from(*group)).collect(),
            }),
        }),
        stop_signal: signal_name(record.stop_signal).into(),
        ..ContainerStatus::default()
    };
    if let Some(image) = engine.images.find(record.image.as_str())
        && let Some(tag) = image.tags.first()
    {
        // What the user wrote may be an identifier; a name is shown where there is one.
        let annotations = record.config.image.clone().unwrap_or_default().annotations;
        status.image = Some(ImageSpec { image: tag.clone(), annotations, ..ImageSpec::default() });
    }
    match state {
        ContainerState::Created => {}
        ContainerState::Running(started) => status.started_at = nanoseconds(started.started_at),
        ContainerState::Exited { started, exit } => {
            status.started_at = started.map_or(0, |started| nanoseconds(started.started_at));
            status.finished_at = nanoseconds(exit.finished_at);
            status.exit_code = exit.exit_code;
            (status.reason, status.message) = reason(&exit);
        }
    }
    status
}

/// The container's mounts, those of images with what the images' names stood for.
fn mounts(record: &ContainerRecord) -> Vec<cri::Mount> {
    let mut mounts = record.config.mounts.clone();
    let specs = mounts.iter_mut().filter_map(|mount| mount.image.as_mut());
    for (spec, image) in specs.zip(&record.mounted_images) {
        spec.image_ref = image.to_string();
    }
    mounts
}

/// Why a container ended, in one word and more.
fn reason(exit: &Exit) -> (String, String) {
    let (reason, message) = match (&exit.failure, exit.oom_killed, exit.exit_code) {
        (Some(Failure::Start(message)), ..) => ("StartError", message.as_str()),
        (Some(Failure::Lost), ..) => ("Unknown", "the process that watched the container is gone"),
        (None, true, _) => ("OOMKilled", ""),
        (None, false, 0) => ("Completed", ""),
        (None, false, _) => ("Error", ""),
    };
    (reason.to_owned(), message.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(exit_code: i32, oom_killed: bool, failure: Option<Failure>, expected: &str) {
        let exit = Exit { exit_code, oom_killed, finished_at: Timestamp::UNIX_EPOCH, failure };
        assert_eq!(reason(&exit).0, expected);
    }

    #[test]
    fn every_end_has_a_reason() {
        check(0, false, None, "Completed");
        check(3, false, None, "Error");
        check(137, true, None, "OOMKilled");
        check(128, false, Some(Failure::Start("no".to_owned())), "StartError");
        check(255, false, Some(Failure::Lost), "Unknown");
    }
}
