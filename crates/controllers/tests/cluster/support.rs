//! A cluster with controllers, and stand-ins for scheduler and kubelets.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use client::{Event, Informers, ObjectKey, objects};
use k8s_openapi::api::core::v1::{Binding, Node, ObjectReference, Pod};
use kube::api::{Api, DeleteParams, ObjectMeta, Patch, PatchParams, PostParams};
use serde::de::DeserializeOwned;
use serde_json::json;
use skiff_controllers::{Config, ControllerManager};
use testkit::Cluster;

/// A cluster with all controllers, and nodes on which every pod runs at once.
pub(crate) struct TestCluster {
    pub(crate) cluster: Cluster,
    /// The nodes whose kubelets work; pods are bound to the first of them.
    alive: Arc<Mutex<Vec<String>>>,
}

impl TestCluster {
    /// Starts it with these nodes.
    pub(crate) async fn start(nodes: &[&str]) -> Self {
        Self::start_with(nodes, Config::default()).await
    }

    pub(crate) async fn start_with(nodes: &[&str], config: Config) -> Self {
        Self::start_on(Cluster::start().await, nodes, config).await
    }

    /// Starts the controllers of a cluster.
    pub(crate) async fn start_on(mut cluster: Cluster, nodes: &[&str], config: Config) -> Self {
        let root_ca = config.root_ca.unwrap_or_else(|| tokio::sync::watch::channel("certificate".to_owned()).1);
        let networks = ["10.42.0.0/16", "fd42::/56"].map(|network| network.parse().expect("a network"));
        let config = Config {
            root_ca: Some(root_ca),
            cluster_cidr: Some(base::Networks::new(&networks).expect("one of each family")),
            service_account_keys: Some(Arc::new(cluster.service_account_keys())),
            ..config
        };
        let client = cluster.client_of("system:kube-controller-manager", &[]);
        let manager = ControllerManager::build(config, client, cluster.accounts(), cluster.informers.clone());
        let drain = cluster.drain();
        cluster.tasks.spawn_fallible("controllers", manager.expect("a valid configuration").run(drain));
        let alive = Arc::new(Mutex::new(nodes.iter().map(|name| (*name).to_owned()).collect()));
        let this = Self { cluster, alive };
        for name in nodes {
            let node = testkit::node(name).ready().with(|node| node.metadata.uid = None).build();
            this.api_all::<Node>().create(&PostParams::default(), &node).await.expect("node created");
        }
        let (informers, alive, drain) = (this.cluster.informers.clone(), Arc::clone(&this.alive), this.cluster.drain());
        let mut this = this;
        this.cluster.tasks.spawn("nodes", async move {
            drain.until(run_pods(informers, alive)).await;
        });
        this
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        Api::namespaced(self.cluster.client.clone(), "default")
    }

    pub(crate) fn api_all<K: kube::Resource<DynamicType = ()>>(&self) -> Api<K> {
        Api::all(self.cluster.client.clone())
    }

    /// The kubelet of a node ends without a word.
    pub(crate) fn kill_node(&self, name: &str) {
        self.alive.lock().expect("not poisoned").retain(|alive| alive != name);
    }

    /// Waits until `check` gives something; the test fails after ten minutes of paused time.
    pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(&self, what: &str, check: impl Fn() -> F) -> T {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(600);
        loop {
            if let Some(found) = check().await {
                return found;
            }
            assert!(tokio::time::Instant::now() < deadline, "never came: {what}");
            self.cluster.env.sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until an object of the namespace `default` fulfils `wanted`.
    pub(crate) async fn until<K>(&self, name: &str, wanted: impl Fn(&K) -> bool) -> K
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
    {
        let (api, wanted) = (&self.api::<K>(), &wanted);
        self.eventually(name, || async move { api.get(name).await.ok().filter(wanted) }).await
    }
}

/// An object as a client would send it: a maker's, without what the server gives.
pub(crate) fn fresh<K: kube::Resource<DynamicType = ()>>(maker: testkit::Maker<K>) -> K {
    maker
        .with(|object| {
            let meta = object.meta_mut();
            *meta = ObjectMeta { uid: None, creation_timestamp: None, generation: None, ..std::mem::take(meta) };
        })
        .build()
}

/// Binds new pods to the first node that is alive, makes bound ones run and be ready, lets deleted ones end.
async fn run_pods(informers: Informers, alive: Arc<Mutex<Vec<String>>>) {
    let client = informers.client().clone();
    let mut events = informers.of::<Pod>().subscribe();
    let mut count = 0;
    loop {
        let pod = match events.next().await {
            Event::Added(pod) | Event::Updated { new: pod, .. } => pod,
            Event::Deleted(_) => continue,
        };
        let key = ObjectKey::of(&*pod);
        let api: Api<Pod> = Api::namespaced(client.clone(), key.namespace());
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
        let alive = alive.lock().expect("not poisoned").clone();
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        match node {
            None => {
                let Some(first) = alive.first() else { continue };
                let binding = Binding {
                    metadata: ObjectMeta { name: Some(key.name.clone()), ..ObjectMeta::default() },
                    target: ObjectReference {
                        kind: Some("Node".to_owned()),
                        name: Some(first.clone()),
                        ..ObjectReference::default()
                    },
                };
                note(
                    "bind",
                    api.create_subresource::<_, serde_json::Value>(
                        "binding",
                        &key.name,
                        &PostParams::default(),
                        &binding,
                    )
                    .await,
                );
            }
            Some(node) if !alive.contains(&node) => {}
            Some(_) if objects::is_deleting(&*pod) => {
                let now = DeleteParams { grace_period_seconds: Some(0), ..objects::delete_uid(objects::uid(&*pod)) };
                note("end", api.delete(&key.name, &now).await);
            }
            Some(_) if phase == Some("Pending") => {
                count += 1;
                let ip = format!("10.42.{}.{}", count / 250, count % 250 + 1);
                let now = informers.env().now();
                let status = json!({ "status": {
                    "phase": "Running", "podIP": ip, "podIPs": [{ "ip": ip }], "startTime": now.to_string(),
                    "conditions": [{ "type": "Ready", "status": "True", "lastTransitionTime": now.to_string() }],
                } });
                note("run", api.patch_status(&key.name, &PatchParams::default(), &Patch::Strategic(status)).await);
            }
            Some(_) => {}
        }
    }
}

/// Failures are mostly conflicts with changes that come as events of their own; shown where a test then fails.
fn note<T>(action: &str, result: Result<T, kube::Error>) {
    if let Err(err) = result {
        println!("cannot {action} pod: {}", objects::message(&err));
    }
}
