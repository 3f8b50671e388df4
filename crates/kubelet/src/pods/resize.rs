//! Containers that run get the resources that their pod's definition says by now.

use cri as v1;
use k8s_openapi::api::core::v1::{Container, Pod};

use super::kill::{self, Reason, Target};
use super::observed::{Instance, State};
use super::spec;
use super::state::PodState;
use crate::context::Context;
use crate::resources;

/// A change of one container.
struct Change {
    instance: Instance,
    container: Container,
    wanted: v1::LinuxContainerResources,
}

/// Changes what differs, each change once. Whether there was anything to change.
pub async fn apply(context: &Context, state: &mut PodState) -> bool {
    let pod = std::sync::Arc::clone(&state.pod);
    let ip = state.pod_ip();
    let mut any = false;
    state.resized.retain(|id, _| state.observed.containers.iter().any(|instance| instance.id == *id));
    for change in changes(&pod, &state.observed.containers, context.machine.memory_bytes) {
        let tried = state.resized.insert(change.instance.id.clone(), change.wanted.clone());
        // A runtime may say something else than it was told; to tell it again would not help.
        if tried.as_ref() == Some(&change.wanted) {
            continue;
        }
        any = true;
        let name = change.container.name.clone();
        match Box::pin(make(context, &pod, change, ip.as_deref())).await {
            Ok(()) => {
                let message = format!("Pod resize completed: container {name}");
                context.event(&pod, Some(&name), client::EventType::Normal, "ResizeCompleted", message);
            }
            Err(why) => {
                let message = format!("Pod resize failed: container {name}: {why}");
                context.event(&pod, Some(&name), client::EventType::Warning, "ResizeError", message);
            }
        }
    }
    any
}

fn changes(pod: &Pod, instances: &[Instance], memory: i64) -> Vec<Change> {
    let running = instances.iter().filter(|instance| instance.state == State::Running);
    let differing = running.filter_map(|instance| {
        let container = spec::container(pod, &instance.name)?;
        let wanted = resources::container_resources(pod, &container, memory);
        let actual = instance.resources.as_ref()?;
        let instance = instance.clone();
        (!resources::agree(actual, &wanted)).then_some(Change { instance, container, wanted })
    });
    differing.collect()
}

async fn make(context: &Context, pod: &Pod, change: Change, ip: Option<&str>) -> Result<(), String> {
    let Change { instance, container, wanted } = change;
    if needs_restart(&container, instance.resources.as_ref(), &wanted) {
        let target = Target { id: &instance.id, name: &container.name, grace: spec::grace_period(pod) };
        let message = format!("Container {} resize requires restart", container.name);
        kill::container(context, pod, &target, &Reason::Plan(message), ip).await;
        return Ok(());
    }
    let (cgroup, limits) = (context.pod_cgroup(pod), resources::pod_cgroup_limits(pod, context.config.pod_pids_limit));
    // The pod's own limits go first where they grow; where they shrink the kernel may take them only afterwards.
    let before = context.cgroups.ensure_pod(&cgroup, &limits);
    let request = v1::UpdateContainerResourcesRequest {
        container_id: instance.id,
        linux: Some(wanted),
        ..v1::UpdateContainerResourcesRequest::default()
    };
    let updated = context.runtime.clone().update_container_resources(request).await;
    updated.map_err(|status| crate::images::rpc_message(&status))?;
    if before.is_err() {
        context.cgroups.ensure_pod(&cgroup, &limits).map_err(|err| err.to_string())?;
    }
    Ok(())
}

/// Whether the container wants to start anew when what differs changes.
fn needs_restart(
    container: &Container,
    actual: Option<&v1::LinuxContainerResources>,
    wanted: &v1::LinuxContainerResources,
) -> bool {
    let policies = container.resize_policy.iter().flatten();
    let mut restarting = policies.filter(|policy| policy.restart_policy == "RestartContainer");
    restarting.any(|policy| match (policy.resource_name.as_str(), actual) {
        ("cpu", Some(actual)) => (actual.cpu_quota, actual.cpu_shares) != (wanted.cpu_quota, wanted.cpu_shares),
        ("memory", Some(actual)) => actual.memory_limit_in_bytes != wanted.memory_limit_in_bytes,
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(limit: &str, policy: &str) -> Pod {
        let resources = json!({"requests": {"cpu": "100m"}, "limits": {"memory": limit}});
        let policy = json!([{"resourceName": "memory", "restartPolicy": policy}]);
        let container = json!({"name": "c", "resources": resources, "resizePolicy": policy});
        serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": {"containers": [container]}})).expect("a pod")
    }

    fn instance(pod: &Pod, state: State) -> Instance {
        let container = spec::container(pod, "c").expect("it is there");
        let resources = Some(resources::container_resources(pod, &container, 0));
        Instance { id: "1".to_owned(), name: "c".to_owned(), state, resources, ..Instance::default() }
    }

    /// What is changed: the new limit of memory, and whether that takes a restart.
    #[track_caller]
    fn check(state: State, old: &str, new: &Pod, expected: Option<(i64, bool)>) {
        let running = instance(&pod(old, "NotRequired"), state);
        let found = changes(new, &[running], 0);
        let found = found.first().map(|change| {
            let actual = change.instance.resources.as_ref();
            (change.wanted.memory_limit_in_bytes, needs_restart(&change.container, actual, &change.wanted))
        });
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
