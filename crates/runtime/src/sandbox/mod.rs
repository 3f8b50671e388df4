//! Pod sandboxes: namespaces, a network connection, a few files. No process belongs to one, unless its containers share
//! a pid namespace.

mod files;
mod namespaces;
mod network;
mod pause;
mod remove;
mod run;
mod stop;
mod userns;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cri::{LinuxContainerResources, NamespaceMode, NamespaceOption, PodSandboxConfig, PodSandboxMetadata};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::cgroup::{Cgroup, CpuRate};
use crate::disk::{self, DiskError};
use crate::id::SandboxId;

pub(crate) use network::reservation;
pub(crate) use pause::{pid as pause_pid, stop as stop_pause};
pub(crate) use remove::{RemoveSandboxError, discard, remove, remove_rest};
pub(crate) use run::{RunSandboxError, run};
pub(crate) use stop::{StopSandboxError, stop};
pub(crate) use userns::{IdMap, UserNamespaceError, id_map};

/// Where a sandbox's things are.
#[derive(Clone, Debug)]
pub(crate) struct SandboxPaths {
    data: PathBuf,
    run: PathBuf,
    cgroup: PathBuf,
}

impl SandboxPaths {
    pub(crate) fn new(data: PathBuf, run: PathBuf, cgroup: PathBuf) -> Self {
        Self { data, run, cgroup }
    }

    /// The cgroup below which the sandbox's containers have theirs: the caller's, or else one of its own.
    pub(crate) fn cgroup_parent(&self, config: &PodSandboxConfig) -> PathBuf {
        let parent = config.linux.as_ref().map(|linux| linux.cgroup_parent.as_str()).unwrap_or_default();
        if parent.is_empty() { self.cgroup.clone() } else { Path::new("/").join(parent) }
    }

    /// The cgroup that it has where the caller names none.
    fn own_cgroup(&self) -> Cgroup {
        Cgroup::new(&self.cgroup)
    }

    /// What survives a reboot.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// What does not.
    pub(crate) fn run(&self) -> &Path {
        &self.run
    }

    fn record(&self) -> PathBuf {
        self.data.join("sandbox.json")
    }

    /// Where the namespace of this kind (`net`, `ipc`, `uts`, `pid`) is bound.
    pub(crate) fn namespace(&self, kind: &str) -> PathBuf {
        self.run.join("ns").join(kind)
    }

    pub(crate) fn shm(&self) -> PathBuf {
        self.run.join("shm")
    }

    pub(crate) fn resolv_conf(&self) -> PathBuf {
        self.run.join("resolv.conf")
    }

    pub(crate) fn hostname(&self) -> PathBuf {
        self.run.join("hostname")
    }

    pub(crate) fn hosts(&self) -> PathBuf {
        self.run.join("hosts")
    }

    /// What all containers of the pod see of it.
    pub(crate) fn shown(&self) -> [PathBuf; 4] {
        [self.shm(), self.resolv_conf(), self.hostname(), self.hosts()]
    }

    fn pause_pid(&self) -> PathBuf {
        self.run.join("pause.pid")
    }

    fn pause_cgroup(&self) -> PathBuf {
        self.run.join("pause.cgroup")
    }
}

/// How far a sandbox is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum SandboxPhase {
    /// It is being made; one that is found so at start is removed.
    Creating,
    /// Containers can be started in it.
    Ready,
    /// It was stopped, or the machine was.
    NotReady,
}

/// What is written down of a sandbox.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SandboxRecord {
    pub id: SandboxId,
    pub config: PodSandboxConfig,
    pub runtime_handler: String,
    pub created_at: Timestamp,
    pub phase: SandboxPhase,
    pub ips: Vec<IpAddr>,
}

/// A sandbox.
#[derive(Debug)]
pub(crate) struct Sandbox {
    id: SandboxId,
    paths: SandboxPaths,
    record: Mutex<SandboxRecord>,
    pub(crate) cpu_rate: CpuRate,
    /// Held alone by whoever stops or removes it, shared by whoever makes or starts a container in it.
    pub(crate) operation: Arc<tokio::sync::RwLock<()>>,
}

impl Sandbox {
    pub(crate) fn new(record: SandboxRecord, paths: SandboxPaths) -> Self {
        let id = record.id.clone();
        Self { id, paths, record: Mutex::new(record), cpu_rate: CpuRate::default(), operation: Arc::default() }
    }

    /// Reads a sandbox of an earlier run. One that was stopped, or did not outlive a reboot, has no run directory.
    pub(crate) fn load(paths: SandboxPaths) -> Result<Option<Self>, DiskError> {
        let Some(mut record) = disk::read_record::<SandboxRecord>(&paths.record())? else { return Ok(None) };
        if record.phase == SandboxPhase::Ready && !paths.run().exists() {
            record.phase = SandboxPhase::NotReady;
        }
        Ok(Some(Self::new(record, paths)))
    }

    pub(crate) fn id(&self) -> &SandboxId {
        &self.id
    }

    pub(crate) fn paths(&self) -> &SandboxPaths {
        &self.paths
    }

    fn lock(&self) -> MutexGuard<'_, SandboxRecord> {
        // Every change replaces whole fields, so a panic leaves nothing half done.
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of it now.
    pub(crate) fn record(&self) -> SandboxRecord {
        self.lock().clone()
    }

    /// Changes the record, on the disk first.
    fn update(&self, change: impl FnOnce(&mut SandboxRecord)) -> Result<(), DiskError> {
        let mut record = self.lock();
        let mut changed = record.clone();
        change(&mut changed);
        disk::write_record(&self.paths.record(), &changed)?;
        *record = changed;
        Ok(())
    }

    /// Notes that it was stopped: takes its run directory away, by which a later run sees it too. Nothing is written: what
    /// makes room on a full disk must need none.
    fn end(&self) -> Result<(), DiskError> {
        disk::remove_dir(self.paths.run())?;
        self.lock().phase = SandboxPhase::NotReady;
        Ok(())
    }

    /// Notes the resources of the pod as they are now; what is not given stays as it was.
    pub(crate) fn set_resources(
        &self,
        overhead: Option<LinuxContainerResources>,
        resources: Option<LinuxContainerResources>,
    ) -> Result<(), DiskError> {
        self.update(|record| {
            let linux = record.config.linux.get_or_insert_default();
            linux.overhead = overhead.or(linux.overhead.take());
            linux.resources = resources.or(linux.resources.take());
        })
    }

    /// Writes the record for the first time.
    fn write(&self) -> Result<(), DiskError> {
        self.update(|_| {})
    }
}

/// The namespaces that a sandbox has of its own.
pub(crate) fn namespace_options(config: &PodSandboxConfig) -> NamespaceOption {
    let context = config.linux.as_ref().and_then(|linux| linux.security_context.as_ref());
    context.and_then(|context| context.namespace_options.clone()).unwrap_or_default()
}

/// Whether the sandbox is in the machine's network.
pub(crate) fn is_host_network(config: &PodSandboxConfig) -> bool {
    namespace_options(config).network() == NamespaceMode::Node
}

/// The pod's names.
pub(crate) fn metadata(config: &PodSandboxConfig) -> PodSandboxMetadata {
    config.metadata.clone().unwrap_or_default()
}
