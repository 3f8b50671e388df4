//! Quotas, limit ranges and classes: what is completed and what is refused when objects come.

use crate::support::Cluster;
use serde_json::{Value, json};

const MERGE: &str = "application/merge-patch+json";
const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";
const QUOTAS: &str = "/api/v1/namespaces/default/resourcequotas";
const SERVICES: &str = "/api/v1/namespaces/default/services";

/// Makes a quota that counts, with nothing used, as its controller would.
async fn limit(cluster: &Cluster, name: &str, hard: Value) {
    cluster.post(QUOTAS, json!({"metadata": {"name": name}, "spec": {"hard": hard}})).await.expect(201);
    let used: serde_json::Map<String, Value> =
        hard.as_object().expect("a map").keys().map(|name| (name.clone(), "0".into())).collect();
    let status = json!({"status": {"hard": hard, "used": used}});
    cluster.patch(&format!("{QUOTAS}/{name}/status"), MERGE, status).await.expect(200);
    // A list is as new as the write, so the cache has it after this.
    cluster.get(QUOTAS).await.expect(200);
}

#[track_caller]
fn check_used(quota: &Value, resource: &str, expected: &str) {
    assert_eq!(quota["status"]["used"][resource], expected, "{quota}");
}

#[tokio::test]
async fn requests_at_once_use_no_more_than_there_is() {
    let cluster = Cluster::start().await;
    limit(&cluster, "a", json!({"count/configmaps": "5"})).await;
    limit(&cluster, "b", json!({"configmaps": "3"})).await;
    let requests = (0..12).map(|n| cluster.post(CONFIG_MAPS, json!({"metadata": {"name": format!("c{n}")}})));
    futures::future::join_all(requests).await;
    let list = cluster.get(CONFIG_MAPS).await.expect(200);
    assert_eq!(list["items"].as_array().map(Vec::len), Some(3));
    check_used(&cluster.get(&format!("{QUOTAS}/b")).await.expect(200), "configmaps", "3");
    // What one quota refused was given back to the other.
    check_used(&cluster.get(&format!("{QUOTAS}/a")).await.expect(200), "count/configmaps", "3");
}

#[tokio::test]
async fn what_is_not_written_uses_nothing() {
    let cluster = Cluster::start().await;
    limit(&cluster, "q", json!({"configmaps": "2"})).await;
    let a = json!({"metadata": {"name": "a"}});
    cluster.post(&format!("{CONFIG_MAPS}?dryRun=All"), a.clone()).await.expect(201);
    cluster.post(CONFIG_MAPS, a.clone()).await.expect(201);
    cluster.post(CONFIG_MAPS, a).await.expect(409);
    cluster.post(CONFIG_MAPS, json!({"metadata": {"name": "-"}})).await.expect(422);
    check_used(&cluster.get(&format!("{QUOTAS}/q")).await.expect(200), "configmaps", "1");
}

#[tokio::test]
async fn changes_use_what_they_add() {
    let cluster = Cluster::start().await;
    limit(&cluster, "q", json!({"services": "1", "services.nodeports": "1"})).await;
    let ports = |count: i64| (0..count).map(|n| json!({"name": format!("p{n}"), "port": 80 + n})).collect::<Vec<_>>();
    let service = json!({"metadata": {"name": "s"}, "spec": {"ports": ports(1)}});
    cluster.post(SERVICES, service).await.expect(201);
    let path = format!("{SERVICES}/s");
    cluster.patch(&path, MERGE, json!({"spec": {"type": "NodePort"}})).await.expect(200);
    check_used(&cluster.get(&format!("{QUOTAS}/q")).await.expect(200), "services.nodeports", "1");
    let refused = cluster.patch(&path, MERGE, json!({"spec": {"ports": ports(2)}})).await.expect(403);
    let why = "services \"s\" is forbidden: exceeded quota: q, requested: services.nodeports=1, used: \
               services.nodeports=1, limited: services.nodeports=1";
    assert_eq!(refused["message"], why);
}

/// A cluster in which nobody uses processors nor has the high priority without a quota for it.
async fn limited() -> Cluster {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("admission.yaml");
    let text = r#"
apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- name: ResourceQuota
  configuration:
    apiVersion: apiserver.config.k8s.io/v1
    kind: ResourceQuotaConfiguration
    limitedResources:
    - resource: pods
      matchContains: [cpu]
      matchScopes:
      - {scopeName: PriorityClass, operator: In, values: [high]}
"#;
    std::fs::write(&file, text).expect("written");
    let admission = skiff_apiserver::load_admission_configuration(&file).expect("a configuration");
    let cluster = Cluster::start_with(move |config| config.admission = admission).await;
    cluster.post("/api/v1/namespaces/default/serviceaccounts", json!({"metadata": {"name": "default"}})).await;
    let class = json!({"metadata": {"name": "high"}, "value": 100});
    cluster.post("/apis/scheduling.k8s.io/v1/priorityclasses", class).await.expect(201);
    cluster
}

#[tokio::test]
async fn what_is_limited_needs_a_quota() {
    let cluster = limited().await;
    let pods = "/api/v1/namespaces/default/pods";
    let pod = |name: &str, requests: Value, class: Value| {
        let container = json!({"name": "a", "image": "a", "resources": {"requests": requests}});
        json!({"metadata": {"name": name}, "spec": {"containers": [container], "priorityClassName": class}})
    };
    let cpu = || json!({"cpu": "1"});
    cluster.post(pods, pod("idle", json!({}), Value::Null)).await.expect(201);
    let refused = cluster.post(pods, pod("busy", cpu(), Value::Null)).await.expect(403);
    let why = "pods \"busy\" is forbidden: insufficient quota to consume: cpu,requests.cpu";
    assert_eq!(refused["message"], why);
    let refused = cluster.post(pods, pod("high", json!({}), json!("high"))).await.expect(500);
    assert_eq!(refused["message"], "insufficient quota to match these scopes: [{PriorityClass In [high]}]");
    // A quota for part of it is not enough.
    limit(&cluster, "requests", json!({"requests.cpu": "2"})).await;
    let refused = cluster.post(pods, pod("busy", cpu(), Value::Null)).await.expect(403);
    assert_eq!(refused["message"], "pods \"busy\" is forbidden: insufficient quota to consume: cpu");
    limit(&cluster, "all", json!({"cpu": "2"})).await;
    cluster.post(pods, pod("busy", cpu(), Value::Null)).await.expect(201);
    let terms = json!([{"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]);
    let spec = json!({"hard": {"pods": "1"}, "scopeSelector": {"matchExpressions": terms}});
    cluster.post(QUOTAS, json!({"metadata": {"name": "high"}, "spec": spec})).await.expect(201);
    let status = json!({"status": {"hard": {"pods": "1"}, "used": {"pods": "0"}}});
    cluster.patch(&format!("{QUOTAS}/high/status"), MERGE, status).await.expect(200);
    cluster.get(QUOTAS).await.expect(200);
    cluster.post(pods, pod("high", cpu(), json!("high"))).await.expect(201);
    check_used(&cluster.get(&format!("{QUOTAS}/high")).await.expect(200), "pods", "1");
}

#[tokio::test]
async fn claims_grow_only_where_their_class_allows_it() {
    let cluster = Cluster::start().await;
    let default = json!({"storageclass.kubernetes.io/is-default-class": "true"});
    for (name, annotations, allows) in [("grows", default, true), ("stays", json!({}), false)] {
        let class = json!({
            "metadata": {"name": name, "annotations": annotations}, "provisioner": "x.io/p", "allowVolumeExpansion": allows,
        });
        cluster.post("/apis/storage.k8s.io/v1/storageclasses", class).await.expect(201);
    }
    cluster.get("/apis/storage.k8s.io/v1/storageclasses").await.expect(200);
    let spec = |size: &str| json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}});
    let created = cluster.post(CLAIMS, json!({"metadata": {"name": "a"}, "spec": spec("1Gi")})).await.expect(201);
    assert_eq!(created["spec"]["storageClassName"], "grows");
    let mut named = json!({"metadata": {"name": "b"}, "spec": spec("1Gi")});
    named["spec"]["storageClassName"] = "stays".into();
    cluster.post(CLAIMS, named).await.expect(201);
    let grow = json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}});
    for (name, status) in [("a", 200), ("b", 403)] {
        let path = format!("{CLAIMS}/{name}");
        cluster.patch(&path, MERGE, grow.clone()).await.expect(422);
        cluster.patch(&format!("{path}/status"), MERGE, json!({"status": {"phase": "Bound"}})).await.expect(200);
        cluster.patch(&path, MERGE, grow.clone()).await.expect(status);
    }
}
