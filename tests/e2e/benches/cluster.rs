//! Measures a cluster of one node in one process, from outside: how soon it is ready, what it uses while nothing
//! happens, and how soon it answers again after a kill.
//!
//! The clock starts before the process is started. From then on a client inside the machine asks for the node every
//! [`PAUSE`] over one connection, which is how exact the times are. Memory and processor time are those of every
//! process that carries the cluster's directory in its command line: the server and the shims of its containers. The
//! measured binary is that of `SKIFF_BIN`, or the newest one.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use base::Env;
use client::Source;
use k8s_openapi::api::core::v1::Node;
use skiff_e2e::{Cluster, Layout, Usage};

const PAUSE: Duration = Duration::from_millis(5);
const DEADLINE: Duration = Duration::from_secs(60);

/// How long a cluster that is ready is left alone before its idleness is measured, and for how long that is.
const SETTLE: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(60);

/// How often a start and a kill are measured; the figure is the median.
const ROUNDS: usize = 5;

fn main() {
    let start_to_ready = median((0..ROUNDS).map(|_| start().1));
    let (mut cluster, _) = start();
    println!("bench: cluster.start_to_ready {start_to_ready:.0} ms");

    std::thread::sleep(SETTLE);
    let before = Usage::of(&cluster);
    std::thread::sleep(IDLE);
    let after = Usage::of(&cluster);
    println!("bench: cluster.idle_rss {:.1} MB", after.megabytes);
    let percent = 100.0 * (after.seconds - before.seconds) / IDLE.as_secs_f64();
    println!("bench: cluster.idle_cpu {percent:.2} percent");

    let kill_to_serving = median((0..ROUNDS).map(|_| {
        let began = Instant::now();
        cluster.kill();
        cluster.start_processes();
        until_node(&cluster, began, |_| true)
    }));
    println!("bench: cluster.kill_to_serving {kill_to_serving:.0} ms");
}

/// Starts a cluster on empty directories; after how many milliseconds its node was ready.
fn start() -> (Cluster, f64) {
    let mut cluster = Cluster::prepare("bench", Layout::OneProcess);
    let began = Instant::now();
    cluster.start_processes();
    let ready = until_node(&cluster, began, |node| {
        let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
        conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
    });
    (cluster, ready)
}

/// How many milliseconds after `began` the API server answered with a node that is as wanted.
fn until_node(cluster: &Cluster, began: Instant, wanted: impl Fn(&Node) -> bool + Send) -> f64 {
    let kubeconfig = cluster.kubeconfig();
    skiff_e2e::run_inside(cluster.machines().first(), || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(node(kubeconfig, began, wanted));
    });
    began.elapsed().as_secs_f64() * 1e3
}

async fn node(kubeconfig: PathBuf, began: Instant, wanted: impl Fn(&Node) -> bool) {
    let env = Env::system();
    let pause = async || {
        assert!(began.elapsed() < DEADLINE, "the cluster does not come up");
        env.sleep(PAUSE).await;
    };
    // The file may be there half written.
    let client = loop {
        match client::connect(Source::Kubeconfig(kubeconfig.clone()), "bench", &base::Env::system()).await {
            Ok(client) => break client,
            Err(_) => pause().await,
        }
    };
    let nodes = kube::Api::<Node>::all(client);
    loop {
        match nodes.get("first").await {
            Ok(node) if wanted(&node) => return,
            _ => pause().await,
        }
    }
}

fn median(times: impl Iterator<Item = f64>) -> f64 {
    let mut times: Vec<f64> = times.collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
