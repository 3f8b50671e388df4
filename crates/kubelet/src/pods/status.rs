//! The status of a pod, as a pure function of what is observed of it.

use std::collections::{BTreeMap, BTreeSet};

use cri::LinuxContainerResources;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
    ContainerUser, HostIP, LinuxContainerUser, Pod, PodIP, PodStatus, VolumeMount, VolumeMountStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::conditions::{self, Facts, Resize};
use super::observed::{Instance, Observed, State, timestamp};
use super::plan::Waiting;
use super::{lost, messages, phase, spec};
use crate::probes::{Outcome, ProbeKind, ProbeResults};
use crate::resources;

/// Why a pod came to an end that its containers did not decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// One word, as in `status.reason`.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
    /// What the condition `DisruptionTarget` says, where the pod has to go though it did nothing wrong.
    pub disruption: Option<String>,
    /// How long the pod may take to stop at most, in seconds, where that is not the pod's own affair.
    pub grace: Option<i64>,
}

impl Failure {
    /// The reason of pods that had to go because of what they took from the node.
    pub const EVICTED: &'static str = "Evicted";

    /// An end that the pod itself has earned, within its own grace period.
    pub fn new(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { reason: reason.into(), message: message.into(), disruption: None, grace: None }
    }
}

/// What a status is made from.
pub struct Input<'a> {
    /// The pod with its last known status.
    pub pod: &'a Pod,
    /// What the runtime has of it.
    pub observed: &'a Observed,
    /// The latest probe results.
    pub probes: &'a ProbeResults,
    /// Why containers wait, by name.
    pub waiting: &'a BTreeMap<String, Waiting>,
    /// Containers whose `postStart` hook still runs: they are not ready yet.
    pub starting: &'a [String],
    /// Instances that were stopped so that another one follows.
    pub restarting: &'a BTreeSet<String>,
    /// Why the kubelet ended the pod, if it did.
    pub failure: Option<&'a Failure>,
    /// Changes of the pod's resources that are not done.
    pub resizes: &'a [Resize],
    /// What the runtime should have been told of a container's resources.
    pub resources: &'a dyn Fn(&Container) -> LinuxContainerResources,
    /// Whether the pod is to stop: nothing will be started again.
    pub ending: bool,
    /// Whether all of it has stopped for good.
    pub stopped: bool,
    /// The runtime's name, which prefixes container identifiers.
    pub runtime: &'a str,
    /// The node's addresses.
    pub node_ips: &'a [String],
    /// The present.
    pub now: Timestamp,
}

/// The status of a pod.
pub fn status(input: &Input<'_>) -> PodStatus {
    let pod = input.pod;
    let old = pod.status.clone().unwrap_or_default();
    let refused = was_refused(input, &old);
    let of = |containers: &[Container], old: Option<&[ContainerStatus]>| match refused {
        true => Vec::new(),
        false => statuses(input, containers, old),
    };
    let mut init = of(spec::init_containers(pod), old.init_container_statuses.as_deref());
    let mut regular = of(spec::containers(pod), old.container_statuses.as_deref());
    let mut ephemeral = of(&spec::ephemeral_containers(pod), old.ephemeral_container_statuses.as_deref());
    for statuses in [&mut init, &mut regular, &mut ephemeral] {
        messages::share(pod, statuses);
    }
    let phase = decide_phase(input, &old, &init, &regular);
    // Until the last container has ended and the node has its own back, nobody is told of an end.
    let goes_on = !input.observed.is_stopped() || (!input.ending && is_restarting(input));
    let held = is_end(phase) && !old.phase.as_deref().is_some_and(is_end) && goes_on;
    let phase = match (held, old.phase.as_deref()) {
        (false, _) => phase,
        (true, Some("Running")) => "Running",
        (true, _) => "Pending",
    };
    let failure = input.failure.filter(|_| !held);
    let ips = pod_ips(input, &old);
    let facts = Facts {
        init: &init,
        regular: &regular,
        phase,
        sandbox_ready: has_sandbox(input),
        resizes: input.resizes,
        disruption: failure.and_then(|failure| failure.disruption.as_deref()),
        now: input.now,
    };
    let conditions = match refused {
        true => old.conditions.clone().unwrap_or_default(),
        false => conditions::conditions(pod, &old, &facts),
    };
    let (reason, message) = match failure {
        Some(failure) => (Some(failure.reason.clone()), Some(failure.message.clone())),
        None => (old.reason.clone(), old.message.clone()),
    };
    PodStatus {
        phase: Some(phase.to_owned()),
        reason,
        message,
        conditions: Some(conditions),
        host_ip: input.node_ips.first().cloned(),
        host_ips: Some(input.node_ips.iter().map(|ip| HostIP { ip: ip.clone() }).collect()),
        pod_ip: ips.first().cloned(),
        pod_ips: Some(ips.into_iter().map(|ip| PodIP { ip }).collect::<Vec<_>>()).filter(|ips| !ips.is_empty()),
        start_time: Some(old.start_time.unwrap_or(Time(whole_seconds(input.now)))),
        init_container_statuses: Some(init).filter(|list| !list.is_empty()),
        container_statuses: Some(regular).filter(|list| !list.is_empty()),
        ephemeral_container_statuses: Some(ephemeral).filter(|list| !list.is_empty()),
        qos_class: Some(old.qos_class.unwrap_or_else(|| resources::qos_class(pod).as_str().to_owned())),
        observed_generation: pod.metadata.generation,
        nominated_node_name: old.nominated_node_name,
        resize: old.resize,
        resources: old.resources,
        allocated_resources: old.allocated_resources,
        resource_claim_statuses: old.resource_claim_statuses,
        extended_resource_claim_status: old.extended_resource_claim_status,
    }
}

/// Whether the pod failed before anything was begun for it. As upstream, nothing is said of its containers then, so that
/// clients show why it was refused.
fn was_refused(input: &Input<'_>, old: &PodStatus) -> bool {
    let unbegun = input.observed.sandboxes.is_empty() && input.observed.containers.is_empty();
    let unseen = old.container_statuses.as_ref().is_none_or(Vec::is_empty);
    unbegun && unseen && (input.failure.is_some() || old.phase.as_deref().is_some_and(is_end))
}

/// API times have whole seconds.
pub fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

fn decide_phase(
    input: &Input<'_>,
    old: &PodStatus,
    init: &[ContainerStatus],
    regular: &[ContainerStatus],
) -> &'static str {
    // An end is final, whatever the runtime says later.
    match old.phase.as_deref() {
        Some("Failed") => return "Failed",
        Some("Succeeded") => return "Succeeded",
        _ => {}
    }
    if input.failure.is_some() {
        return "Failed";
    }
    let phase = phase::phase(input.pod, init, regular, input.ending && input.stopped);
    if input.ending && input.stopped && !matches!(phase, "Succeeded" | "Failed") {
        return "Failed";
    }
    phase
}

/// Whether an instance follows on one that has ended, whatever its exit code.
fn is_restarting(input: &Input<'_>) -> bool {
    let latest = spec::containers(input.pod).iter().filter_map(|container| input.observed.latest(&container.name));
    latest.map(|instance| &instance.id).any(|id| input.restarting.contains(id))
}

fn is_end(phase: &str) -> bool {
    matches!(phase, "Failed" | "Succeeded")
}

fn has_sandbox(input: &Input<'_>) -> bool {
    let host_network = spec::host_network(input.pod);
    input.observed.ready_sandbox().is_some_and(|sandbox| host_network || !sandbox.ips.is_empty())
}

fn pod_ips(input: &Input<'_>, old: &PodStatus) -> Vec<String> {
    match input.observed.sandboxes.first() {
        Some(sandbox) if spec::host_network(input.pod) => {
            if sandbox.ready {
                input.node_ips.to_vec()
            } else {
                old_ips(old)
            }
        }
        Some(sandbox) if sandbox.ready && !sandbox.ips.is_empty() => sandbox.ips.clone(),
        // A pod that ended keeps the address that it had.
        _ => old_ips(old),
    }
}

fn old_ips(old: &PodStatus) -> Vec<String> {
    old.pod_ips.iter().flatten().map(|ip| ip.ip.clone()).collect()
}

fn statuses(input: &Input<'_>, containers: &[Container], old: Option<&[ContainerStatus]>) -> Vec<ContainerStatus> {
    let one = |container: &Container| {
        let old = old.unwrap_or_default().iter().find(|status| status.name == container.name);
        container_status(input, container, old)
    };
    containers.iter().map(one).collect()
}

fn container_status(input: &Input<'_>, container: &Container, old: Option<&ContainerStatus>) -> ContainerStatus {
    let latest = input.observed.latest(&container.name);
    let previous = input.observed.previous(&container.name);
    let mut state = latest.map(|instance| state_of(input, instance));
    let mut last = previous.map(|instance| state_of(input, instance));
    let lost = latest.is_none() && old.is_some_and(lost::was_running);
    if lost {
        let message = "The container could not be located when the pod was deleted.  The container used to be Running";
        last = Some(lost::unseen_end(message));
    } else if let (Some(old), None) = (old, last.as_ref()) {
        // The instance before was removed from the runtime: what was said of it remains true.
        let kept =
            latest.is_none_or(|instance| old.restart_count >= i32::try_from(instance.restart_count).unwrap_or(0));
        last = old.last_state.clone().filter(|_| kept);
    }
    let is_over = latest.is_none_or(|instance| !matches!(instance.state, State::Running));
    // An end that another start follows on is not told as one: the API lets no container come back from it against its
    // restart policy.
    let restarts = latest.is_some_and(|instance| input.restarting.contains(&instance.id));
    let restarting = || Waiting { reason: "ContainerCreating".to_owned(), message: String::new() };
    let waiting = input.waiting.get(&container.name).cloned().or_else(|| restarts.then(restarting));
    if is_over
        && !input.ending
        && let Some(waiting) = waiting
    {
        if let Some(ended) = state.take().filter(|state| state.terminated.is_some()) {
            last = Some(ended);
        }
        state = Some(waiting_state(&waiting.reason, Some(&waiting.message)));
    }
    let state = state.unwrap_or_else(|| unmade_state(input, container, old));
    let running = state.running.is_some();
    let (started, ready) = progress(input, container, latest, &state);
    let image = latest.map(|instance| instance.image.clone()).filter(|image| !image.is_empty());
    // A resize shows once it is done; what does not run has what it will be started with.
    let has_them = latest
        .filter(|_| running)
        .and_then(|instance| instance.resources.as_ref())
        .is_none_or(|actual| resources::agree(actual, &(input.resources)(container)));
    let resources = match old.filter(|_| !has_them) {
        Some(old) => old.resources.clone(),
        None => container.resources.clone(),
    };
    ContainerStatus {
        name: container.name.clone(),
        container_id: latest.map(|instance| format!("{}://{}", input.runtime, instance.id)),
        image: image.unwrap_or_else(|| container.image.clone().unwrap_or_default()),
        image_id: latest.map(|instance| instance.image_id.clone()).unwrap_or_default(),
        restart_count: latest.map_or_else(
            || old.map_or(0, |old| old.restart_count + i32::from(lost && !input.ending)),
            |instance| i32::try_from(instance.restart_count).unwrap_or(i32::MAX),
        ),
        state: Some(state),
        last_state: Some(last.unwrap_or_default()),
        ready,
        started: Some(started),
        resources: resources.filter(|_| latest.is_some()),
        allocated_resources: latest.and(container.resources.clone()).and_then(|has| has.requests),
        user: latest.and_then(user),
        volume_mounts: volume_mounts(container, latest),
        ..ContainerStatus::default()
    }
}

fn user(instance: &Instance) -> Option<ContainerUser> {
    let (uid, gid, groups) = instance.user.clone()?;
    let linux = LinuxContainerUser { uid, gid, supplemental_groups: Some(groups) };
    Some(ContainerUser { linux: Some(linux) })
}

fn volume_mounts(container: &Container, latest: Option<&Instance>) -> Option<Vec<VolumeMountStatus>> {
    // What is asked for outright is done, or there is no container; of the rest the runtime says what it has done.
    let is_deep = |mount: &VolumeMount| match mount.recursive_read_only.as_deref() {
        Some("Enabled") => true,
        Some("IfPossible") => latest.is_some_and(|instance| instance.deep_read_only.contains(&mount.mount_path)),
        _ => false,
    };
    let mounts: Vec<VolumeMountStatus> = container
        .volume_mounts
        .iter()
        .flatten()
        .map(|mount| VolumeMountStatus {
            mount_path: mount.mount_path.clone(),
            name: mount.name.clone(),
            read_only: mount.read_only.filter(|read_only| *read_only),
            recursive_read_only: (mount.read_only == Some(true))
                .then(|| if is_deep(mount) { "Enabled" } else { "Disabled" }.to_owned()),
        })
        .collect();
    Some(mounts).filter(|mounts| !mounts.is_empty())
}

/// What is said of a container of which the runtime has no instance.
fn unmade_state(input: &Input<'_>, container: &Container, old: Option<&ContainerStatus>) -> ContainerState {
    let old_state = old.and_then(|old| old.state.clone()).unwrap_or_default();
    if old_state.terminated.is_some() {
        return old_state;
    }
    if input.ending && input.stopped && (old.is_some_and(lost::is_lost) || was_due(input, container)) {
        // Something that may have run and of which nothing is left cannot be told how it ended.
        return lost::unseen_end("The container could not be located when the pod was terminated");
    }
    let initializing = !spec::init_containers(input.pod).is_empty();
    waiting_state(if initializing { "PodInitializing" } else { "ContainerCreating" }, None)
}

/// Whether a container's turn had come: an init container's where a later one was made, a regular one's where one of
/// them was made or the last init container has ended well.
fn was_due(input: &Input<'_>, container: &Container) -> bool {
    let inits = spec::init_containers(input.pod);
    let began = |container: &Container| input.observed.latest(&container.name).is_some();
    if spec::containers(input.pod).iter().any(began) {
        return true;
    }
    if let Some(index) = inits.iter().position(|init| init.name == container.name) {
        return inits[index + 1..].iter().any(began);
    }
    let succeeded = |instance: &Instance| instance.state == State::Exited && instance.exit_code == 0;
    inits.last().is_none_or(|last| input.observed.latest(&last.name).is_some_and(succeeded))
}

fn waiting_state(reason: &str, message: Option<&str>) -> ContainerState {
    ContainerState {
        waiting: Some(ContainerStateWaiting {
            reason: Some(reason.to_owned()),
            message: message.map(str::to_owned).filter(|message| !message.is_empty()),
        }),
        ..ContainerState::default()
    }
}

fn state_of(input: &Input<'_>, instance: &Instance) -> ContainerState {
    let time = |nanoseconds| timestamp(nanoseconds).map(|time| Time(whole_seconds(time)));
    match instance.state {
        State::Created => waiting_state("ContainerCreating", None),
        State::Running => ContainerState {
            running: Some(ContainerStateRunning { started_at: time(instance.started_at) }),
            ..ContainerState::default()
        },
        State::Exited | State::Unknown => {
            let default = match (instance.state, instance.exit_code) {
                (State::Unknown, _) => lost::STATUS_UNKNOWN,
                (_, 0) => "Completed",
                _ => "Error",
            };
            let reason = if instance.reason.is_empty() { default } else { &instance.reason };
            ContainerState {
                terminated: Some(ContainerStateTerminated {
                    exit_code: if instance.state == State::Unknown { 137 } else { instance.exit_code },
                    reason: Some(reason.to_owned()),
                    message: Some(instance.message.clone()).filter(|message| !message.is_empty()),
                    started_at: time(instance.started_at),
                    finished_at: time(instance.finished_at),
                    container_id: Some(format!("{}://{}", input.runtime, instance.id)),
                    signal: None,
                }),
                ..ContainerState::default()
            }
        }
    }
}

/// Whether a container has started, and whether it is ready.
fn progress(
    input: &Input<'_>,
    container: &Container,
    latest: Option<&Instance>,
    state: &ContainerState,
) -> (bool, bool) {
    let is_init = spec::is_init(input.pod, container);
    let sidecar = is_init && spec::is_sidecar(container);
    if is_init && !sidecar {
        let succeeded = state.terminated.as_ref().is_some_and(|ended| ended.exit_code == 0);
        return (state.running.is_some(), succeeded);
    }
    let Some(instance) = latest.filter(|_| state.running.is_some()) else { return (false, false) };
    let result = |kind| input.probes.get(&instance.id, kind);
    let hook_done = !input.starting.contains(&container.name);
    let started =
        hook_done && (container.startup_probe.is_none() || result(ProbeKind::Startup) == Some(Outcome::Success));
    let ready = started
        && match &container.readiness_probe {
            None => true,
            Some(_) => result(ProbeKind::Readiness) == Some(Outcome::Success),
        };
    (started, ready)
}

#[cfg(test)]
mod tests;
