//! Containers that ran once and of which the runtime has nothing any more: somebody removed them, or the runtime lost its
//! own data. What was said of them in the pod's status is all that is left.

use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated, ContainerStatus};

/// The reason of an end that nobody has seen.
pub const STATUS_UNKNOWN: &str = "ContainerStatusUnknown";
/// The exit code of such an end: that of a process that was killed.
const EXIT_CODE: i32 = 137;

/// Whether a container ran when it was last seen and has not been said to be lost.
pub fn was_running(old: &ContainerStatus) -> bool {
    old.state.as_ref().is_some_and(|state| state.running.is_some())
}

/// Whether a container has been said to be lost, and not to run again.
fn is_known(old: &ContainerStatus) -> bool {
    let waits = old.state.as_ref().is_some_and(|state| state.waiting.is_some());
    let last = old.last_state.as_ref().and_then(|last| last.terminated.as_ref());
    waits && last.is_some_and(|last| last.reason.as_deref() == Some(STATUS_UNKNOWN))
}

/// Whether a container of which the runtime has nothing ran, and its end was not seen.
pub fn is_lost(old: &ContainerStatus) -> bool {
    was_running(old) || is_known(old)
}

/// The exit code with which a container of which the runtime has nothing has ended, if it ever ran.
pub fn exit_code(old: &ContainerStatus) -> Option<i32> {
    let ended = old.state.as_ref().and_then(|state| state.terminated.as_ref());
    ended.map(|ended| ended.exit_code).or_else(|| is_lost(old).then_some(EXIT_CODE))
}

/// The restart count of the instance that follows on one of which the runtime has nothing.
pub fn next_restart_count(old: Option<&ContainerStatus>) -> u32 {
    let Some(old) = old else { return 0 };
    // Where it has been said to be lost, the next start was counted already.
    let more = i32::from(old.container_id.is_some() && !is_known(old));
    u32::try_from(old.restart_count + more).unwrap_or(0)
}

/// The end of a container that nobody has seen.
pub fn unseen_end(message: &str) -> ContainerState {
    let terminated = ContainerStateTerminated {
        exit_code: EXIT_CODE,
        reason: Some(STATUS_UNKNOWN.to_owned()),
        message: Some(message.to_owned()),
        ..ContainerStateTerminated::default()
    };
    ContainerState { terminated: Some(terminated), ..ContainerState::default() }
}
