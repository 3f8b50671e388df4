//! Evictions, bindings and resizes of pods.

use serde_json::{Value, json};

use crate::support::Cluster;

const NS: &str = "/api/v1/namespaces/default";
const MERGE: &str = "application/merge-patch+json";

/// A cluster with a node and pods of this status on it.
async fn cluster(pods: &[(&str, Value)]) -> Cluster {
    let cluster = Cluster::start().await;
    cluster.post(&format!("{NS}/serviceaccounts"), json!({"metadata": {"name": "default"}})).await.expect(201);
    let labels = json!({"topology.kubernetes.io/zone": "z", "topology.kubernetes.io/region": "r", "other": "o"});
    cluster.post("/api/v1/nodes", json!({"metadata": {"name": "n", "labels": labels}})).await.expect(201);
    for (name, status) in pods {
        let container = json!({"name": "c", "image": "i:1", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}});
        let metadata = json!({"name": name, "labels": {"app": "a"}});
        cluster
            .post(&format!("{NS}/pods"), json!({"metadata": metadata, "spec": {"containers": [container]}}))
            .await
            .expect(201);
        let binding = json!({"metadata": {"name": name}, "target": {"kind": "Node", "name": "n"}});
        cluster.post(&format!("{NS}/pods/{name}/binding"), binding).await.expect(201);
        cluster.patch(&format!("{NS}/pods/{name}/status"), MERGE, json!({"status": status})).await.expect(200);
    }
    cluster
}

async fn budget(cluster: &Cluster, spec: Value, status: Value) {
    let path = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let mut budget =
        json!({"metadata": {"name": "b"}, "spec": {"selector": {"matchLabels": {"app": "a"}}, "minAvailable": 1}});
    for (key, value) in spec.as_object().into_iter().flatten() {
        budget["spec"][key] = value.clone();
    }
    cluster.post(path, budget).await.expect(201);
    cluster.patch(&format!("{path}/b/status"), MERGE, json!({"status": status})).await.expect(200);
}

async fn evict(cluster: &Cluster, pod: &str, code: u16) -> Value {
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}});
    cluster.post(&format!("{NS}/pods/{pod}/eviction"), eviction).await.expect(code)
}

fn running(ready: &str) -> Value {
    json!({"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]})
}

#[tokio::test]
async fn an_eviction_takes_a_disruption_and_says_why_the_pod_goes() {
    let cluster = cluster(&[("one", running("True")), ("two", running("True"))]).await;
    let status = json!({
        "observedGeneration": 1, "disruptionsAllowed": 1, "currentHealthy": 2, "desiredHealthy": 1, "expectedPods": 2,
    });
    budget(&cluster, json!({}), status).await;
    evict(&cluster, "one", 201).await;
    let pod = cluster.get(&format!("{NS}/pods/one")).await.expect(200);
    assert!(pod["metadata"]["deletionTimestamp"].is_string());
    let conditions = pod["status"]["conditions"].as_array().expect("conditions");
    let target = conditions.iter().find(|each| each["type"] == "DisruptionTarget").expect("the condition");
    assert_eq!((target["status"].as_str(), target["reason"].as_str()), (Some("True"), Some("EvictionByEvictionAPI")));
    let refused = evict(&cluster, "two", 429).await;
    let cause = &refused["details"]["causes"][0];
    assert_eq!(cause["reason"], "DisruptionBudget");
    assert_eq!(cause["message"], "The disruption budget b needs 1 healthy pods and has 2 currently");
    let two = cluster.get(&format!("{NS}/pods/two")).await.expect(200);
    assert!(two["metadata"].get("deletionTimestamp").is_none());
}

#[tokio::test]
async fn evictions_of_older_clients_are_read() {
    let cluster = cluster(&[("p", running("True"))]).await;
    for (version, code) in [("policy/v2", 400), ("apps/v1", 400), ("policy/v1beta1", 201)] {
        let eviction = json!({"apiVersion": version, "kind": "Eviction", "metadata": {"name": "p"}});
        cluster.post(&format!("{NS}/pods/p/eviction"), eviction).await.expect(code);
    }
}

#[tokio::test]
async fn pods_that_are_not_healthy_go_as_the_policy_says() {
    let none = |healthy: u32| json!({"observedGeneration": 1, "disruptionsAllowed": 0, "currentHealthy": healthy, "desiredHealthy": 1, "expectedPods": 2});
    for (policy, healthy, code) in [
        (json!({}), 0, 429),
        (json!({}), 1, 201),
        (json!({"unhealthyPodEvictionPolicy": "IfHealthyBudget"}), 0, 429),
        (json!({"unhealthyPodEvictionPolicy": "AlwaysAllow"}), 0, 201),
    ] {
        let cluster = cluster(&[("sick", running("False")), ("well", running("True"))]).await;
        budget(&cluster, policy, none(healthy)).await;
        evict(&cluster, "sick", code).await;
        evict(&cluster, "well", 429).await;
    }
    let cluster = cluster(&[("sick", running("False"))]).await;
    let negative = json!({"observedGeneration": 1, "disruptionsAllowed": -1, "currentHealthy": 0, "desiredHealthy": 1, "expectedPods": 1});
    let path = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    budget(&cluster, json!({}), none(0)).await;
    // No client may write this; the check is for what a datastore may hold all the same.
    cluster.patch(&format!("{path}/b/status"), MERGE, json!({"status": negative})).await.expect(422);
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {}});
    let unnamed = cluster.post(&format!("{NS}/pods/sick/eviction"), eviction).await.expect(400);
    assert_eq!(unnamed["message"], "name in URL does not match name in Eviction object");
}

#[tokio::test]
async fn a_bound_pod_knows_where_its_node_is() {
    let cluster = cluster(&[("one", running("True"))]).await;
    let pod = cluster.get(&format!("{NS}/pods/one")).await.expect(200);
    let labels = json!({"app": "a", "topology.kubernetes.io/zone": "z", "topology.kubernetes.io/region": "r"});
    assert_eq!((&pod["metadata"]["labels"], &pod["spec"]["nodeName"]), (&labels, &json!("n")));
}

#[tokio::test]
async fn a_resize_changes_resources_alone() {
    let cluster = cluster(&[("one", running("True"))]).await;
    let path = format!("{NS}/pods/one/resize");
    let strategic = "application/strategic-merge-patch+json";
    let resources = json!({"requests": {"cpu": "2", "memory": "1Gi"}});
    let container = json!({"name": "c", "image": "other", "resources": resources});
    let resized = cluster.patch(&path, strategic, json!({"spec": {"containers": [container]}})).await.expect(200);
    let container = &resized["spec"]["containers"][0];
    assert_eq!((&container["resources"], &container["image"]), (&resources, &json!("i:1")));
    assert_eq!(resized["metadata"]["generation"], 2);
    let gone = json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"memory": null}}}]}});
    let refused = cluster.patch(&path, strategic, gone).await.expect(422);
    assert!(
        refused["message"].as_str().unwrap_or_default().contains("resource requests cannot be removed"),
        "{refused}"
    );
}

#[tokio::test]
async fn scales_are_checked_and_shown_as_other_objects_are() {
    let cluster = Cluster::start().await;
    let path = "/apis/apps/v1/namespaces/default/deployments";
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let spec = json!({"replicas": 2, "selector": {"matchLabels": {"a": "b"}}, "template": template});
    cluster.post(path, json!({"metadata": {"name": "d"}, "spec": spec})).await.expect(201);
    let scale = format!("{path}/d/scale");
    for (query, patch, code, message) in [
        ("", json!({"spec": {"replicas": "x"}}), 422, "cannot unmarshal string into Go struct field"),
        ("", json!({"spec": {"replicas": 99_999_999_999_i64}}), 422, "cannot unmarshal number 99999999999"),
        (
            "",
            json!({"metadata": {"name": "e"}}),
            400,
            "the name of the object (e) does not match the name on the URL (d)",
        ),
        ("?fieldValidation=Strict", json!({"spec": {"more": 1}}), 422, "unknown field \"spec.more\""),
    ] {
        let refused = cluster.patch(&format!("{scale}{query}"), MERGE, patch).await.expect(code);
        assert!(refused["message"].as_str().is_some_and(|found| found.contains(message)), "{refused}");
    }
    cluster.patch(&scale, MERGE, json!({"spec": {"replicas": 3, "more": 1}})).await.expect(200);
    let table = cluster.get_as(&scale, "application/json;as=Table;v=v1;g=meta.k8s.io").await.expect(200);
    let columns: Vec<_> = table["columnDefinitions"].as_array().into_iter().flatten().map(|c| &c["name"]).collect();
    assert_eq!(columns, ["Name", "Desired", "Available", "Age"]);
    assert_eq!(
        table["rows"][0]["cells"].as_array().map(|cells| &cells[..3]),
        Some(&[json!("d"), json!(3), json!(0)][..])
    );
}
