//! The scheduler against the real API server: a pod with a claim of devices.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Node, Pod, ServiceAccount};
use k8s_openapi::api::resource::v1::{DeviceClass, ResourceClaim, ResourceSlice};
use kube::api::{Api, ObjectMeta, PostParams};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use skiff_scheduler::{Config, Scheduler};
use testkit::Cluster;

const DRIVER: &str = "gpu.example.com";

fn typed<K: DeserializeOwned>(object: Value) -> K {
    serde_json::from_value(object).expect("valid")
}

async fn create<K>(api: Api<K>, object: K)
where
    K: kube::Resource + Clone + DeserializeOwned + serde::Serialize + std::fmt::Debug,
{
    api.create(&PostParams::default(), &object).await.expect("created");
}

/// Waits for something; the test fails after ten minutes of paused time.
async fn until<T>(cluster: &Cluster, what: &str, condition: impl AsyncFn() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(600);
    loop {
        if let Some(found) = condition().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "never came: {what}");
        cluster.env.sleep(Duration::from_millis(100)).await;
    }
}

fn claim(name: &str) -> ResourceClaim {
    let request = json!({"name": "r", "exactly": {"deviceClassName": "gpu"}});
    typed(json!({"metadata": {"name": name}, "spec": {"devices": {"requests": [request]}}}))
}

fn pod(name: &str, claim: &str) -> Pod {
    let container = json!({"name": "c", "image": "image", "resources": {"claims": [{"name": "gpu"}]}});
    let entry = json!({"name": "gpu", "resourceClaimName": claim});
    // Nobody here says that new nodes are ready.
    let tolerations = [json!({"operator": "Exists"})];
    typed(json!({
        "metadata": {"name": name},
        "spec": {"containers": [container], "resourceClaims": [entry], "tolerations": tolerations},
    }))
}

#[tokio::test(start_paused = true)]
async fn a_pod_goes_where_its_devices_are_and_the_next_one_waits() {
    let mut cluster = Cluster::start().await;
    let client = cluster.client.clone();
    let (pods, claims): (Api<Pod>, Api<ResourceClaim>) =
        (Api::default_namespaced(client.clone()), Api::default_namespaced(client.clone()));
    let namespaces: Api<Namespace> = Api::all(client.clone());
    until(&cluster, "the namespace", async || namespaces.get_opt("default").await.expect("answered")).await;
    let account = ServiceAccount {
        metadata: ObjectMeta { name: Some("default".to_owned()), ..ObjectMeta::default() },
        ..ServiceAccount::default()
    };
    create(Api::default_namespaced(client.clone()), account).await;
    for name in ["n1", "n2"] {
        let node = testkit::node(name).ready().capacity(&[("cpu", "4"), ("memory", "8Gi"), ("pods", "110")]);
        create(Api::all(client.clone()), node.with(|node: &mut Node| node.metadata.uid = None).build()).await;
    }
    let class = json!({"metadata": {"name": "gpu"}, "spec": {}});
    create(Api::all(client.clone()), typed::<DeviceClass>(class)).await;
    create(claims.clone(), claim("one")).await;
    create(claims.clone(), claim("two")).await;
    let scheduler = client::Informers::new(cluster.client_of("system:kube-scheduler", &[]), cluster.env.clone());
    let drain = cluster.drain();
    let informers = scheduler.clone();
    cluster.tasks.spawn_fallible("informers", async move { informers.run(drain).await });
    let drain = cluster.drain();
    let scheduler = Scheduler::build(Config { identity: "test".to_owned() }, scheduler);
    cluster.tasks.spawn_fallible("scheduler", async move { scheduler.run(drain).await });

    // Devices may come after the pod.
    create(pods.clone(), pod("web", "one")).await;
    let waits = async |name: &str| {
        let conditions = pods.get(name).await.expect("there").status?.conditions?;
        conditions.into_iter().find(|one| one.reason.as_deref() == Some("Unschedulable")).and_then(|one| one.message)
    };
    let message = until(&cluster, "a refusal", async || waits("web").await).await;
    assert_eq!(message, "0/2 nodes are available: 2 cannot allocate all claims.");
    let pool = json!({"name": "n2", "generation": 1, "resourceSliceCount": 1});
    let spec = json!({"driver": DRIVER, "nodeName": "n2", "pool": pool, "devices": [{"name": "d0"}]});
    create(Api::all(client.clone()), typed::<ResourceSlice>(json!({"metadata": {"name": "s"}, "spec": spec}))).await;
    let node = async || pods.get("web").await.expect("there").spec.and_then(|spec| spec.node_name);
    assert_eq!(until(&cluster, "a node", node).await, "n2");
    let claim = claims.get("one").await.expect("there");
    assert_eq!(claim.metadata.finalizers.unwrap_or_default(), ["resource.kubernetes.io/delete-protection"]);
    let status = claim.status.expect("a status");
    assert_eq!(status.reserved_for.expect("users")[0].name, "web");
    let results = status.allocation.and_then(|one| one.devices).and_then(|one| one.results).expect("devices");
    assert_eq!((results[0].driver.as_str(), results[0].device.as_str()), (DRIVER, "d0"));

    create(pods.clone(), pod("late", "two")).await;
    until(&cluster, "a refusal", async || waits("late").await).await;
}
