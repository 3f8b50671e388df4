//! What the runtime has of one pod: its sandboxes and containers, as plain data.

use std::collections::HashMap;

use cri as v1;
use jiff::Timestamp;

use super::names;

/// Everything the runtime knows of one pod, newest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// The pod's sandboxes, newest first.
    pub sandboxes: Vec<Sandbox>,
    /// The instances of the pod's containers, newest first.
    pub containers: Vec<Instance>,
}

/// One sandbox.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sandbox {
    /// The runtime's identifier.
    pub id: String,
    /// How many sandboxes the pod had before.
    pub attempt: u32,
    /// Whether containers can run in it.
    pub ready: bool,
    /// The pod's addresses, the first one first.
    pub ips: Vec<String>,
    /// When it was made, in nanoseconds since 1970.
    pub created_at: i64,
}

/// The state of a container's instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// It was made, and not started yet.
    #[default]
    Created,
    /// Its first process runs.
    Running,
    /// Its first process has ended.
    Exited,
    /// The runtime lost track of it.
    Unknown,
}

/// One instance of a container.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Instance {
    /// The runtime's identifier.
    pub id: String,
    /// The container's name in the pod.
    pub name: String,
    /// The sandbox in which it is.
    pub sandbox_id: String,
    /// How many instances the container had before.
    pub restart_count: u32,
    /// The state of its first process.
    pub state: State,
    /// When it was made, in nanoseconds since 1970.
    pub created_at: i64,
    /// When it was started, in nanoseconds since 1970; 0 if never.
    pub started_at: i64,
    /// When it ended, in nanoseconds since 1970; 0 if not yet.
    pub finished_at: i64,
    /// Exit code of the first process.
    pub exit_code: i32,
    /// Why it ended, in one word.
    pub reason: String,
    /// Why it ended, or what it left as its termination message.
    pub message: String,
    /// The image as the runtime names it.
    pub image: String,
    /// The image's identifier.
    pub image_id: String,
    /// Hash of the definition from which it was made.
    pub hash: String,
    /// The log file.
    pub log_path: String,
    /// The user of the first process: uid, gid, supplementary groups.
    pub user: Option<(i64, i64, Vec<i64>)>,
    /// Where something is mounted in it that is read-only all the way down.
    pub deep_read_only: Vec<String>,
    /// What it may use, where the runtime says so.
    pub resources: Option<v1::LinuxContainerResources>,
}

impl Observed {
    /// The newest sandbox if containers can run in it.
    pub fn ready_sandbox(&self) -> Option<&Sandbox> {
        self.sandboxes.first().filter(|sandbox| sandbox.ready)
    }

    /// The newest instance of a container.
    pub fn latest(&self, name: &str) -> Option<&Instance> {
        self.containers.iter().find(|instance| instance.name == name)
    }

    /// The newest instance of a container in the given sandbox.
    pub fn latest_in(&self, sandbox_id: &str, name: &str) -> Option<&Instance> {
        self.latest(name).filter(|instance| instance.sandbox_id == sandbox_id)
    }

    /// The newest ended instance of a container older than its newest instance.
    pub fn previous(&self, name: &str) -> Option<&Instance> {
        self.containers.iter().filter(|instance| instance.name == name).skip(1).find(|i| i.state == State::Exited)
    }

    /// Instances whose first process runs or may run.
    pub fn live(&self) -> impl Iterator<Item = &Instance> {
        self.containers.iter().filter(|instance| matches!(instance.state, State::Running | State::Unknown))
    }

    /// Whether anything of the pod still runs or holds resources.
    pub fn is_stopped(&self) -> bool {
        self.live().next().is_none() && self.sandboxes.iter().all(|sandbox| !sandbox.ready)
    }

    /// Puts sandboxes and instances in order, newest first.
    pub fn sort(&mut self) {
        self.sandboxes.sort_by_key(|sandbox| std::cmp::Reverse((sandbox.created_at, sandbox.attempt)));
        self.containers.sort_by_key(|instance| std::cmp::Reverse((instance.created_at, instance.restart_count)));
    }
}

/// Nanoseconds since 1970 as CRI gives them; `None` for 0, which says "not yet".
pub fn timestamp(nanoseconds: i64) -> Option<Timestamp> {
    (nanoseconds > 0).then(|| Timestamp::from_nanosecond(i128::from(nanoseconds)).ok()).flatten()
}

impl From<&v1::PodSandboxStatus> for Sandbox {
    fn from(status: &v1::PodSandboxStatus) -> Self {
        let network = status.network.clone().unwrap_or_default();
        let mut ips = Vec::new();
        if !network.ip.is_empty() {
            ips.push(network.ip);
        }
        ips.extend(network.additional_ips.into_iter().map(|ip| ip.ip));
        Self {
            id: status.id.clone(),
            attempt: status.metadata.as_ref().map_or(0, |metadata| metadata.attempt),
            ready: status.state == v1::PodSandboxState::SandboxReady as i32,
            ips,
            created_at: status.created_at,
        }
    }
}

/// What CRI says of a container, with the sandbox it is in.
pub fn instance(sandbox_id: &str, status: &v1::ContainerStatus) -> Instance {
    let label = |map: &HashMap<String, String>, key: &str| map.get(key).cloned().unwrap_or_default();
    let state = match v1::ContainerState::try_from(status.state) {
        Ok(v1::ContainerState::ContainerCreated) => State::Created,
        Ok(v1::ContainerState::ContainerRunning) => State::Running,
        Ok(v1::ContainerState::ContainerExited) => State::Exited,
        Ok(v1::ContainerState::ContainerUnknown) | Err(_) => State::Unknown,
    };
    let restart_count = label(&status.annotations, names::RESTART_COUNT).parse().ok();
    let attempt = status.metadata.as_ref().map_or(0, |metadata| metadata.attempt);
    Instance {
        id: status.id.clone(),
        name: label(&status.labels, names::CONTAINER_NAME),
        sandbox_id: sandbox_id.to_owned(),
        restart_count: restart_count.unwrap_or(attempt),
        state,
        created_at: status.created_at,
        started_at: status.started_at,
        finished_at: status.finished_at,
        exit_code: status.exit_code,
        reason: status.reason.clone(),
        message: status.message.clone(),
        image: status.image.as_ref().map(|image| image.image.clone()).unwrap_or_default(),
        image_id: if status.image_ref.is_empty() { status.image_id.clone() } else { status.image_ref.clone() },
        hash: label(&status.annotations, names::CONTAINER_HASH),
        log_path: status.log_path.clone(),
        user: (status.user.as_ref())
            .and_then(|user| user.linux.clone())
            .map(|user| (user.uid, user.gid, user.supplemental_groups)),
        deep_read_only: (status.mounts.iter())
            .filter(|mount| mount.recursive_read_only)
            .map(|mount| mount.container_path.clone())
            .collect(),
        resources: status.resources.as_ref().and_then(|resources| resources.linux.clone()),
    }
}
