//! Where a behaviour is shown: a namespace of its own, and eyes on what becomes of its pods.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Event, Namespace, Node, Pod, ServiceAccount};
use kube::api::{AttachParams, DeleteParams, DynamicObject, ListParams, LogParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;
use kube::runtime::wait::{await_condition, conditions};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::sync::watch;

/// How long anything may take on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(300);

/// The image of all containers.
pub use skiff_e2e::IMAGE;

/// An image with an entrypoint, which prints `entrypoint:` and its arguments.
pub const PRINTER: &str = "skiff.local/hello:printer";

/// All that was seen of the cluster's pods, one after the other.
#[derive(Clone)]
pub struct Seen(Arc<Inner>);

struct Inner {
    /// By namespace and name: each state that the pod was in.
    pods: Mutex<HashMap<(String, String), Vec<Value>>>,
    /// Counts what was seen.
    count: watch::Sender<u64>,
}

impl Seen {
    /// Begins to look.
    pub fn follow(client: Client) -> Self {
        let seen = Self(Arc::new(Inner { pods: Mutex::default(), count: watch::channel(0).0 }));
        let inner = seen.clone();
        tokio::spawn(async move {
            let mut events = watcher(Api::<Pod>::all(client), watcher::Config::default()).default_backoff().boxed();
            while let Some(event) = events.next().await {
                match event {
                    Ok(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod)) => inner.note(&pod, false),
                    Ok(watcher::Event::Delete(pod)) => inner.note(&pod, true),
                    _ => {}
                }
            }
        });
        seen
    }

    fn note(&self, pod: &Pod, gone: bool) {
        let mut document = serde_json::to_value(pod).expect("pods are documents");
        document["gone"] = json!(gone);
        let text = |name: &Option<String>| name.clone().unwrap_or_default();
        let key = (text(&pod.metadata.namespace), text(&pod.metadata.name));
        self.lock().entry(key).or_default().push(document);
        self.0.count.send_modify(|count| *count += 1);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, String), Vec<Value>>> {
        self.0.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a behaviour is shown.
#[derive(Clone)]
pub struct Stage {
    /// The cluster.
    pub client: Client,
    /// Its namespace.
    pub namespace: String,
    seen: Seen,
}

impl Stage {
    pub fn new(client: Client, seen: Seen, namespace: String) -> Self {
        Self { client, namespace, seen }
    }

    /// The same in another namespace, which is not opened yet.
    pub fn beside(&self) -> Self {
        Self { namespace: format!("{}-other", self.namespace), ..self.clone() }
    }

    /// Makes the namespace, and waits until pods can be made in it.
    pub async fn open(&self) {
        let namespace = Namespace { metadata: named(&self.namespace), ..Namespace::default() };
        Api::all(self.client.clone()).create(&PostParams::default(), &namespace).await.expect("created");
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &self.namespace);
        let made = await_condition(accounts, "default", conditions::is_created());
        tokio::time::timeout(DEADLINE, made).await.expect("in time").expect("it is watched");
    }

    /// Asks for the end of what still runs.
    pub async fn close(&self) {
        let now = DeleteParams { grace_period_seconds: Some(1), ..DeleteParams::default() };
        self.pods().delete_collection(&now, &ListParams::default()).await.expect("deleted");
    }

    /// The node.
    pub async fn node(&self) -> Value {
        let node = Api::<Node>::all(self.client.clone()).get("first").await.expect("it is there");
        serde_json::to_value(node).expect("nodes are documents")
    }

    pub fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Objects of a kind, by group and version as in manifests; those of the namespace.
    pub fn objects(&self, api_version: &str, kind: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource(api_version, kind))
    }

    /// Makes an object; what became of it.
    pub async fn create(&self, object: Value) -> Value {
        self.try_create(object).await.expect("created")
    }

    /// Makes an object, which the server may refuse.
    pub async fn try_create(&self, object: Value) -> kube::Result<Value> {
        let text = |field: &str| object[field].as_str().expect("manifests say what they are").to_owned();
        let api = self.objects(&text("apiVersion"), &text("kind"));
        let object: DynamicObject = serde_json::from_value(object).expect("an object");
        let made = api.create(&PostParams::default(), &object).await?;
        Ok(serde_json::to_value(made).expect("objects are documents"))
    }

    /// Merges a patch into a pod, or into a subresource of it.
    pub async fn patch(&self, pod: &str, subresource: Option<&str>, patch: Value) -> Value {
        let (pods, params, patch) = (self.pods(), PatchParams::default(), Patch::Strategic(patch));
        let patched = match subresource {
            Some(subresource) => pods.patch_subresource(subresource, pod, &params, &patch).await,
            None => pods.patch(pod, &params, &patch).await,
        };
        serde_json::to_value(patched.expect("patched")).expect("pods are documents")
    }

    /// Asks for a pod's deletion.
    pub async fn delete(&self, pod: &str) {
        self.pods().delete(pod, &DeleteParams::default()).await.expect("deleted");
    }

    /// Every state that a pod was seen in.
    pub fn history(&self, pod: &str) -> Vec<Value> {
        let key = (self.namespace.clone(), pod.to_owned());
        self.seen.lock().get(&key).cloned().unwrap_or_default()
    }

    /// Waits until `accept` takes something of a pod's latest state.
    pub async fn until<T>(&self, pod: &str, what: &str, accept: impl Fn(&Value) -> Option<T>) -> T {
        let mut count = self.seen.0.count.subscribe();
        let waiting = async {
            loop {
                count.borrow_and_update();
                if let Some(found) = self.history(pod).last().and_then(&accept) {
                    return found;
                }
                count.changed().await.expect("the sender lives as long as the stage");
            }
        };
        match tokio::time::timeout(DEADLINE, waiting).await {
            Ok(found) => found,
            Err(_) => panic!("{pod}: timed out waiting for {what}: {}", self.told(pod).await),
        }
    }

    /// What a person would look at.
    pub async fn told(&self, pod: &str) -> String {
        let latest = self.history(pod).pop().unwrap_or_default();
        let events: Vec<String> = self.events(pod).await.iter().map(|event| event.1.clone()).collect();
        format!("{:#}\nevents: {events:#?}", latest["status"])
    }

    /// Reasons and messages of a pod's events.
    pub async fn events(&self, pod: &str) -> Vec<(String, String)> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let of_pod = ListParams::default().fields(&format!("involvedObject.name={pod}"));
        let list = events.list(&of_pod).await.expect("listed");
        let text = |text: Option<String>| text.unwrap_or_default();
        list.items.into_iter().map(|event| (text(event.reason), text(event.message))).collect()
    }

    /// Waits until a pod has a phase.
    pub async fn phase(&self, pod: &str, phase: &str) -> Value {
        let reached = |pod: &Value| (pod["status"]["phase"] == phase).then(|| pod.clone());
        self.until(pod, phase, reached).await
    }

    /// Waits until a pod is ready.
    pub async fn ready(&self, pod: &str) -> Value {
        self.until(pod, "ready", |pod| (condition(pod, "Ready")["status"] == "True").then(|| pod.clone())).await
    }

    /// Waits until a pod is gone.
    pub async fn gone(&self, pod: &str) {
        self.until(pod, "its end", |pod| (pod["gone"] == true).then_some(())).await;
    }

    /// What a container has printed.
    pub async fn log(&self, pod: &str, container: &str) -> String {
        let params = LogParams { container: Some(container.to_owned()), ..LogParams::default() };
        self.pods().logs(pod, &params).await.expect("the log can be read")
    }

    /// Waits until what a container prints is as it should be.
    pub async fn printed(&self, pod: &str, what: &str, accept: impl Fn(&str) -> bool) -> String {
        let mut last = String::new();
        let look = async || {
            // A container that has not started has no log.
            last = self.pods().logs(pod, &LogParams::default()).await.unwrap_or_default();
            accept(&last).then(|| last.clone())
        };
        let found = testkit::poll_async(DEADLINE, look).await;
        match found {
            Some(text) => text,
            None => panic!("{pod}: did not print {what}: {last}\n{}", self.told(pod).await),
        }
    }

    /// Runs a command in a pod's container `main`; what it printed.
    pub async fn exec(&self, pod: &str, command: &[&str]) -> String {
        self.exec_in(pod, "main", command).await
    }

    /// Runs a command in a container; what it printed.
    pub async fn exec_in(&self, pod: &str, container: &str, command: &[&str]) -> String {
        let params = AttachParams::default().container(container);
        let mut process = self.pods().exec(pod, command.to_vec(), &params).await.expect("it starts");
        let mut text = String::new();
        let read = async {
            process.stdout().expect("it is attached").read_to_string(&mut text).await.expect("text");
        };
        tokio::time::timeout(DEADLINE, read).await.expect("it ends");
        text
    }
}

fn named(name: &str) -> kube::api::ObjectMeta {
    kube::api::ObjectMeta { name: Some(name.to_owned()), ..kube::api::ObjectMeta::default() }
}

/// A resource by group and version as in manifests, and kind.
pub fn resource(api_version: &str, kind: &str) -> ApiResource {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}

/// A condition of a pod; null where it has none of the type.
pub fn condition<'a>(pod: &'a Value, type_: &str) -> &'a Value {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().find(|condition| condition["type"] == type_).unwrap_or(&Value::Null)
}

/// The status of a container of a pod, whichever of its lists it is in; null where it has none.
pub fn container<'a>(pod: &'a Value, name: &str) -> &'a Value {
    let lists = ["initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"];
    let mut all = lists.iter().flat_map(|list| pod["status"][list].as_array().into_iter().flatten());
    all.find(|status| status["name"] == name).unwrap_or(&Value::Null)
}

/// A pod of one container named `main`, which is not started again; `more` is laid over the container.
pub fn pod(name: &str, more: Value) -> Value {
    let container = with(json!({"name": "main", "image": IMAGE}), more);
    let spec = json!({"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container]});
    skiff_e2e::pod(name, &spec)
}

/// The command of a container that runs a script.
pub fn script(text: &str) -> Value {
    json!(["sh", "-c", text])
}

/// A document with another one merged over it.
pub fn with(mut document: Value, over: Value) -> Value {
    match (&mut document, over) {
        (Value::Object(fields), Value::Object(over)) => {
            for (name, value) in over {
                let old = fields.remove(&name).unwrap_or_default();
                fields.insert(name, with(old, value));
            }
            document
        }
        (_, over) => over,
    }
}

/// Why the server has refused something.
#[track_caller]
pub fn refused<T: Debug>(result: kube::Result<T>, code: u16) -> String {
    match result {
        Err(kube::Error::Api(status)) => {
            assert_eq!(status.code, code, "{status:?}");
            status.message.clone()
        }
        other => panic!("not refused by the server: {other:?}"),
    }
}
