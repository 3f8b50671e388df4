//! Containers: made, started in a shim, watched, stopped, removed.

mod adopt;
mod create;
mod exec;
mod mounts;
mod remove;
mod shim;
mod signal;
mod start;
mod stop;
mod volumes;
mod watch;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use cri::{ContainerConfig, LinuxContainerResources};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch as watch_channel;

use crate::cgroup::CpuRate;
use crate::disk::{self, DiskError};
use crate::id::{ContainerId, SandboxId};
use crate::image::Digest;
use crate::layer::LayerId;
use crate::shim::protocol::{Exit, Started};
use crate::spec::ResolvedUser;
use crate::usage::{Usage, usage};

pub(crate) use adopt::adopt;
pub(crate) use create::{CreateError, create, update_spec};
pub(crate) use exec::{Exec, ExecError, ExecSpec, Terminal, exec, exec_sync};
pub(crate) use mounts::PrepareError;
pub(crate) use remove::{RemoveError, remove};
pub(crate) use shim::{Attached, ShimError, attach, reopen_log};
pub(crate) use signal::name as signal_name;
pub(crate) use start::{StartError, start};
pub(crate) use stop::{StopError, stop, stop_alone};

/// Where a container's things are.
#[derive(Clone, Debug)]
pub(crate) struct ContainerPaths {
    data: PathBuf,
    bundle: PathBuf,
}

impl ContainerPaths {
    pub(crate) fn new(data: PathBuf, bundle: PathBuf) -> Self {
        Self { data, bundle }
    }

    /// What survives a reboot: the record, how it ended, what it wrote to its root.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// What does not: the specification, the shim's socket, the mounted root.
    pub(crate) fn bundle(&self) -> &Path {
        &self.bundle
    }

    fn record(&self) -> PathBuf {
        self.data.join("container.json")
    }

    /// The layer that the container writes to.
    pub(crate) fn upper(&self) -> PathBuf {
        self.data.join("upper")
    }

    /// What it has at the places of its image's volumes.
    fn volumes(&self) -> PathBuf {
        self.data.join("volumes")
    }

    /// The room that its files take: those of its root, and of its image's volumes. Blocks.
    pub(crate) fn written(&self) -> Usage {
        let mut written = usage(&self.upper());
        written += usage(&self.volumes());
        written
    }

    fn work(&self) -> PathBuf {
        self.data.join("work")
    }

    /// The OCI specification.
    pub(crate) fn spec(&self) -> PathBuf {
        self.bundle.join("config.json")
    }
}

/// What is written down of a container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ContainerRecord {
    pub id: ContainerId,
    pub sandbox: SandboxId,
    pub config: ContainerConfig,
    pub image: Digest,
    /// What the kubelet shows as the image's identity.
    pub image_ref: String,
    /// The layers that its root rests on.
    pub layers: Vec<LayerId>,
    pub created_at: Timestamp,
    pub log_path: Option<PathBuf>,
    pub cgroup: PathBuf,
    pub user: ResolvedUser,
    pub stop_signal: i32,
    /// The images that it mounts, in the order of its mounts.
    #[serde(default)]
    pub mounted_images: Vec<Digest>,
    pub own_pid_namespace: bool,
}

/// How far a container is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ContainerState {
    /// Not started.
    Created,
    /// In its shim.
    Running(Started),
    /// Ended, or never came to run.
    Exited {
        /// Its start, if it had one.
        started: Option<Started>,
        /// Its end.
        exit: Exit,
    },
}

/// A container.
#[derive(Debug)]
pub(crate) struct Container {
    record: ContainerRecord,
    paths: ContainerPaths,
    state: watch_channel::Sender<ContainerState>,
    resources: Mutex<LinuxContainerResources>,
    pub(crate) cpu_rate: CpuRate,
    /// Held by whoever starts or removes it.
    operation: Arc<tokio::sync::Mutex<()>>,
}

impl Container {
    pub(crate) fn new(record: ContainerRecord, paths: ContainerPaths, state: ContainerState) -> Self {
        let linux = record.config.linux.as_ref();
        let resources = linux.and_then(|linux| linux.resources.clone()).unwrap_or_default();
        Self {
            record,
            paths,
            state: watch_channel::channel(state).0,
            resources: Mutex::new(resources),
            cpu_rate: CpuRate::default(),
            operation: Arc::default(),
        }
    }

    pub(crate) fn id(&self) -> &ContainerId {
        &self.record.id
    }

    pub(crate) fn record(&self) -> &ContainerRecord {
        &self.record
    }

    pub(crate) fn paths(&self) -> &ContainerPaths {
        &self.paths
    }

    pub(crate) fn state(&self) -> ContainerState {
        self.state.borrow().clone()
    }

    fn set_state(&self, state: ContainerState) {
        self.state.send_replace(state);
    }

    /// The process, while there is one.
    pub(crate) fn pid(&self) -> Option<i32> {
        match &*self.state.borrow() {
            ContainerState::Running(started) => Some(started.pid),
            _ => None,
        }
    }

    /// Completes when the container is not running. Cancel safe.
    pub(crate) async fn ended(&self) {
        let mut states = self.state.subscribe();
        // The sender lives in this very value.
        let _ = states.wait_for(|state| !matches!(state, ContainerState::Running(_))).await;
    }

    /// The limits as they are now.
    pub(crate) fn resources(&self) -> LinuxContainerResources {
        self.resources.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes new limits; what is zero or empty stays as it was.
    pub(crate) fn merge_resources(&self, change: &LinuxContainerResources) -> Result<(), DiskError> {
        let mut resources = self.resources.lock().unwrap_or_else(PoisonError::into_inner);
        merge(&mut resources, change);
        let mut record = self.record.clone();
        record.config.linux.get_or_insert_default().resources = Some(resources.clone());
        disk::write_record(&self.paths.record(), &record)
    }
}

fn merge(resources: &mut LinuxContainerResources, change: &LinuxContainerResources) {
    let number = |old: &mut i64, new: i64| {
        if new != 0 {
            *old = new;
        }
    };
    let text = |old: &mut String, new: &String| {
        if !new.is_empty() {
            old.clone_from(new);
        }
    };
    number(&mut resources.cpu_period, change.cpu_period);
    number(&mut resources.cpu_quota, change.cpu_quota);
    number(&mut resources.cpu_shares, change.cpu_shares);
    number(&mut resources.memory_limit_in_bytes, change.memory_limit_in_bytes);
    number(&mut resources.memory_swap_limit_in_bytes, change.memory_swap_limit_in_bytes);
    number(&mut resources.oom_score_adj, change.oom_score_adj);
    text(&mut resources.cpuset_cpus, &change.cpuset_cpus);
    text(&mut resources.cpuset_mems, &change.cpuset_mems);
    for limit in &change.hugepage_limits {
        match resources.hugepage_limits.iter_mut().find(|known| known.page_size == limit.page_size) {
            Some(known) => known.limit = limit.limit,
            None => resources.hugepage_limits.push(limit.clone()),
        }
    }
    resources.unified.extend(change.unified.clone());
}

/// Whether `labels` has every pair of `selector`.
pub(crate) fn labels_match(
    labels: &std::collections::HashMap<String, String>,
    selector: &std::collections::HashMap<String, String>,
) -> bool {
    let sorted: BTreeMap<_, _> = selector.iter().collect();
    sorted.into_iter().all(|(key, value)| labels.get(key) == Some(value))
}
