//! Changes of a running pod's CPU and memory: first the node agrees to them, then its containers get them.

use std::path::PathBuf;
use std::sync::Arc;

use api::quantity::Quantity;
use client::EventType;
use cri as v1;
use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use serde_json::{Map, Value, json};
use tokio::sync::Notify;

use super::conditions::Resize;
use super::observed::{Instance, State};
use super::plan::Kill;
use super::state::PodState;
use super::{admission, spec};
use crate::context::Context;
use crate::images::rpc_message;
use crate::resources::{self, CgroupError};

/// A change that the node has not agreed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pending {
    /// It never can.
    Infeasible(String),
    /// It can when others leave.
    Deferred(String),
}

impl Pending {
    /// As in the condition.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Infeasible(_) => "Infeasible",
            Self::Deferred(_) => "Deferred",
        }
    }

    fn message(&self) -> &str {
        match self {
            Self::Infeasible(message) | Self::Deferred(message) => message,
        }
    }
}

/// A change that the node has agreed to, until all containers have it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The generation of the pod that asked for it.
    generation: Option<i64>,
    /// Why it does not go on.
    error: Option<String>,
}

/// What is to be said of a pod's changes in its conditions.
pub fn conditions(state: &PodState) -> Vec<Resize> {
    let pending = state.pending.as_ref().map(|(pending, generation)| Resize {
        type_: "PodResizePending",
        reason: Some(pending.reason()),
        message: Some(pending.message().to_owned()),
        generation: *generation,
    });
    let progress = state.progress.as_ref().map(|progress| Resize {
        type_: "PodResizeInProgress",
        reason: progress.error.as_ref().map(|_| "Error"),
        message: progress.error.clone(),
        generation: progress.generation,
    });
    pending.into_iter().chain(progress).collect()
}

/// Lets a pod have what it asks for by now if there is room, and says what keeps it waiting otherwise.
pub async fn decide(context: &Context, state: &mut PodState, wake: &Arc<Notify>) {
    let (desired, uid) = (Arc::clone(&state.desired), spec::uid(&state.desired).to_owned());
    let generation = desired.metadata.generation;
    if !context.allocations.differs(&desired) {
        state.pending = None;
        context.allocations.stop_waiting(&uid);
        return;
    }
    match context.allocations.grant(&desired, |has| admission::fits(context, &desired, has)) {
        Ok(()) => {
            state.pending = None;
            state.pod = context.allocations.allocated(&desired);
            state.progress = Some(Progress { generation, error: None });
            context.allocations.stop_waiting(&uid);
            if let Err(err) = context.allocations.keep(&desired, &pod_dir(context, &desired)).await {
                tracing::warn!(uid, err = %err, "what the pod was given cannot be written down");
            }
            let message = format!("Pod resize started: {}", summary(&desired, generation, None));
            context.event(&desired, None, EventType::Normal, "ResizeStarted", message);
            // Who gives something back leaves room.
            context.allocations.wake();
        }
        Err(pending) => {
            let before = state.pending.replace((pending.clone(), generation));
            if before.is_none_or(|(before, of)| before.reason() != pending.reason() || of != generation) {
                let text = summary(&desired, generation, Some(pending.message()));
                let message = format!("Pod resize {}: {text}", pending.reason());
                let reason = match pending {
                    Pending::Infeasible(_) => "ResizeInfeasible",
                    Pending::Deferred(_) => "ResizeDeferred",
                };
                context.event(&desired, None, EventType::Warning, reason, message);
            }
            context.allocations.wait(&uid, wake);
        }
    }
}

/// What a kubelet before this one had begun.
pub fn unfinished(context: &Context, state: &PodState) -> Option<Progress> {
    let wanted = |container: &Container| context.container_resources(&state.pod, container);
    let differing = changes(&state.pod, &state.observed.containers, &wanted);
    let generation = state.pod.metadata.generation;
    (!differing.is_empty()).then_some(Progress { generation, error: None })
}

fn pod_dir(context: &Context, pod: &Pod) -> PathBuf {
    context.config.pod_dir(spec::uid(pod))
}

/// The resources of a pod's containers, as events tell them.
fn summary(pod: &Pod, generation: Option<i64>, error: Option<&str>) -> Value {
    let list = |containers: &mut dyn Iterator<Item = &Container>| -> Vec<Value> {
        containers.map(|one| json!({"name": one.name, "resources": amounts(one.resources.as_ref())})).collect()
    };
    let sidecars = list(&mut spec::init_containers(pod).iter().filter(|container| spec::is_sidecar(container)));
    let mut fields = Map::new();
    if !sidecars.is_empty() {
        fields.insert("initContainers".to_owned(), Value::Array(sidecars));
    }
    fields.insert("containers".to_owned(), Value::Array(list(&mut spec::containers(pod).iter())));
    fields.insert("generation".to_owned(), json!(generation));
    fields.extend(error.map(|error| ("error".to_owned(), json!(error))));
    Value::Object(fields)
}

/// CPU and memory in the words of the API.
fn amounts(resources: Option<&ResourceRequirements>) -> Value {
    let resources = resources.cloned().unwrap_or_default();
    let mut out = Map::new();
    for (side, list) in [("limits", resources.limits), ("requests", resources.requests)] {
        let amounts = list.into_iter().flatten().filter(|(name, _)| name == "cpu" || name == "memory");
        let words = amounts.map(|(name, quantity)| {
            let canonical = Quantity::parse(&quantity.0).map_or(quantity.0, |quantity| quantity.to_string());
            (name, Value::String(canonical))
        });
        let words: Map<String, Value> = words.collect();
        if !words.is_empty() {
            out.insert(side.to_owned(), Value::Object(words));
        }
    }
    Value::Object(out)
}

/// A change of one container.
struct Change {
    instance: Instance,
    container: Container,
    wanted: v1::LinuxContainerResources,
}

impl Change {
    /// Whether the container wants to start anew when what differs changes.
    fn needs_restart(&self) -> bool {
        let Self { instance, container, wanted } = self;
        let policies = container.resize_policy.iter().flatten();
        let mut restarting = policies.filter(|policy| policy.restart_policy == "RestartContainer");
        restarting.any(|policy| match (policy.resource_name.as_str(), &instance.resources) {
            ("cpu", Some(actual)) => (actual.cpu_quota, actual.cpu_shares) != (wanted.cpu_quota, wanted.cpu_shares),
            ("memory", Some(actual)) => actual.memory_limit_in_bytes != wanted.memory_limit_in_bytes,
            _ => false,
        })
    }

    fn restart(self, pod: &Pod) -> Kill {
        let message = format!("Container {} resize requires restart", self.container.name);
        let Instance { id, name, .. } = self.instance;
        Kill { id, name, message, grace: spec::grace_period(pod), restart: true }
    }
}

/// How far the containers are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// They have what they should.
    All,
    /// Something was changed: look again.
    Some,
    /// These have to start anew to have what they should.
    Restart(Vec<Kill>),
    /// Something could not be changed, and is to be tried again later.
    Failed,
}

/// Makes the pod's cgroup, or lets it have what the pod was given while its containers may still have what they had.
pub async fn make_room(context: &Context, state: &mut PodState) -> Result<(), CgroupError> {
    let wanted = context.pod_limits(&state.pod);
    let room = match &state.limits {
        Some(has) => wanted.with_room_for(has),
        // What a kubelet before this one has set is there, and whether it can shrink is seen once all is at rest.
        None if state.observed.live().next().is_some() => return Ok(()),
        None => wanted,
    };
    if state.limits.as_ref() != Some(&room) {
        context.cgroups.ensure_pod(&context.pod_cgroup(&state.pod), &room).await?;
        state.limits = Some(room);
    }
    Ok(())
}

/// Holds the pod's cgroup to what the pod was given, once all its containers are held to theirs.
async fn settle(context: &Context, state: &mut PodState) -> Result<(), String> {
    let wanted = context.pod_limits(&state.pod);
    if state.limits.as_ref() == Some(&wanted) {
        return Ok(());
    }
    let cgroup = context.pod_cgroup(&state.pod);
    let shrinks = state.limits.as_ref().is_none_or(|has| wanted.with_room_for(has).memory != wanted.memory);
    // The kernel would refuse, or end processes of the pod.
    if let Some((limit, used)) = wanted.memory.zip(context.cgroups.pod_memory(&cgroup))
        && shrinks
        && used >= limit
    {
        return Err(format!("attempting to set pod memory limit ({limit}) below current usage ({used})"));
    }
    context.cgroups.ensure_pod(&cgroup, &wanted).await.map_err(|err| err.to_string())?;
    state.limits = Some(wanted);
    Ok(())
}

/// Changes what differs, each change once.
pub async fn apply(context: &Context, state: &mut PodState) -> Applied {
    let pod = Arc::clone(&state.pod);
    let mut applied = Applied::All;
    let (mut error, mut restarts) = (None, Vec::new());
    state.resized.retain(|id, _| state.observed.containers.iter().any(|instance| instance.id == *id));
    for change in changes(&pod, &state.observed.containers, &|container| context.container_resources(&pod, container)) {
        let (id, wanted) = (change.instance.id.clone(), change.wanted.clone());
        // A runtime may say something else than it was told; to tell it again would not help.
        if state.resized.get(&id) == Some(&wanted) {
            continue;
        }
        if change.needs_restart() {
            restarts.push(change.restart(&pod));
            continue;
        }
        let name = change.container.name.clone();
        match make(context, change).await {
            Ok(()) => {
                state.resized.insert(id, wanted);
                applied = Applied::Some;
            }
            Err(why) => error = Some(format!("container {name}: {why}")),
        }
    }
    if !restarts.is_empty() {
        applied = Applied::Restart(restarts);
    }
    if applied == Applied::All && error.is_none() {
        error = settle(context, state).await.err();
    }
    if let Some(error) = &error {
        tracing::warn!(uid = spec::uid(&pod), err = error, "resources cannot be changed and are tried again");
    }
    let Some(progress) = state.progress.as_mut() else {
        return if error.is_some() { Applied::Failed } else { applied };
    };
    let generation = progress.generation;
    if let Some(error) = error {
        if progress.error.as_ref() != Some(&error) {
            let message = format!("Pod resize error: {}", summary(&pod, generation, Some(&error)));
            context.event(&pod, None, EventType::Warning, "ResizeError", message);
        }
        progress.error = Some(error);
        return Applied::Failed;
    }
    progress.error = None;
    if applied == Applied::All {
        state.progress = None;
        let message = format!("Pod resize completed: {}", summary(&pod, generation, None));
        context.event(&pod, None, EventType::Normal, "ResizeCompleted", message);
        return Applied::Some;
    }
    applied
}

fn changes(
    pod: &Pod,
    instances: &[Instance],
    wanted: &dyn Fn(&Container) -> v1::LinuxContainerResources,
) -> Vec<Change> {
    let running = instances.iter().filter(|instance| instance.state == State::Running);
    let differing = running.filter_map(|instance| {
        let container = spec::container(pod, &instance.name)?;
        let wanted = wanted(&container);
        let actual = instance.resources.as_ref()?;
        let instance = instance.clone();
        (!resources::agree(actual, &wanted)).then_some(Change { instance, container, wanted })
    });
    differing.collect()
}

async fn make(context: &Context, change: Change) -> Result<(), String> {
    let Change { instance, wanted, .. } = change;
    check_usage(context, &instance, &wanted).await?;
    let request = v1::UpdateContainerResourcesRequest {
        container_id: instance.id,
        linux: Some(wanted),
        ..v1::UpdateContainerResourcesRequest::default()
    };
    let updated = context.runtime.clone().update_container_resources(request).await;
    updated.map(drop).map_err(|status| rpc_message(&status))
}

/// A limit below what is in use would end the container, or be refused by the kernel.
async fn check_usage(
    context: &Context,
    instance: &Instance,
    wanted: &v1::LinuxContainerResources,
) -> Result<(), String> {
    let limit = wanted.memory_limit_in_bytes;
    let before = instance.resources.as_ref().map_or(0, |actual| actual.memory_limit_in_bytes);
    if limit <= 0 || (before > 0 && limit >= before) {
        return Ok(());
    }
    let request = v1::ContainerStatsRequest { container_id: instance.id.clone() };
    let answer = context.runtime.clone().container_stats(request).await.map_err(|status| rpc_message(&status))?;
    let memory = answer.into_inner().stats.and_then(|stats| stats.memory);
    let usage =
        memory.and_then(|memory| memory.usage_bytes.or(memory.working_set_bytes)).map_or(0, |bytes| bytes.value);
    if usage >= limit.unsigned_abs() {
        let name = &instance.name;
        return Err(format!(
            "attempting to set container \"{name}\" memory limit ({limit}) below current usage ({usage})"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resources::{CpuQuota, NodeMemory};

    fn pod(limit: &str, policy: &str) -> Pod {
        let resources = json!({"requests": {"cpu": "100m"}, "limits": {"memory": limit}});
        let policy = json!([{"resourceName": "memory", "restartPolicy": policy}]);
        let container = json!({"name": "c", "resources": resources, "resizePolicy": policy});
        serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": {"containers": [container]}})).expect("a pod")
    }

    fn instance(pod: &Pod, state: State) -> Instance {
        let container = spec::container(pod, "c").expect("it is there");
        let resources =
            Some(resources::container_resources(pod, &container, &NodeMemory::default(), CpuQuota::default()));
        Instance { id: "1".to_owned(), name: "c".to_owned(), state, resources, ..Instance::default() }
    }

    /// What is changed: the new limit of memory, and whether that takes a restart.
    #[track_caller]
    fn check(state: State, old: &str, new: &Pod, expected: Option<(i64, bool)>) {
        let running = instance(&pod(old, "NotRequired"), state);
        let found = changes(new, &[running], &|container| {
            resources::container_resources(new, container, &NodeMemory::default(), CpuQuota::default())
        });
        let found = found.first().map(|change| (change.wanted.memory_limit_in_bytes, change.needs_restart()));
        assert_eq!(found, expected);
    }

    #[test]
    fn what_differs_in_running_containers_is_changed() {
        check(State::Running, "1Ki", &pod("1Ki", "NotRequired"), None);
        check(State::Running, "1Ki", &pod("2Ki", "NotRequired"), Some((2048, false)));
        check(State::Running, "1Ki", &pod("2Ki", "RestartContainer"), Some((2048, true)));
        check(State::Exited, "1Ki", &pod("2Ki", "NotRequired"), None);
    }
}
