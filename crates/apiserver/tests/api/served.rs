//! `--runtime-config` and `--feature-gates`: which versions are served, and which fields are kept.

use serde_json::{Value, json};

use crate::samples::{path, sample};
use crate::support::Cluster;

async fn cluster(runtime_config: &str, feature_gates: &str) -> Cluster {
    Cluster::start_with(|config| {
        config.runtime_config = runtime_config.parse().expect("settings");
        config.feature_gates = feature_gates.parse().expect("settings");
    })
    .await
}

/// Makes an object of every kind of a stability, which has to be served.
async fn make_all(runtime_config: &str, stability: api::kinds::Stability, others: u16) {
    let cluster = cluster(runtime_config, "").await;
    for resource in api::kinds::all().iter().filter(|resource| resource.is_stored()) {
        let (group, version, plural) = (&*resource.group, &*resource.version, &*resource.plural);
        let path = path(group, version, plural);
        if resource.stability == api::kinds::Stability::Stable {
            cluster.get(&path).await.expect(200);
            continue;
        }
        if resource.stability != stability {
            cluster.get(&path).await.expect(others);
            continue;
        }
        let object = sample(&cluster, group, version, plural);
        let made = cluster.post(&path, object).await.expect(201);
        let api_version = format!("{group}/{version}");
        assert_eq!((&made["apiVersion"], &made["kind"]), (&json!(api_version), &json!(resource.kind)), "{made}");
        let name = made["metadata"]["name"].as_str().expect("a name");
        let one = format!("{path}/{name}");
        assert_eq!(cluster.get(&one).await.expect(200), made, "{one}");
        let list = cluster.get(&path).await.expect(200);
        assert_eq!(list["kind"], json!(resource.list_kind), "{path}");
        let listed = cluster.get(&format!("/apis/{api_version}")).await.expect(200);
        let is_listed = |listed: &Value| {
            listed["resources"].as_array().is_some_and(|all| all.iter().any(|each| each["name"] == plural))
        };
        assert!(is_listed(&listed), "{api_version} {plural}");
        cluster.delete(&one).await.expect(200);
    }
}

#[tokio::test]
async fn beta_versions_are_served_when_they_are_asked_for() {
    make_all("api/beta=true", api::kinds::Stability::Beta, 404).await;
}

#[tokio::test]
async fn alpha_versions_are_served_when_they_are_asked_for() {
    make_all("api/alpha=true", api::kinds::Stability::Alpha, 404).await;
}

#[tokio::test]
async fn a_version_that_is_switched_off_is_gone() {
    let cluster = cluster("batch/v1=false,autoscaling/v1=false,apps/v1/daemonsets=false", "").await;
    for path in ["/apis/batch", "/apis/batch/v1", "/apis/batch/v1/namespaces/default/jobs", "/apis/autoscaling/v1"] {
        cluster.get(path).await.expect(404);
    }
    let autoscaling = cluster.get("/apis/autoscaling").await.expect(200);
    let versions: Vec<&Value> =
        autoscaling["versions"].as_array().into_iter().flatten().map(|each| &each["version"]).collect();
    assert_eq!(versions, [&json!("v2")]);
    let groups = cluster.get("/apis").await.expect(200);
    assert!(groups["groups"].as_array().is_some_and(|all| all.iter().all(|group| group["name"] != "batch")));
    cluster.get("/apis/apps/v1/namespaces/default/deployments").await.expect(200);
    cluster.get("/apis/apps/v1/namespaces/default/daemonsets").await.expect(404);
}

/// A pod with fields of features that are off by default.
fn pod(name: &str) -> Value {
    let stop = json!({"stopSignal": "SIGINT"});
    json!({"metadata": {"name": name}, "spec": {
        "os": {"name": "linux"}, "workloadRef": {"name": "w", "podGroup": "g"},
        "containers": [{"name": "c", "image": "i", "lifecycle": stop}]}})
}

#[tokio::test]
async fn fields_of_features_that_are_off_are_not_kept() {
    let pods = "/api/v1/namespaces/default/pods";
    let account = json!({"metadata": {"name": "default"}});
    let off = cluster("", "").await;
    off.post("/api/v1/namespaces/default/serviceaccounts", account.clone()).await.expect(201);
    let made = off.post(pods, pod("p")).await.expect(201);
    assert_eq!(
        (made["spec"].get("workloadRef"), made["spec"]["containers"][0].get("lifecycle")),
        (None, None),
        "{made}"
    );
    assert_eq!(off.get(&format!("{pods}/p")).await.expect(200)["spec"], made["spec"]);

    let on = cluster("", "GenericWorkload=true,ContainerStopSignals=true").await;
    on.post("/api/v1/namespaces/default/serviceaccounts", account).await.expect(201);
    let made = on.post(pods, pod("p")).await.expect(201);
    assert_eq!(made["spec"]["workloadRef"], json!({"name": "w", "podGroup": "g"}), "{made}");
    assert_eq!(made["spec"]["containers"][0]["lifecycle"], json!({"stopSignal": "SIGINT"}), "{made}");
    // What was there before the feature was switched off stays, and can still be changed around.
    let then = on.restart_with(|config| config.feature_gates = "".parse().expect("settings")).await;
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    let kept = then.patch(&format!("{pods}/p"), "application/merge-patch+json", label).await.expect(200);
    assert_eq!(kept["spec"], made["spec"]);
}

#[tokio::test]
async fn a_dropped_field_begins_no_generation() {
    let cluster = cluster("", "").await;
    let path = "/apis/apps/v1/namespaces/default/deployments";
    let labels = json!({"a": "b"});
    let template = json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let set = json!({"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": labels}, "template": template}});
    cluster.post(path, set).await.expect(201);
    let change = json!({"spec": {"template": {"spec": {"workloadRef": {"name": "w", "podGroup": "g"}}}}});
    let changed = cluster.patch(&format!("{path}/d"), "application/merge-patch+json", change).await.expect(200);
    assert_eq!(changed["metadata"]["generation"], 1, "{changed}");
}
