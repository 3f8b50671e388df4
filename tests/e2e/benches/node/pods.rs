//! From the creation of pods to the status that says that they run.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::{DeleteParams, PostParams, WatchEvent, WatchParams};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use crate::peer::{Figures, percentile};

/// How many are started one after the other, and how many at once.
const SINGLE: usize = 100;
const AT_ONCE: usize = 100;

/// Does nothing until it is told to end.
pub const IDLE: &[&str] = &["sh", "-c", "trap 'exit 0' TERM; sleep 3600 & wait"];

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(120);

/// A pod of one container that runs a command of the example's image.
pub fn pod(name: &str, command: &[&str]) -> Pod {
    let container = json!({"name": "main", "image": "skiff.local/hello:1", "command": command});
    let spec = json!({"terminationGracePeriodSeconds": 5, "restartPolicy": "Never", "containers": [container]});
    serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).expect("a pod")
}

pub fn api(client: &Client) -> Api<Pod> {
    Api::namespaced(client.clone(), "default")
}

/// Starts one after the other, each alone on the node.
pub async fn one_by_one(client: &Client, figures: &mut Figures) {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
    await_condition(accounts, "default", conditions::is_created()).await.expect("it is watched");
    let mut times = Vec::new();
    for number in 0..SINGLE {
        let began = Instant::now();
        start(client, vec![pod(&format!("single-{number}"), IDLE)]).await;
        times.push(began.elapsed().as_secs_f64() * 1e3);
        remove_all(client).await;
    }
    figures.cost("pod-start-p50", percentile(times.clone(), 0.5), "ms");
    figures.cost("pod-start-p99", percentile(times, 0.99), "ms");
}

/// Starts many at once, and leaves them.
pub async fn at_once(client: &Client, figures: &mut Figures) {
    let began = Instant::now();
    start(client, (0..AT_ONCE).map(|number| pod(&format!("many-{number}"), IDLE)).collect()).await;
    figures.cost("pods-100", began.elapsed().as_secs_f64() * 1e3, "ms");
}

/// Creates pods and waits until all run.
pub async fn start(client: &Client, pods: Vec<Pod>) {
    let api = api(client);
    let mut waited: HashSet<String> = pods.iter().map(ResourceExt::name_any).collect();
    let version = api.list(&Default::default()).await.expect("listed").metadata.resource_version.unwrap_or_default();
    let watched = async {
        let mut events = Box::pin(api.watch(&WatchParams::default(), &version).await.expect("watched"));
        while !waited.is_empty() {
            let event = events.try_next().await.expect("it goes on").expect("it goes on");
            if let WatchEvent::Added(pod) | WatchEvent::Modified(pod) = event {
                let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
                if phase == Some("Running") {
                    waited.remove(&pod.name_any());
                }
            }
        }
    };
    let created = async {
        let parameters = PostParams::default();
        let all = pods.iter().map(|pod| api.create(&parameters, pod));
        futures::future::try_join_all(all).await.expect("created");
    };
    let both = async { tokio::join!(watched, created) };
    tokio::time::timeout(DEADLINE, both).await.expect("all pods run in time");
}

/// Deletes all pods and waits until they are gone.
pub async fn remove_all(client: &Client) {
    let api = api(client);
    api.delete_collection(&DeleteParams::default(), &Default::default()).await.expect("deleted");
    let gone = async {
        loop {
            let left = api.list(&Default::default()).await.expect("listed");
            if left.items.is_empty() {
                return;
            }
            let version = left.metadata.resource_version.unwrap_or_default();
            let events = api.watch(&WatchParams::default(), &version).await.expect("watched");
            let mut events = Box::pin(events);
            while let Some(event) = events.try_next().await.expect("it goes on") {
                if matches!(event, WatchEvent::Deleted(_)) {
                    break;
                }
            }
        }
    };
    tokio::time::timeout(DEADLINE, gone).await.expect("all pods end in time");
}
