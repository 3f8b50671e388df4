//! Keeps running containers on the CPUs that are theirs: those that share CPUs move when others get some for
//! themselves, or give them back.

use cri as v1;

use super::observed::State;
use super::spec;
use super::state::PodState;
use crate::context::Context;
use crate::images::rpc_message;
use crate::managers::CpuSet;

/// Moves the containers that are elsewhere; false where one could not be moved.
pub async fn apply(context: &Context, state: &mut PodState) -> bool {
    let uid = spec::uid(&state.pod).to_owned();
    let mut moves = Vec::new();
    for instance in state.observed.containers.iter().filter(|instance| instance.state == State::Running) {
        let Some(wanted) = context.managers.cpus(&uid, &instance.name) else { return true };
        let said = instance.resources.as_ref().and_then(|resources| resources.cpuset_cpus.parse::<CpuSet>().ok());
        // A runtime may not say where its containers are, or say it in its own way; it is told once.
        let is_there = said.as_ref() == Some(&wanted) || state.pinned.get(&instance.id) == Some(&wanted);
        if !wanted.is_empty() && !is_there {
            moves.push((instance.id.clone(), wanted));
        }
    }
    state.pinned.retain(|id, _| state.observed.containers.iter().any(|instance| instance.id == *id));
    let mut done = true;
    for (container_id, cpus) in moves {
        let linux = v1::LinuxContainerResources { cpuset_cpus: cpus.to_string(), ..Default::default() };
        let request = v1::UpdateContainerResourcesRequest {
            container_id: container_id.clone(),
            linux: Some(linux),
            ..v1::UpdateContainerResourcesRequest::default()
        };
        match context.runtime.clone().update_container_resources(request).await {
            Ok(_) => {
                tracing::debug!(uid, container_id, %cpus, "the container has other CPUs");
                state.pinned.insert(container_id, cpus);
            }
            Err(status) => {
                tracing::warn!(
                    uid,
                    container_id,
                    err = rpc_message(&status),
                    "a container cannot be moved to its CPUs"
                );
                done = false;
            }
        }
    }
    done
}
