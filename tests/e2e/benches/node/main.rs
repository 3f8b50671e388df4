//! Measures a node: how soon a pod runs, a hundred at once, one through CRI alone, a command in a container, the lines
//! of a log, and what a hundred idle pods cost in memory and processor time. The peer is Debian's containerd with runc
//! under the same kubelet in the same session.
//!
//! The clients run in this process on the same cores as the node. The measured binary is that of `SKIFF_BIN`, or the
//! newest one. Memory is what the kernel counts for each process in proportion (PSS), so that what processes share is
//! counted once.

mod cost;
mod cri_calls;
mod peer;
mod pods;
mod streams;

use std::path::Path;

use client::Source;
use cost::Cost;
use kube::Client;
use peer::Figures;
use skiff_e2e::{Cluster, Containerd, Layout};

/// The log that is measured is not rotated meanwhile.
const OPTIONS: [(&str, &str); 1] = [("--container-log-max-size", "1Gi")];

fn main() {
    let mut own = Figures::default();
    latencies(Cluster::start_with("bench", &OPTIONS), &mut own);
    cost::of_parts(&mut own);
    cri_calls::of_runtime(&mut own);

    let mut peer = Figures::default();
    if Path::new("/usr/bin/containerd").exists() {
        over_containerd(&mut peer);
    } else {
        println!("no containerd: figures without that ratio");
    }
    own.print(&peer);
}

fn over_containerd(figures: &mut Figures) {
    let mut cluster = Cluster::prepare("bench", Layout::OneProcess);
    let containerd = Containerd::start(cluster.machines().first());
    cri_calls::measure(&containerd.socket(), figures);
    let options = containerd.options();
    let options = options.iter().map(|(name, value)| (*name, value.as_str())).chain(OPTIONS);
    cluster.start_prepared(&options.collect::<Vec<_>>());
    let dir = containerd.dir().to_string_lossy().into_owned();
    let idle = |figures: &mut Figures| {
        let shims = |line: &str| line.contains("containerd-shim") && line.contains(&dir);
        let daemon = |line: &str| line.contains("containerd") && line.contains(&dir) && !shims(line);
        Cost::measure(daemon, shims).note(figures);
    };
    measure(&cluster, figures, Some(&idle));
    // While its runtime is there to be told.
    let left = cluster.remove();
    assert!(left.is_empty(), "left behind:\n{}", left.join("\n"));
}

fn latencies(cluster: Cluster, figures: &mut Figures) {
    cluster.build_hello("1");
    measure(&cluster, figures, None);
}

/// Runs everything that goes through the API; `idle` while a hundred pods run and nothing happens.
fn measure(cluster: &Cluster, figures: &mut Figures, idle: Option<&(dyn Fn(&mut Figures) + Sync)>) {
    with_client(cluster, async |client| {
        pods::one_by_one(&client, figures).await;
        streams::commands(&client, figures).await;
        streams::log(&client, figures).await;
        pods::at_once(&client, figures).await;
        if let Some(idle) = idle {
            tokio::task::block_in_place(|| idle(figures));
        }
        pods::remove_all(&client).await;
    });
}

/// Runs something with the administrator's client inside the cluster's machine.
fn with_client(cluster: &Cluster, work: impl AsyncFnOnce(Client) + Send) {
    skiff_e2e::run_inside(cluster.machines().first(), || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let source = Source::Kubeconfig(cluster.kubeconfig());
            let client = client::connect(source, "bench", &base::Env::system()).await.expect("it is served");
            work(client).await;
        });
    });
}
