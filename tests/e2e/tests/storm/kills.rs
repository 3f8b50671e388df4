//! Kills.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use base::{Env, Random};
use nix::sys::signal::{Signal, kill as send};
use nix::unistd::Pid;
use serde_json::Value;
use skiff_e2e::{Cluster, shims};

use crate::churn;

/// The longest time between two kills, in milliseconds.
const LONGEST: u64 = 2500;

/// One kill in so many is that of a shim: each puts a pod into waiting.
const SHIMS: u64 = 12;

/// What was killed.
#[derive(Debug, Default)]
pub struct Killed {
    /// Kubelets, runtimes and what else was named.
    pub parts: usize,
    /// The containers whose shims were.
    pub containers: BTreeSet<String>,
}

/// Kills parts, now and then two at once, and shims, for a time.
pub async fn kill(cluster: &mut Cluster, parts: &[&str], random: &Random, length: Duration) -> Killed {
    // The moments are the test, and not a wait for something.
    let (env, mut killed, end) = (Env::system(), Killed::default(), Instant::now() + length);
    while Instant::now() < end {
        env.sleep(Duration::from_millis(50 + random.below(LONGEST))).await;
        for process in cluster.processes() {
            process.assert_running();
        }
        if random.below(SHIMS) == 0 {
            killed.containers.extend(kill_shim(cluster, random));
            continue;
        }
        let first = random.below(parts.len() as u64) as usize;
        let count = 1 + usize::from(random.below(4) == 0);
        for part in parts.iter().cycle().skip(first).take(count.min(parts.len())) {
            cluster.part(part).crash();
            killed.parts += 1;
        }
    }
    killed
}

/// Kills the shim of a pod that comes and goes; the container that it ran.
fn kill_shim(cluster: &Cluster, random: &Random) -> Option<String> {
    let containers = cluster.data_dir().join("runtime/containers");
    let all = shims(&cluster.run_dir()).into_iter();
    let mut all: Vec<_> = all.filter(|shim| is_churned(&containers.join(&shim.container))).collect();
    all.sort_by(|one, other| one.container.cmp(&other.container));
    let victim = all.get(random.below(all.len().max(1) as u64) as usize)?;
    // It may have ended by itself: then its container has as well.
    let _ = send(Pid::from_raw(victim.pid), Signal::SIGKILL);
    Some(victim.container.clone())
}

fn is_churned(container: &Path) -> bool {
    let record = std::fs::read_to_string(container.join("container.json")).unwrap_or_default();
    // The value is followed by its digest.
    let record: Value = serde_json::from_str(record.lines().next().unwrap_or_default()).unwrap_or_default();
    let pod = record["config"]["labels"]["io.kubernetes.pod.name"].as_str();
    pod.is_some_and(|pod| pod.starts_with(churn::PREFIX))
}
