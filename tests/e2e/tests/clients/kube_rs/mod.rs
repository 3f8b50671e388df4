//! kube-rs, with which controllers are written in Rust: typed and dynamic objects, watchers, stores and controllers, and
//! the streams of pods.

mod custom;
mod objects;
mod pods;
mod watches;

use std::fmt::Debug;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Namespace;
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::Status;
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use skiff_e2e::Cluster;

/// How long anything may take that is not there at once.
const DEADLINE: Duration = Duration::from_secs(60);

/// The namespace of all that is made here.
const NAMESPACE: &str = "kube-rs";

/// Runs all of it on the first machine; what went otherwise than expected.
pub fn run(cluster: &Cluster) -> Vec<String> {
    let kubeconfig = cluster.kubeconfig();
    skiff_e2e::run_inside(cluster.machines().first(), || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let kubeconfig = Kubeconfig::read_from(kubeconfig).expect("the server has written it");
            let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
            let client = Client::try_from(config.expect("a configuration")).expect("a client");
            let namespaces = Api::<Namespace>::all(client.clone());
            let namespace = made(json!({"metadata": {"name": NAMESPACE}}));
            namespaces.create(&PostParams::default(), &namespace).await.expect("created");
            let parts = [
                ("objects", tokio::spawn(timed(objects::check(client.clone())))),
                ("watches", tokio::spawn(timed(watches::check(client.clone())))),
                ("custom", tokio::spawn(timed(custom::check(client.clone())))),
                ("pods", tokio::spawn(timed(pods::check(client)))),
            ];
            let mut failures = Vec::new();
            for (name, part) in parts {
                match part.await {
                    Ok(took) => eprintln!("kube-rs: {name}: {:.1} s", took.as_secs_f64()),
                    Err(err) => failures.push(format!("kube-rs: {name}: {err}")),
                }
            }
            failures
        })
    })
}

/// How long a part takes.
async fn timed(part: impl Future<Output = ()>) -> Duration {
    let start = Instant::now();
    part.await;
    start.elapsed()
}

/// An object of a kind.
fn made<K: DeserializeOwned>(document: Value) -> K {
    serde_json::from_value(document).expect("the document is of the kind")
}

/// Why the server has refused something, as a controller finds out.
#[track_caller]
fn refused<T: Debug>(result: kube::Result<T>, code: u16, reason: &str) -> Status {
    match result {
        Err(kube::Error::Api(status)) => {
            assert_eq!((status.code, status.reason.as_str()), (code, reason), "{status:?}");
            assert!(status.is_failure(), "{status:?}");
            *status
        }
        other => panic!("not refused by the server: {other:?}"),
    }
}

/// What comes in time.
async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(DEADLINE, future).await;
    waited.unwrap_or_else(|_| panic!("{what} did not come within {DEADLINE:?}"))
}
