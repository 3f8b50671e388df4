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
use nix::unistd::{SysconfVar, sysconf};
use skiff_e2e::{Cluster, Layout};

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
        match client::connect(Source::Kubeconfig(kubeconfig.clone())).await {
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

/// What the processes of a cluster have used.
#[derive(Default)]
struct Usage {
    /// Resident memory now, shared pages counted for each process that has them.
    megabytes: f64,
    /// Processor time since the start, in user and kernel mode.
    seconds: f64,
}

impl Usage {
    fn of(cluster: &Cluster) -> Self {
        let data = cluster.data_dir();
        let dir = data.parent().expect("the directory of the cluster").to_string_lossy().into_owned();
        let unit = |name| sysconf(name).ok().flatten().expect("every Linux has it") as f64;
        let (tick, page) = (1.0 / unit(SysconfVar::CLK_TCK), unit(SysconfVar::PAGE_SIZE) / 1e6);
        let mut usage = Self::default();
        for process in std::fs::read_dir("/proc").expect("proc is mounted").flatten() {
            // What is no process, and one that ends meanwhile, has no such files.
            let read = |file: &str| std::fs::read_to_string(process.path().join(file)).unwrap_or_default();
            if !read("cmdline").contains(&dir) {
                continue;
            }
            let number = |text: &str, at: usize| text.split_whitespace().nth(at)?.parse::<f64>().ok();
            usage.megabytes += number(&read("statm"), 1).unwrap_or_default() * page;
            // The name in parentheses may have spaces; user and kernel time are the 12th and 13th value after it.
            let stat = read("stat");
            let values = stat.rsplit(')').next().unwrap_or_default();
            usage.seconds += (11..=12).filter_map(|at| number(values, at)).sum::<f64>() * tick;
        }
        assert!(usage.megabytes > 0.0, "no process of the cluster runs");
        usage
    }
}
