//! The phase of a pod, from its specification and its containers' statuses.

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod};

use super::spec::{self, RestartPolicy};

/// Where a container stands, for the phase.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Waiting,
    Running,
    Succeeded,
    Failed,
    Unknown,
}

fn standing(container: &Container, statuses: &[ContainerStatus]) -> Standing {
    let Some(status) = statuses.iter().find(|status| status.name == container.name) else {
        return Standing::Unknown;
    };
    let state = status.state.clone().unwrap_or_default();
    let ended = state.terminated.clone().or_else(|| {
        // A container that waits to be started again has ended before.
        state.waiting.as_ref().and_then(|_| status.last_state.as_ref().and_then(|last| last.terminated.clone()))
    });
    match (state.running, ended) {
        (Some(_), _) => Standing::Running,
        (None, Some(ended)) if ended.exit_code == 0 => Standing::Succeeded,
        (None, Some(_)) => Standing::Failed,
        (None, None) => Standing::Waiting,
    }
}

/// Whether the pod is past its init containers.
pub fn is_initialized(pod: &Pod, init_statuses: &[ContainerStatus], statuses: &[ContainerStatus]) -> bool {
    let regular_made = statuses.iter().any(|status| {
        let state = status.state.clone().unwrap_or_default();
        state.running.is_some()
            || state.terminated.is_some()
            || status.last_state.as_ref().is_some_and(|last| last.terminated.is_some())
    });
    regular_made || incomplete_init(pod, init_statuses).is_empty()
}

/// The init containers that are not through yet.
pub fn incomplete_init(pod: &Pod, init_statuses: &[ContainerStatus]) -> Vec<String> {
    let incomplete = spec::init_containers(pod).iter().filter(|container| {
        if spec::is_sidecar(container) {
            let status = init_statuses.iter().find(|status| status.name == container.name);
            return status.is_none_or(|status| status.started != Some(true));
        }
        standing(container, init_statuses) != Standing::Succeeded
    });
    incomplete.map(|container| container.name.clone()).collect()
}

/// The phase. `ending` says that the pod is to stop, so that what ended will not be started again.
pub fn phase(pod: &Pod, init_statuses: &[ContainerStatus], statuses: &[ContainerStatus], ending: bool) -> &'static str {
    let never = |container: &Container| spec::container_restart_policy(pod, container) == RestartPolicy::Never;
    if !is_initialized(pod, init_statuses, statuses) {
        let failed = spec::init_containers(pod)
            .iter()
            .filter(|container| !spec::is_sidecar(container))
            .any(|c| standing(c, init_statuses) == Standing::Failed && (never(c) || ending));
        return if failed { "Failed" } else { "Pending" };
    }
    let standings: Vec<(&Container, Standing)> =
        spec::containers(pod).iter().map(|container| (container, standing(container, statuses))).collect();
    let count = |wanted: Standing| standings.iter().filter(|(_, standing)| *standing == wanted).count();
    let ended = count(Standing::Succeeded) + count(Standing::Failed);
    if count(Standing::Waiting) > 0 || count(Standing::Unknown) > 0 {
        return "Pending";
    }
    if count(Standing::Running) > 0 {
        return "Running";
    }
    if ended == 0 {
        return "Pending";
    }
    let all_succeeded = count(Standing::Failed) == 0;
    if ending {
        return if all_succeeded { "Succeeded" } else { "Failed" };
    }
    let restarts = standings.iter().any(|(container, standing)| {
        match spec::container_restart_policy(pod, container) {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => *standing == Standing::Failed,
            // An exit code's own rule can still restart it; the status then waits, with the end as its last state.
            RestartPolicy::Never => statuses.iter().any(|status| {
                status.name == container.name && status.state.as_ref().is_some_and(|state| state.waiting.is_some())
            }),
        }
    });
    match (restarts, all_succeeded) {
        (true, _) => "Running",
        (false, true) => "Succeeded",
        (false, false) => "Failed",
    }
}
