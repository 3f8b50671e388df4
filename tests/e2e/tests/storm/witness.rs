//! Sees everything that becomes of pods.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::rc::Rc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use skiff_e2e::{Cluster, shims};

use crate::churn;

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
    /// Instances after which others were started, with what was said of these.
    restarted: BTreeMap<String, Value>,
    /// Instances of which nobody knew how they ended, or that ended badly though nobody had ended their pods.
    lost: BTreeMap<String, Value>,
    /// What was ready, and was not any more though nobody had ended it.
    turned: Vec<Value>,
    /// Since when the node is ready.
    ready_since: Option<Value>,
}

impl Witness {
    /// Begins to look.
    pub fn follow(client: Client) -> Self {
        let witness = Self::default();
        let seen = witness.0.clone();
        let pods = Api::<Pod>::default_namespaced(client.clone());
        tokio::task::spawn_local(follow(pods, move |pod, is_gone| seen.borrow_mut().note(pod, is_gone)));
        let seen = witness.0.clone();
        let nodes = Api::<Node>::all(client);
        tokio::task::spawn_local(follow(nodes, move |node, _| seen.borrow_mut().note_node(node)));
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
        let unasked = |ended: &BTreeMap<String, Value>| -> Vec<Value> {
            ended.iter().filter(|(id, _)| !killed.contains(*id)).map(|(_, said)| said.clone()).collect()
        };
        let (restarted, lost) = (unasked(&seen.restarted), unasked(&seen.lost));
        assert!(restarted.is_empty(), "these were started again: {restarted:#?}");
        assert!(lost.is_empty(), "these ended though nobody had ended them, or nobody knows how: {lost:#?}");
    }

    /// Fails where the node, or a pod that nobody touches, was not ready for a while; who said so stands in what is shown.
    #[track_caller]
    pub fn check_steady(&self) {
        let turned = &self.0.borrow().turned;
        assert!(turned.is_empty(), "not ready for a while:\n{turned:#?}");
    }
}

/// Shows everything that becomes of the objects of a kind.
async fn follow<K>(api: Api<K>, mut note: impl FnMut(Value, bool))
where
    K: kube::Resource + Clone + Debug + DeserializeOwned + Serialize + Send + 'static,
{
    let document = |object: K| serde_json::to_value(object).expect("objects are documents");
    let mut events = watcher(api, watcher::Config::default()).default_backoff().boxed();
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) => note(document(object), false),
            Ok(watcher::Event::Delete(object)) => note(document(object), true),
            _ => {}
        }
    }
}

impl Seen {
    fn note_node(&mut self, node: Value) {
        let conditions = node["status"]["conditions"].as_array().into_iter().flatten();
        let Some(ready) = conditions.into_iter().find(|condition| condition["type"] == "Ready") else { return };
        let since = json!([ready["status"], ready["lastTransitionTime"]]);
        if self.ready_since.as_ref().is_some_and(|known| *known != since) {
            self.turned.push(node.clone());
        }
        self.ready_since = Some(since);
    }

    fn note(&mut self, pod: Value, is_gone: bool) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (name, uid) = (text(&pod["metadata"]["name"]), text(&pod["metadata"]["uid"]));
        if is_gone {
            self.pods.remove(&name);
            return;
        }
        for status in statuses(&pod) {
            let instances = self.ran.entry((uid.clone(), text(&status["name"]))).or_default();
            if let Some(id) = running(status)
                && !instances.contains(&id)
            {
                instances.push(id);
            }
            let is_ending = !pod["metadata"]["deletionTimestamp"].is_null();
            for state in [&status["state"]["terminated"], &status["lastState"]["terminated"]] {
                let is_unknown = state["reason"] == "Unknown" || state["reason"] == "ContainerStatusUnknown";
                let is_bad = !is_ending && state["exitCode"].as_i64().is_some_and(|code| code != 0);
                // One that was not made yet when its pod was ended is unknown as well, by no name.
                let id = instances.last().filter(|_| state["containerID"].is_null()).cloned();
                let id = id.unwrap_or_else(|| plain(&state["containerID"]));
                if (is_unknown || is_bad) && !id.is_empty() {
                    self.lost.insert(id, json!({&name: status}));
                }
            }
            if status["restartCount"].as_u64().is_some_and(|count| count > 0) {
                let last = plain(&status["lastState"]["terminated"]["containerID"]);
                self.restarted.insert(last, json!({&name: status}));
            }
        }
        if !name.starts_with(churn::PREFIX) && self.pods.get(&name).is_some_and(is_settled) && !is_settled(&pod) {
            self.turned.push(pod.clone());
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
