//! Removes what is left of pods: dead instances while they live, everything when they are gone.

use std::collections::HashMap;
use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use cri as v1;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, Preconditions};

use super::observed::{Observed, State};
use super::{cri_config, names, observe, spec};
use crate::context::Context;
use crate::images::rpc_message;
use crate::resources::CgroupError;
use crate::volumes::{self, UnmountError};

/// Something of a pod that cannot be removed.
#[derive(Debug, thiserror::Error)]
pub enum CleanupError {
    /// A volume.
    #[error(transparent)]
    Volume(#[from] UnmountError),
    /// A cgroup.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// A sandbox or container.
    #[error("cannot remove {what} {id}: {message}")]
    Runtime {
        /// `sandbox` or `container`.
        what: &'static str,
        /// Its identifier.
        id: String,
        /// The runtime's words.
        message: String,
    },
    /// A directory.
    #[error("cannot remove {}: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The pod in the API.
    #[error("cannot delete the pod from the API: {0}")]
    Api(#[source] Box<kube::Error>),
}

/// Removes instances that nothing refers to any more: of each container's ended ones only the newest is kept, and one that
/// was never started where no newer one is there.
pub async fn dead_instances(context: &Context, pod: &Pod, observed: &Observed) {
    let (mut seen, mut ended) = (HashSet::new(), HashSet::new());
    for instance in &observed.containers {
        let is_latest = seen.insert(instance.name.as_str());
        let kept = match instance.state {
            State::Exited => ended.insert(instance.name.as_str()),
            State::Created => is_latest,
            State::Running | State::Unknown => true,
        };
        if kept {
            continue;
        }
        let request = v1::RemoveContainerRequest { container_id: instance.id.clone() };
        match context.runtime.clone().remove_container(request).await {
            Ok(_) => remove_logs(context, pod, &instance.name, instance.restart_count).await,
            Err(status) => {
                tracing::debug!(container = instance.id, err = %status.message(), "dead container cannot be removed");
            }
        }
    }
    // A sandbox that was replaced and is empty.
    for sandbox in observed.sandboxes.iter().skip(1).filter(|sandbox| !sandbox.ready) {
        if observed.containers.iter().all(|instance| instance.sandbox_id != sandbox.id)
            && let Err(err) = remove_sandbox(context, &sandbox.id).await
        {
            tracing::debug!(err = %err, "old sandbox cannot be removed");
        }
    }
}

/// Removes the containers of pods that have come to their end; how many.
pub async fn remove_unused_containers(context: &Context) -> usize {
    let mut removed = 0;
    for pod in context.pods.list().iter().filter(|pod| spec::is_terminal(pod)) {
        let Ok(observed) = observe::observe(context, spec::uid(pod)).await else { continue };
        for instance in observed.containers.iter().filter(|instance| instance.state == State::Exited) {
            let request = v1::RemoveContainerRequest { container_id: instance.id.clone() };
            if context.runtime.clone().remove_container(request).await.is_ok() {
                remove_logs(context, pod, &instance.name, instance.restart_count).await;
                removed += 1;
            }
        }
    }
    removed
}

async fn remove_logs(context: &Context, pod: &Pod, container: &str, restart_count: u32) {
    let dir = cri_config::log_directory(&context.config.pod_logs_dir, pod).join(container);
    let Ok(mut entries) = tokio::fs::read_dir(&dir).await else { return };
    let prefix = format!("{restart_count}.log");
    while let Ok(Some(entry)) = entries.next_entry().await {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == prefix || name.starts_with(&format!("{prefix}.")) {
            // What cannot be removed now goes with the pod.
            let _ = tokio::fs::remove_file(entry.path()).await;
        }
    }
}

/// Gives back what a stopped pod holds of the node: volumes and cgroup. Its sandbox and logs stay.
pub async fn release(context: &Context, pod: &Pod) -> Result<(), CleanupError> {
    volumes::unmount(context, spec::uid(pod)).await?;
    context.cgroups.remove_pod(&context.pod_cgroup(pod)).await?;
    Ok(())
}

/// Removes all that is left of a pod that is gone.
pub async fn remove(context: &Context, pod: &Pod, observed: &Observed) -> Result<(), CleanupError> {
    for sandbox in &observed.sandboxes {
        remove_sandbox(context, &sandbox.id).await?;
    }
    let logs = cri_config::log_directory(&context.config.pod_logs_dir, pod);
    for path in [context.config.pod_dir(spec::uid(pod)), logs] {
        remove_dir(path).await?;
    }
    context.tokens.forget(spec::uid(pod));
    context.certificates.forget(spec::uid(pod));
    Ok(())
}

async fn remove_dir(path: PathBuf) -> Result<(), CleanupError> {
    let removed = path.clone();
    let removal = tokio::task::spawn_blocking(move || base::remove_tree(&removed));
    let removal = removal.await.unwrap_or_else(|err| Err(io::Error::other(err)));
    removal.map_err(|source| CleanupError::Directory { path, source })
}

async fn remove_sandbox(context: &Context, id: &str) -> Result<(), CleanupError> {
    let request = v1::RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() };
    match context.runtime.clone().remove_pod_sandbox(request).await {
        Ok(_) => Ok(()),
        Err(status) if status.code() == v1::Code::NotFound => Ok(()),
        Err(status) => Err(CleanupError::Runtime { what: "sandbox", id: id.to_owned(), message: rpc_message(&status) }),
    }
}

/// Ends the graceful deletion of a pod of which nothing runs any more, or a mirror, of which nothing ever does.
pub async fn delete_from_api(context: &Context, pod: &Pod) -> Result<(), CleanupError> {
    let api: Api<Pod> = Api::namespaced(context.client.clone(), spec::namespace(pod));
    let preconditions = Preconditions { uid: Some(spec::uid(pod).to_owned()), resource_version: None };
    let params =
        DeleteParams { grace_period_seconds: Some(0), preconditions: Some(preconditions), ..DeleteParams::default() };
    match api.delete(spec::name(pod), &params).await {
        Ok(_) => Ok(()),
        // Gone, or another pod has the name by now.
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
        Err(err) => Err(CleanupError::Api(Box::new(err))),
    }
}

/// What a directory has; nothing where it is not there yet.
fn names_in(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// What the node has of pods: UID, and namespace and name where they are known.
pub type Leftovers = HashMap<String, (String, String)>;

/// The pods of which something is left in the runtime, on disk or among the cgroups.
pub async fn leftovers(context: &Context) -> Result<Leftovers, v1::Status> {
    let mut found = Leftovers::new();
    let sandboxes = context.runtime.clone().list_pod_sandbox(v1::ListPodSandboxRequest { filter: None }).await?;
    for sandbox in sandboxes.into_inner().items {
        let label = |key: &str| sandbox.labels.get(key).cloned().unwrap_or_default();
        // What has no such label belongs to somebody else who uses the same runtime.
        if sandbox.labels.contains_key(names::POD_UID) {
            found.insert(label(names::POD_UID), (label(names::POD_NAMESPACE), label(names::POD_NAME)));
        }
    }
    for directory in names_in(&context.config.pod_logs_dir) {
        if let Some((uid, namespace, name)) = cri_config::pod_of_log_directory(&directory) {
            found.entry(uid.to_owned()).or_insert_with(|| (namespace.to_owned(), name.to_owned()));
        }
    }
    for uid in names_in(&context.config.kubelet_dir().join("pods")) {
        found.entry(uid).or_default();
    }
    for uid in context.resource_claims.pods() {
        found.entry(uid).or_default();
    }
    for (uid, path) in context.cgroups.pods() {
        if !found.contains_key(&uid)
            && let Err(err) = context.cgroups.remove_pod(&path).await
        {
            tracing::debug!(uid, err = %err, "cgroup of a pod that is gone cannot be removed");
        }
    }
    Ok(found)
}
