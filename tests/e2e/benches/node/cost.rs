//! What a hundred idle pods cost.

use std::time::Duration;

use skiff_e2e::{Cluster, Layout, Usage};

use crate::peer::Figures;
use crate::{pods, with_client};

/// How long pods are left alone before they are measured, and for how long that is.
const SETTLE: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(30);

/// What the runtime and its shims use.
pub struct Cost {
    daemon: Usage,
    shims: Usage,
    percent: f64,
}

impl Cost {
    /// Measures processes by their command lines, while nothing happens.
    pub fn measure(daemon: impl Fn(&str) -> bool, shims: impl Fn(&str) -> bool) -> Self {
        let both = |line: &str| daemon(line) || shims(line);
        std::thread::sleep(SETTLE);
        let before = Usage::of_processes(both);
        std::thread::sleep(IDLE);
        let after = Usage::of_processes(both);
        let percent = 100.0 * (after.seconds - before.seconds) / IDLE.as_secs_f64();
        Self { daemon: Usage::of_processes(&daemon), shims: Usage::of_processes(&shims), percent }
    }

    /// Notes what the peer has too.
    pub fn note(&self, figures: &mut Figures) {
        figures.cost("runtime-memory", self.daemon.proportional, "MB");
        figures.cost("shims-memory", self.shims.proportional, "MB");
        figures.cost("runtime-idle-cpu", self.percent, "percent");
    }
}

/// Measures the node's parts as processes of their own: nothing of the control plane is counted.
pub fn of_parts(figures: &mut Figures) {
    let cluster = Cluster::start("bench", Layout::Separate);
    cluster.build_hello("1");
    let data = cluster.data_dir();
    let dir = data.parent().expect("the directory of the cluster").to_string_lossy().into_owned();
    with_client(&cluster, async |client| {
        pods::at_once(&client, &mut Figures::default()).await;
        tokio::task::block_in_place(|| {
            let part = |line: &str, name: &str| line.contains(&dir) && line.split('\0').nth(1) == Some(name);
            let (runtime, shims) = (|line: &str| part(line, "runtime"), |line: &str| part(line, "shim"));
            Cost::measure(runtime, shims).note(figures);
            let node = Cost::measure(|line: &str| part(line, "kubelet") || runtime(line), shims);
            figures.cost("node-memory", node.daemon.proportional, "MB");
            figures.cost("node-memory-with-shims", node.daemon.proportional + node.shims.proportional, "MB");
            figures.cost("shim-private", node.shims.private / node.shims.processes as f64, "MB");
            figures.cost("idle-cpu", node.percent, "percent");
        });
        pods::remove_all(&client).await;
    });
}
