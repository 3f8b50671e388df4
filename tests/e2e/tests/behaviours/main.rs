//! What upstream's conformance suite holds nodes to (area sig-node, and volumes of sig-storage), on containers that run,
//! in one cluster.
//!
//! Each behaviour is a row of a table, under the name that upstream gives it without the tags, and has a namespace of
//! its own, so that many go on at once. Rows of what is documented beside that list have names of ours.

mod containers;
mod details;
mod directories;
mod ends;
mod environment;
mod everywhere;
mod files;
mod hooks;
mod lifecycle;
mod nodes;
mod objects;
mod paths;
mod pods;
mod probes;
mod resize;
mod security;
mod stage;

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use skiff_e2e::{Cluster, Containerd, Docker, Layout};
use tokio::sync::Semaphore;
use tokio::task::LocalSet;

use stage::{Seen, Stage};

/// How many go on at once: most of the time each waits for something.
const AT_ONCE: usize = 16;

/// The release that the project is compatible with; upstream's list holds newer behaviours too.
const RELEASE: (u32, u32) = (1, 35);

/// A behaviour and what shows it.
struct Behaviour {
    name: &'static str,
    run: Box<dyn FnOnce(Stage) -> LocalBoxFuture<'static, ()> + Send>,
}

impl Behaviour {
    fn new<F>(name: &'static str, run: impl FnOnce(Stage) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + 'static,
    {
        Self { name, run: Box::new(|stage| run(stage).boxed_local()) }
    }
}

/// Those that others do not feel.
fn behaviours() -> Vec<Behaviour> {
    // The ones that take longest come first.
    let all = [
        pods::behaviours(),
        files::behaviours(),
        directories::behaviours(),
        probes::behaviours(),
        containers::behaviours(),
        resize::behaviours(),
        lifecycle::behaviours(),
        ends::behaviours(),
        details::behaviours(),
        hooks::behaviours(),
        paths::behaviours(),
        nodes::behaviours(),
        environment::behaviours(),
        security::behaviours(),
        objects::behaviours(),
    ];
    all.into_iter().flatten().collect()
}

#[test]
fn every_behaviour_of_a_node_has_a_row() {
    let Some(list) = skiff_e2e::shared("behaviours.tsv") else {
        eprintln!("SKIPPED: upstream's list is not here: set SKIFF_SHARED to the directory that has behaviours.tsv");
        return;
    };
    let text = std::fs::read_to_string(list).expect("the list can be read");
    let rows = text.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    let is_nodes = |row: &[&str]| row[0] == "sig-node" || (row[0] == "sig-storage" && is_mounted(row[2]));
    let of_nodes = rows.filter(|row| is_nodes(row) && release(row[1]).is_some_and(|of| of <= RELEASE));
    let wanted: BTreeSet<String> = of_nodes.map(|row| without_tags(row[2])).collect();
    let all: Vec<Behaviour> = behaviours().into_iter().chain(nodes::disruptive()).collect();
    let had: BTreeSet<String> = all.iter().map(|behaviour| behaviour.name.to_owned()).collect();
    assert_eq!(had.len(), all.len(), "a name occurs twice");
    assert_eq!(wanted.difference(&had).collect::<Vec<_>>(), Vec::<&String>::new(), "behaviours without a row");
}

/// Whether a behaviour of volumes is the node's work; the others are the API's.
fn is_mounted(name: &str) -> bool {
    let sorts = ["ConfigMap", "Downward API volume", "EmptyDir", "Projected", "Secrets", "Subpath"];
    let name = name.trim_start_matches("[sig-storage] ");
    sorts.iter().any(|sort| name.starts_with(sort)) && !name.contains("immutable")
}

/// `v1.35` as numbers.
fn release(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.strip_prefix('v')?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// A name without what stands in brackets.
fn without_tags(name: &str) -> String {
    let words = name.split(' ').filter(|word| !(word.starts_with('[') && word.ends_with(']')));
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn nodes_behave_as_upstream_says() {
    let mut cluster = Cluster::start("bhv", Layout::OneProcess);
    cluster.build_hello("1");
    cluster.build_hello_with("printer", skiff_e2e::PRINTING);
    let mut failures = run(&cluster, "b", chosen(behaviours()));
    for (number, one) in chosen(nodes::disruptive()).into_iter().enumerate() {
        failures.extend(run(&cluster, &format!("d{number}"), vec![one]));
    }
    assert!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n"));
    let left = cluster.remove();
    assert!(left.is_empty(), "left behind:\n{}", left.join("\n"));
}

#[test]
fn nodes_over_containerd_behave_as_upstream_says() {
    let mut cluster = Cluster::prepare("bct", Layout::OneProcess);
    let containerd = Containerd::start(cluster.machines().first());
    everywhere::hold(&mut cluster, &containerd.options());
    let left = cluster.remove();
    assert!(left.is_empty(), "left behind:\n{}", left.join("\n"));
    assert_eq!(containerd.containers(), [""; 0]);
    assert_eq!(containerd.mounts(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn nodes_over_docker_behave_as_upstream_says() {
    let mut cluster = Cluster::prepare("bdk", Layout::OneProcess);
    let docker = Docker::start(cluster.machines().first());
    everywhere::hold(&mut cluster, &docker.options());
    let left = cluster.remove();
    assert!(left.is_empty(), "left behind:\n{}", left.join("\n"));
    assert_eq!(docker.containers(), [""; 0]);
}

/// Those whose names hold what is asked for in the environment, all where nothing is.
fn chosen(all: Vec<Behaviour>) -> Vec<Behaviour> {
    let only = std::env::var("SKIFF_BEHAVIOUR").unwrap_or_default();
    all.into_iter().filter(|one| one.name.contains(&only)).collect()
}

/// Runs behaviours on the first machine, in namespaces that begin with `prefix`; the names of those that failed.
fn run(cluster: &Cluster, prefix: &str, wanted: Vec<Behaviour>) -> Vec<String> {
    let kubeconfig = cluster.kubeconfig();
    skiff_e2e::run_inside(cluster.machines().first(), || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        LocalSet::new().block_on(&runtime, async {
            let kubeconfig = Kubeconfig::read_from(kubeconfig).expect("the server has written it");
            let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
            let client = Client::try_from(config.expect("a configuration")).expect("a client");
            let seen = Seen::follow(client.clone());
            let places = Semaphore::new(AT_ONCE);
            let all = wanted.into_iter().enumerate().map(|(number, behaviour)| {
                let stage = Stage::new(client.clone(), seen.clone(), format!("{prefix}-{number}"));
                let places = &places;
                async move {
                    let _place = places.acquire().await.expect("it is never closed");
                    check(behaviour, stage).await
                }
            });
            futures::future::join_all(all).await.into_iter().flatten().collect()
        })
    })
}

/// Runs one; its name if it failed.
async fn check(behaviour: Behaviour, stage: Stage) -> Option<String> {
    let (name, start) = (behaviour.name, Instant::now());
    let run = async {
        stage.open().await;
        (behaviour.run)(stage.clone()).await;
        stage.close().await;
    };
    let end = AssertUnwindSafe(run).catch_unwind().await;
    let took = Duration::as_secs_f64(&start.elapsed());
    eprintln!("behaviour: {name}: {} in {took:.1} s", if end.is_ok() { "ok" } else { "FAILED" });
    end.is_err().then(|| name.to_owned())
}
