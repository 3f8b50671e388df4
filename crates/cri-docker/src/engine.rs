//! What all calls share.

use std::collections::HashMap;
use std::fs;
use std::sync::{Mutex, PoisonError};

use base::{Env, Spawner};
use bollard::Docker;
use cni::Invoker;
use cri::Status;
use jiff::Timestamp;
use streaming::Streaming;

use crate::daemon::Daemon;
use crate::logs::Logs;

/// The bit of `CAP_SYS_RESOURCE` in a set of capabilities.
const SYS_RESOURCE: u32 = 24;

/// What an engine is made of.
pub(crate) struct Parts {
    pub docker: Docker,
    pub daemon: Daemon,
    pub env: Env,
    pub cni: Invoker,
    pub pause_image: Option<String>,
    pub streaming: Streaming,
    pub spawner: Spawner,
}

/// What all calls share.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) docker: Docker,
    pub(crate) daemon: Daemon,
    pub(crate) env: Env,
    pub(crate) cni: Invoker,
    pub(crate) pause_image: Option<String>,
    pub(crate) streaming: Streaming,
    pub(crate) spawner: Spawner,
    pub(crate) logs: Logs,
    /// The lowest `oom_score_adj` that this machine lets us set.
    pub(crate) lowest_oom_score_adj: i64,
    /// The latest CPU time seen of containers and when, for the rate.
    samples: Mutex<HashMap<String, (Timestamp, u64)>>,
}

impl Engine {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { docker, daemon, env, cni, pause_image, streaming, spawner } = parts;
        let logs = Logs::new(docker.clone(), env.clone(), spawner.clone());
        let lowest_oom_score_adj = lowest_oom_score_adj();
        let samples = Mutex::default();
        Self { docker, daemon, env, cni, pause_image, streaming, spawner, logs, lowest_oom_score_adj, samples }
    }

    /// Runs an operation that must not stop half-way because its caller is gone.
    pub(crate) async fn detached<T: Send + 'static>(
        &self,
        name: &str,
        operation: impl Future<Output = Result<T, Status>> + Send + 'static,
    ) -> Result<T, Status> {
        let done = self.spawner.detached(name, operation).await;
        done.map_err(|_| Status::unavailable("the adapter is shutting down"))?
    }

    /// Nanoseconds of CPU a second since somebody last asked for this container.
    pub(crate) fn cpu_rate(&self, id: &str, now: Timestamp, used: u64) -> Option<u64> {
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        let (then, before) = samples.insert(id.to_owned(), (now, used))?;
        let elapsed = u128::try_from(now.as_nanosecond() - then.as_nanosecond()).ok().filter(|time| *time > 0)?;
        u64::try_from(u128::from(used.saturating_sub(before)) * 1_000_000_000 / elapsed).ok()
    }

    /// Forgets what is kept of a container that is gone.
    pub(crate) fn forget(&self, id: &str) {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        self.logs.forget(id);
    }
}

/// A container's `oom_score_adj` can be set below our own only by who may raise limits; Docker would fail to start it.
fn lowest_oom_score_adj() -> i64 {
    const LOWEST: i64 = -1000;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).unwrap_or(u64::MAX);
    if effective & (1 << SYS_RESOURCE) != 0 {
        return LOWEST;
    }
    let own = fs::read_to_string("/proc/self/oom_score_adj").ok();
    own.and_then(|text| text.trim().parse().ok()).unwrap_or(LOWEST)
}
