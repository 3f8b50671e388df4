//! Sees everything that becomes of pods.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use serde_json::Value;
use skiff_e2e::{Cluster, shims};

/// How long it may take until everything is as it should be; containers whose shims were killed again and again have to
/// wait for their turn.
const SETTLED: Duration = Duration::from_secs(180);

/// What was seen.
#[derive(Clone, Default)]
pub struct Witness(Rc<RefCell<Seen>>);

#[derive(Default)]
struct Seen {
    /// By name, as they are.
    pods: BTreeMap<String, Value>,
    /// By UID and name of the container: the instances that were seen running, in their order.
    ran: BTreeMap<(String, String), Vec<String>>,
    /// Instances of which nobody knew how they ended.
    lost: BTreeSet<String>,
}

impl Witness {
    /// Begins to look.
    pub fn follow(client: Client) -> Self {
        let witness = Self::default();
        let seen = witness.0.clone();
        tokio::task::spawn_local(async move {
            let all = Api::<Pod>::default_namespaced(client);
            let mut events = watcher(all, watcher::Config::default()).default_backoff().boxed();
            while let Some(event) = events.next().await {
                match event {
                    Ok(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod)) => {
                        seen.borrow_mut().note(serde_json::to_value(pod).expect("pods are documents"));
                    }
                    Ok(watcher::Event::Delete(pod)) => {
                        seen.borrow_mut().pods.remove(&pod.metadata.name.unwrap_or_default());
                    }
                    _ => {}
                }
            }
        });
        witness
    }

    /// A pod as it is.
    pub fn pod(&self, name: &str) -> Option<Value> {
        self.0.borrow().pods.get(name).cloned()
    }

    /// How many pods are on their way in or out.
    pub fn moving(&self) -> usize {
        self.0.borrow().pods.values().filter(|pod| !is_settled(pod)).count()
    }

    /// Waits until every pod is as it should be, and the node runs what the API says and nothing else.
    pub async fn settle(&self, cluster: &Cluster) {
        let settled = testkit::poll_async(SETTLED, async || self.unsettled(cluster).is_empty().then_some(())).await;
        assert!(settled.is_some(), "not as it should be:\n{}", self.unsettled(cluster).join("\n"));
    }

    fn unsettled(&self, cluster: &Cluster) -> Vec<String> {
        let seen = self.0.borrow();
        let moving = seen.pods.iter().filter(|(_, pod)| !is_settled(pod));
        let mut wrong: Vec<String> = moving.map(|(name, pod)| format!("{name}: {}", pod["status"])).collect();
        let said: BTreeSet<String> = seen.pods.values().flat_map(statuses).filter_map(running).collect();
        let there: BTreeSet<String> = shims(&cluster.run_dir()).into_iter().map(|shim| shim.container).collect();
        wrong.extend(said.difference(&there).map(|id| format!("{id} is said to run and does not")));
        wrong.extend(there.difference(&said).map(|id| format!("{id} runs and nobody knows")));
        let live = seen.pods.values().filter(|pod| pod["status"]["phase"] == "Running");
        let mut said: Vec<&str> = live.filter_map(|pod| pod["status"]["podIP"].as_str()).collect();
        said.sort_unstable();
        let given = addresses(cluster);
        if said != given {
            wrong.push(format!("pods have the addresses {said:?}, {given:?} are given out"));
        }
        wrong
    }

    /// Fails where a container was started again, or nobody knew how it ended, and its shim was not killed.
    #[track_caller]
    pub fn check_restarts(&self, killed: &BTreeSet<String>) {
        let seen = self.0.borrow();
        for ((_, container), instances) in &seen.ran {
            // The last one runs, or ended with its pod.
            for instance in instances.iter().rev().skip(1) {
                assert!(killed.contains(instance), "{container} was started again: {instances:?}");
            }
        }
        let lost: Vec<_> = seen.lost.difference(killed).collect();
        assert!(lost.is_empty(), "nobody knows how these ended: {lost:?}");
    }
}

impl Seen {
    fn note(&mut self, pod: Value) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (name, uid) = (text(&pod["metadata"]["name"]), text(&pod["metadata"]["uid"]));
        for status in statuses(&pod) {
            let instances = self.ran.entry((uid.clone(), text(&status["name"]))).or_default();
            if let Some(id) = running(status)
                && !instances.contains(&id)
            {
                instances.push(id);
            }
            for state in [&status["state"]["terminated"], &status["lastState"]["terminated"]] {
                if state["reason"] == "Unknown" || state["reason"] == "ContainerStatusUnknown" {
                    self.lost.insert(plain(&state["containerID"]));
                }
            }
        }
        self.pods.insert(name, pod);
    }
}

/// The addresses that the node has given out.
fn addresses(cluster: &Cluster) -> Vec<String> {
    let entries = std::fs::read_dir(cluster.run_dir().join("network/sandboxes")).expect("listed").flatten();
    let read = |entry: std::fs::DirEntry| {
        let reservation: Value = serde_json::from_slice(&std::fs::read(entry.path()).ok()?).ok()?;
        Some(reservation["ips"][0].as_str()?.to_owned())
    };
    let mut all: Vec<String> = entries.filter_map(read).collect();
    all.sort_unstable();
    all
}

/// The statuses of all containers.
fn statuses(pod: &Value) -> impl Iterator<Item = &Value> {
    let lists = ["initContainerStatuses", "containerStatuses"];
    lists.into_iter().flat_map(|list| pod["status"][list].as_array().into_iter().flatten())
}

/// The instance that runs, if one does.
fn running(status: &Value) -> Option<String> {
    (!status["state"]["running"].is_null()).then(|| plain(&status["containerID"]))
}

/// A container's identifier without the runtime's name.
fn plain(id: &Value) -> String {
    let id = id.as_str().unwrap_or_default();
    id.split_once("://").map_or(id, |(_, id)| id).to_owned()
}

/// Whether a pod is where it is to stay: ready, or through.
fn is_settled(pod: &Value) -> bool {
    if !pod["metadata"]["deletionTimestamp"].is_null() {
        return false;
    }
    let ready = |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
    match pod["status"]["phase"].as_str() {
        Some("Running") => pod["status"]["conditions"].as_array().is_some_and(|all| all.iter().any(ready)),
        Some("Succeeded" | "Failed") => true,
        _ => false,
    }
}
