//! Removal of the pods that a container runtime other than the built-in one runs.

use std::path::Path;

use anyhow::{Context, Result};
use base::{Env, Instance};
use cri::{ListPodSandboxRequest, RemovePodSandboxRequest, RuntimeClient, StopPodSandboxRequest};

use super::cni;

/// The label that every pod of a kubelet has.
const POD: &str = "io.kubernetes.pod.uid";

/// Removes every pod that a kubelet made there. A runtime that does not run has none to remove: its own tools do.
pub async fn remove_pods(instance: &Instance, socket: &Path) -> Result<()> {
    let (mut runtime, _) = match cri::connect(socket).await {
        Ok(clients) => clients,
        Err(err) => {
            eprintln!("skiff: the pods of another container runtime stay: {err}");
            return Ok(());
        }
    };
    cni::while_served(instance, &Env::system(), remove(&mut runtime))
        .await?
        .with_context(|| format!("cannot remove the pods of the container runtime at {}", socket.display()))
}

async fn remove(runtime: &mut RuntimeClient) -> Result<(), cri::Status> {
    let sandboxes = runtime.list_pod_sandbox(ListPodSandboxRequest::default()).await?.into_inner().items;
    for sandbox in sandboxes.into_iter().filter(|sandbox| sandbox.labels.contains_key(POD)) {
        let pod_sandbox_id = sandbox.id;
        runtime.stop_pod_sandbox(StopPodSandboxRequest { pod_sandbox_id: pod_sandbox_id.clone() }).await?;
        runtime.remove_pod_sandbox(RemovePodSandboxRequest { pod_sandbox_id }).await?;
    }
    Ok(())
}
