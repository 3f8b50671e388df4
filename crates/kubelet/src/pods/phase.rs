//! The phase of a pod, from its specification and its containers' statuses.

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod};

use super::spec;

/// Where a container stands, for the phase.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Waiting,
    Running,
    /// With this exit code.
    Ended(i32),
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
        (None, Some(ended)) => Standing::Ended(ended.exit_code),
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
        standing(container, init_statuses) != Standing::Ended(0)
    });
    incomplete.map(|container| container.name.clone()).collect()
}

/// The phase. `ending` says that the pod is to stop, so that what ended will not be started again.
pub fn phase(pod: &Pod, init_statuses: &[ContainerStatus], statuses: &[ContainerStatus], ending: bool) -> &'static str {
    if !is_initialized(pod, init_statuses, statuses) {
        let mut inits = spec::init_containers(pod).iter().filter(|container| !spec::is_sidecar(container));
        let failed = inits.any(|container| match standing(container, init_statuses) {
            Standing::Ended(code) if code != 0 => ending || !spec::restarts_after_init(pod, container, code),
            _ => false,
        });
        return if failed { "Failed" } else { "Pending" };
    }
    let standings: Vec<(&Container, Standing)> =
        spec::containers(pod).iter().map(|container| (container, standing(container, statuses))).collect();
    if standings.iter().any(|(_, standing)| matches!(standing, Standing::Waiting | Standing::Unknown)) {
        return "Pending";
    }
    let goes_on = standings.iter().any(|(container, standing)| match standing {
        Standing::Ended(code) => !ending && spec::restarts_after(pod, container, *code),
        _ => true,
    });
    match (goes_on, standings.iter().all(|(_, standing)| *standing == Standing::Ended(0))) {
        _ if standings.is_empty() => "Pending",
        (true, _) => "Running",
        (false, true) => "Succeeded",
        (false, false) => "Failed",
    }
}
