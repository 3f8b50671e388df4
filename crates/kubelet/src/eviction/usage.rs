//! What pods take of the node.

use std::path::PathBuf;
use std::sync::Arc;

use cri as v1;
use k8s_openapi::api::core::v1::Pod;

use super::observe::Layout;
use super::threshold::Signal;
use crate::context::Context;
use crate::pods::{log_directory, names, spec};
use crate::{stats, volumes};

/// Room on a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    /// Bytes.
    pub bytes: i64,
    /// Inodes.
    pub inodes: i64,
}

impl Disk {
    fn new(bytes: u64, inodes: u64) -> Self {
        let number = |number| i64::try_from(number).unwrap_or(i64::MAX);
        Self { bytes: number(bytes), inodes: number(inodes) }
    }

    fn plus(self, other: Self) -> Self {
        Self { bytes: self.bytes + other.bytes, inodes: self.inodes + other.inodes }
    }
}

/// What a container takes. What the runtime does not say is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerUsage {
    /// Its name.
    pub name: String,
    /// Bytes of memory that cannot easily be taken back.
    pub memory: Option<i64>,
    /// What it wrote to its root.
    pub root: Option<Disk>,
    /// Its logs.
    pub logs: Disk,
}

/// What a pod takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodUsage {
    /// Bytes of memory that cannot easily be taken back.
    pub memory: Option<i64>,
    /// Processes.
    pub processes: Option<i64>,
    /// Its containers that run.
    pub containers: Vec<ContainerUsage>,
    /// Its volumes on the node's disk, by name.
    pub volumes: Vec<(String, Disk)>,
}

/// Which parts of what a pod wrote count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts {
    root: bool,
    node: bool,
}

impl Parts {
    /// Those that lie on the disk that is short.
    pub fn on(signal: Signal, layout: Layout) -> Self {
        let of_node = matches!(signal, Signal::NodeFsAvailable | Signal::NodeFsInodesFree);
        let of_containers = matches!(signal, Signal::ContainerFsAvailable | Signal::ContainerFsInodesFree);
        match layout {
            Layout::Shared => Self { root: true, node: true },
            Layout::ImagesApart => Self { root: !of_node, node: of_node },
            Layout::ImagesAlone => Self { root: of_node || of_containers, node: of_node || of_containers },
        }
    }

    /// Those that count for the limits of pods and containers.
    pub fn limited(layout: Layout) -> Self {
        Self { root: layout == Layout::Shared, node: true }
    }
}

impl ContainerUsage {
    /// What it wrote.
    pub fn disk(&self, parts: Parts) -> Disk {
        let root = self.root.filter(|_| parts.root).unwrap_or_default();
        if parts.node { root.plus(self.logs) } else { root }
    }
}

impl PodUsage {
    /// What it wrote.
    pub fn disk(&self, parts: Parts) -> Disk {
        let containers = self.containers.iter().map(|container| container.disk(parts));
        let volumes = self.volumes.iter().filter(|_| parts.node).map(|(_, disk)| *disk);
        containers.chain(volumes).fold(Disk::default(), Disk::plus)
    }
}

/// What pods take; nothing is known of those that the runtime does not know.
pub async fn of_pods(context: &Context, pods: Vec<Arc<Pod>>) -> Vec<(Arc<Pod>, Option<PodUsage>)> {
    let mut all = match stats::of_pods(context).await {
        Ok(all) => all,
        Err(err) => {
            tracing::warn!(err = %err.message(), "what pods use cannot be read");
            Vec::new()
        }
    };
    let mut usages = Vec::new();
    for pod in pods {
        let uid = spec::uid(&pod);
        let is_its = |stats: &v1::PodSandboxStats| stats::uid(stats) == Some(uid);
        let found = all.iter().position(is_its).map(|index| all.swap_remove(index));
        let usage = match found {
            Some(stats) => Some(of_stats(context, &pod, stats).await),
            None => None,
        };
        usages.push((pod, usage));
    }
    usages
}

/// What one pod takes.
pub async fn of_pod(context: &Context, pod: &Pod) -> Option<PodUsage> {
    let stats = stats::of_pod(context, spec::uid(pod)).await.ok()??;
    Some(of_stats(context, pod, stats).await)
}

async fn of_stats(context: &Context, pod: &Pod, stats: v1::PodSandboxStats) -> PodUsage {
    let linux = stats.linux.unwrap_or_default();
    let logs = log_directory(&context.config.pod_logs_dir, pod);
    let mut containers = Vec::new();
    for container in &linux.containers {
        containers.push(of_container(container, &logs).await);
    }
    let sum = || {
        let known: Vec<i64> = containers.iter().filter_map(|container| container.memory).collect();
        (!known.is_empty()).then(|| known.iter().sum())
    };
    PodUsage {
        memory: working_set(linux.memory.as_ref()).or_else(sum),
        processes: linux.process.and_then(|process| number(process.process_count.as_ref())),
        volumes: volumes(context, pod).await,
        containers,
    }
}

/// What the pod wrote to its volumes on the node's disk.
pub async fn volumes(context: &Context, pod: &Pod) -> Vec<(String, Disk)> {
    let usages = volumes::on_disk(context, pod).await.into_iter();
    let disk = |usage: volumes::Usage| Disk::new(usage.used.unwrap_or(0), usage.inodes_used.unwrap_or(0));
    usages.map(|(name, usage)| (name, disk(usage))).collect()
}

async fn of_container(stats: &v1::ContainerStats, logs: &std::path::Path) -> ContainerUsage {
    let name = names::of_stats(stats);
    let root = stats.writable_layer.as_ref().map(|layer| {
        let value = |value: Option<&v1::UInt64Value>| value.map_or(0, |value| value.value);
        Disk::new(value(layer.used_bytes.as_ref()), value(layer.inodes_used.as_ref()))
    });
    ContainerUsage { memory: working_set(stats.memory.as_ref()), root, logs: directory(logs.join(&name)).await, name }
}

async fn directory(dir: PathBuf) -> Disk {
    let taken = tokio::task::spawn_blocking(move || volumes::taken(&dir)).await;
    // One that is not there takes nothing.
    taken.ok().and_then(Result::ok).map(|(bytes, inodes)| Disk::new(bytes, inodes)).unwrap_or_default()
}

fn number(value: Option<&v1::UInt64Value>) -> Option<i64> {
    value.and_then(|value| i64::try_from(value.value).ok())
}

fn working_set(memory: Option<&v1::MemoryUsage>) -> Option<i64> {
    number(memory?.working_set_bytes.as_ref())
}
