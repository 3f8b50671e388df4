//! Kubelet, runtime and shims are killed at random while pods come and go: nothing that runs notices, nothing is lost,
//! nothing stays behind.
//!
//! The moments are drawn anew in each run; a failing run prints its seed, which `SKIFF_SEED` repeats. `SKIFF_STORM_SECONDS`
//! says how long the storm lasts: ten minutes in `make storm`.

mod churn;
mod kills;
mod logs;
mod witness;

use std::cell::Cell;
use std::time::Duration;

use base::Random;
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use skiff_e2e::{Cluster, Layout};

/// How long the storm lasts, unless it is said.
const SECONDS: u64 = 20;

#[test]
fn what_runs_outlives_kubelet_and_runtime() {
    storm("storm", Layout::SeparatePatient, &["kubelet", "runtime"]);
}

#[track_caller]
fn storm(tag: &str, layout: Layout, parts: &[&str]) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seed = number("SKIFF_SEED").unwrap_or(std::process::id().into());
    let length = Duration::from_secs(number("SKIFF_STORM_SECONDS").unwrap_or(SECONDS));
    eprintln!("SKIFF_SEED={seed}, {} s", length.as_secs());
    let mut cluster = Cluster::start(tag, layout);
    cluster.build_hello("1");
    let machine = cluster.machines().first().to_owned();
    skiff_e2e::run_inside(&machine, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        tokio::task::LocalSet::new().block_on(&runtime, weather(&mut cluster, parts, seed, length));
    });
    cluster.wait_nothing_left_of_pods();
    let left = cluster.remove();
    assert!(left.is_empty(), "left behind:\n{}", left.join("\n"));
}

/// The storm, and what is to be seen when it is over.
async fn weather(cluster: &mut Cluster, parts: &[&str], seed: u64, length: Duration) {
    let kubeconfig = Kubeconfig::read_from(cluster.kubeconfig()).expect("the server has written it");
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    let client = Client::try_from(config.expect("a configuration")).expect("a client");
    let witness = witness::Witness::follow(client.clone());
    let steady = logs::Steady::start(&client, &witness).await;
    let before = steady.statuses(&witness);

    let over = Cell::new(false);
    let churning = churn::churn(&client, &witness, Random::seeded(seed), &over);
    let killing = async {
        let killed = kills::kill(cluster, parts, &Random::seeded(seed + 1), length).await;
        over.set(true);
        killed
    };
    let (made, killed) = tokio::join!(churning, killing);
    eprintln!("{made} pods made, {} parts and {} shims killed", killed.parts, killed.containers.len());

    witness.settle(cluster).await;
    witness.check_steady();
    assert_eq!(steady.statuses(&witness), before, "pods that nobody touched look different");
    witness.check_restarts(&killed.containers);
    steady.check_logs(cluster).await;
}
