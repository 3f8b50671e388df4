//! Measures the API server alone, over HTTPS, on a durable datastore: writes and reads of single objects, a list of
//! many, one change that goes to many watchers, how soon a new kind is known, and the memory of the whole process
//! (datastore, watch cache and event window).
//!
//! The simulated clients run in this process on the same cores as the server, so rates are those of both together;
//! figures that end in `server` count only the server's own processor time. The measured binary is that of `SKIFF_BIN`,
//! or the newest one.

mod connection;
mod definitions;
mod watchers;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use connection::{Connection, Target};
use serde_json::{Value, json};
use skiff_e2e::{Cluster, Layout, Usage};
use tokio::task::JoinSet;

const MEASURED: Duration = Duration::from_secs(3);
const CLIENTS: [usize; 3] = [1, 16, 256];

/// How many pods are stored for reads, and how long a text each carries so that it has 2 KB as it is answered.
const PODS: usize = 10_000;
const POD_FILLING: usize = 36;
const LISTS: usize = 200;

const WATCHERS: usize = 1000;
const CHANGES: usize = 20;

/// How many kinds are defined, one after another.
const DEFINITIONS: usize = 20;

fn main() {
    let mut cluster = Cluster::prepare("bench", Layout::ApiServer(&[]));
    cluster.start_processes();
    let target = Target::new(&cluster.kubeconfig());
    skiff_e2e::run_inside(cluster.machines().first(), || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(measure(&cluster, &target));
    });
}

async fn measure(cluster: &Cluster, target: &Target) {
    target.connect().await.call("POST", "/api/v1/namespaces", namespace()).await;
    // First of all, while no memory is there that earlier work has freed.
    let before = Usage::of(cluster);
    store_pods(target).await;
    let stored = Usage::of(cluster);
    let kilobytes = (stored.megabytes - before.megabytes) * 1e3 / PODS as f64;
    let encoded = target.connect().await.call("GET", "/api/v1/namespaces/bench/pods", Bytes::new()).await;
    println!("bench: api.pod_encoded {:.2} kB", encoded as f64 / 1e3 / PODS as f64);
    println!("bench: api.memory_per_pod {kilobytes:.2} kB");

    for clients in CLIENTS {
        let (rate, _) = creates(cluster, target, clients).await;
        println!("bench: api.create.c{clients} {rate:.0} ops/s");
    }

    for clients in CLIENTS {
        let (rate, seconds) = gets(cluster, target, clients).await;
        println!("bench: api.get.c{clients} {rate:.0} ops/s");
        println!("bench: api.get.c{clients}.server {:.0} ops/core-s", rate * MEASURED.as_secs_f64() / seconds);
    }
    lists(cluster, target).await;
    watchers::measure(target, WATCHERS, CHANGES).await;
    definitions::measure(target, DEFINITIONS).await;
}

fn namespace() -> Bytes {
    json!({"metadata": {"name": "bench"}}).to_string().into()
}

/// Runs clients side by side for a while; operations in a second, and the server's processor time in seconds.
async fn rate<F>(cluster: &Cluster, target: &Target, clients: usize, operation: F) -> (f64, f64)
where
    F: AsyncFn(&mut Connection, usize),
{
    let mut connections = Vec::new();
    for _ in 0..clients {
        connections.push(target.connect().await);
    }
    let (next, before, began) = (AtomicUsize::new(0), Usage::of(cluster), Instant::now());
    let each = connections.iter_mut().map(async |connection| {
        while began.elapsed() < MEASURED {
            operation(connection, next.fetch_add(1, Ordering::Relaxed)).await;
        }
    });
    futures::future::join_all(each).await;
    let seconds = Usage::of(cluster).seconds - before.seconds;
    (next.into_inner() as f64 / began.elapsed().as_secs_f64(), seconds)
}

async fn creates(cluster: &Cluster, target: &Target, clients: usize) -> (f64, f64) {
    let text = "x".repeat(1024);
    rate(cluster, target, clients, async |connection, number| {
        let object = json!({"metadata": {"name": format!("c{clients}-{number}")}, "data": {"text": text}});
        connection.call("POST", "/api/v1/namespaces/bench/configmaps", object.to_string().into()).await;
    })
    .await
}

async fn gets(cluster: &Cluster, target: &Target, clients: usize) -> (f64, f64) {
    rate(cluster, target, clients, async |connection, number| {
        let path = format!("/api/v1/namespaces/bench/pods/pod-{}", number * 7919 % PODS);
        connection.call("GET", &path, Bytes::new()).await;
    })
    .await
}

fn pod(number: usize) -> Value {
    json!({
        "metadata": {
            "name": format!("pod-{number}"), "labels": {"app": format!("app-{}", number % 100)},
            "annotations": {"example.com/filling": "x".repeat(POD_FILLING)},
        },
        "spec": {
            "nodeName": format!("node-{}", number % 200), "serviceAccountName": "default",
            "automountServiceAccountToken": false,
            "containers": [{"name": "main", "image": "example.com/app:1", "ports": [{"containerPort": 80}]}],
        },
    })
}

async fn store_pods(target: &Target) {
    let account = json!({"metadata": {"name": "default"}}).to_string();
    target.connect().await.call("POST", "/api/v1/namespaces/bench/serviceaccounts", account.into()).await;
    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..16 {
        let (mut connection, next) = (target.connect().await, next.clone());
        tasks.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= PODS {
                    return;
                }
                connection.call("POST", "/api/v1/namespaces/bench/pods", pod(number).to_string().into()).await;
            }
        });
    }
    tasks.join_all().await;
}

async fn lists(cluster: &Cluster, target: &Target) {
    let mut connection = target.connect().await;
    let path = "/api/v1/namespaces/bench/pods";
    connection.call("GET", path, Bytes::new()).await;
    let (mut times, mut bytes, before, began) = (Vec::new(), 0, Usage::of(cluster), Instant::now());
    for _ in 0..LISTS {
        let began = Instant::now();
        bytes += connection.call("GET", path, Bytes::new()).await;
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    let (all, server) = (began.elapsed().as_secs_f64(), Usage::of(cluster).seconds - before.seconds);
    times.sort_by(f64::total_cmp);
    println!("bench: api.list10k.p50 {:.1} ms", quantile(&times, 0.5));
    println!("bench: api.list10k.p99 {:.1} ms", quantile(&times, 0.99));
    println!("bench: api.list10k.server {:.1} ms", server * 1e3 / LISTS as f64);
    println!("bench: api.list10k.bytes {:.0} MB/s", bytes as f64 / 1e6 / all);
}

/// The value below which this part of the sorted values lies.
fn quantile(sorted: &[f64], part: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * part).round() as usize]
}
