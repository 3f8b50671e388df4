//! Quotas count what is there, and what goes is free again.

use k8s_openapi::api::core::v1::{ConfigMap, Pod, ResourceQuota};
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::{Value, json};

use crate::support::TestCluster;

fn typed<K: serde::de::DeserializeOwned>(object: Value) -> K {
    serde_json::from_value(object).expect("valid")
}

async fn limit(test: &TestCluster, hard: Value) {
    let quota: ResourceQuota = typed(json!({"metadata": {"name": "q"}, "spec": {"hard": hard}}));
    test.api::<ResourceQuota>().create(&PostParams::default(), &quota).await.expect("created");
}

/// Waits until so much of a resource is used.
async fn until_used(test: &TestCluster, resource: &str, expected: &str) {
    test.until::<ResourceQuota>("q", |quota| {
        let used = quota.status.as_ref().and_then(|status| status.used.as_ref());
        used.and_then(|used| used.get(resource)).is_some_and(|used| used.0 == expected)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_deleted_is_free_again() {
    let test = TestCluster::start(&[]).await;
    let maps: Api<ConfigMap> = test.api();
    let map = |name: &str| typed::<ConfigMap>(json!({"metadata": {"name": name}}));
    maps.create(&PostParams::default(), &map("a")).await.expect("created");
    // The root CA's certificate is in every namespace.
    test.until::<ConfigMap>("kube-root-ca.crt", |_| true).await;
    limit(&test, json!({"count/configmaps": "2"})).await;
    until_used(&test, "count/configmaps", "2").await;
    maps.create(&PostParams::default(), &map("b")).await.expect_err("there is room for one only");
    maps.delete("a", &DeleteParams::default()).await.expect("deleted");
    until_used(&test, "count/configmaps", "1").await;
    maps.create(&PostParams::default(), &map("b")).await.expect("created");
}

#[tokio::test(start_paused = true)]
async fn pods_that_ended_use_nothing() {
    let test = TestCluster::start(&[]).await;
    let pods: Api<Pod> = test.api();
    limit(&test, json!({"pods": "5", "requests.cpu": "1"})).await;
    until_used(&test, "requests.cpu", "0").await;
    let container = json!({"name": "c", "image": "image", "resources": {"requests": {"cpu": "600m"}}});
    let pod: Pod = typed(json!({"metadata": {"name": "p"}, "spec": {"containers": [container]}}));
    let mut created = pods.create(&PostParams::default(), &pod).await.expect("created");
    until_used(&test, "requests.cpu", "600m").await;
    created.status = typed(json!({"phase": "Succeeded"}));
    pods.replace_status("p", &PostParams::default(), &created).await.expect("reported");
    until_used(&test, "requests.cpu", "0").await;
    until_used(&test, "pods", "0").await;
}
