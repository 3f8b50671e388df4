//! Rules of custom resources that are newer than the objects.

use serde_json::{Value, json};

use crate::support::Cluster;

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const GAUGES: &str = "/apis/example.com/v1/namespaces/default/gauges";
const MERGE: &str = "application/merge-patch+json";

/// A version of gauges whose spec has a rule.
fn version(name: &str, rule: &str) -> Value {
    let spec = json!({"type": "object", "x-kubernetes-validations": [{"rule": rule}],
        "properties": {"max": {"type": "integer"}}});
    let schema = json!({"type": "object", "properties": {"spec": spec}});
    json!({"name": name, "served": true, "storage": name == "v1", "schema": {"openAPIV3Schema": schema}})
}

#[tokio::test]
async fn what_was_wrong_before_is_warned_of_until_it_changes() {
    let cluster = Cluster::start().await;
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "gauges.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "gauges", "kind": "Gauge"},
            "versions": [version("v1", "self.max < 10")]},
    });
    cluster.post(CRDS, definition).await.expect(201);
    cluster.eventually(GAUGES).await;
    let gauge = json!({"apiVersion": "example.com/v1", "kind": "Gauge", "metadata": {"name": "a"}, "spec": {"max": 5}});
    cluster.post(GAUGES, gauge).await.expect(201);

    let path = format!("{CRDS}/gauges.example.com");
    // A new version tells, when it is served, that the server has read the definition.
    let versions = json!([version("v1", "self.max < 4"), version("v2", "self.max < 4")]);
    cluster.patch(&path, MERGE, json!({"spec": {"versions": versions}})).await.expect(200);
    cluster.eventually("/apis/example.com/v2/namespaces/default/gauges").await;

    let gauge = format!("{GAUGES}/a");
    let changed = cluster.patch(&gauge, MERGE, json!({"spec": {"max": 6}})).await.expect(422);
    let message = changed["message"].as_str().expect("a message");
    assert!(message.ends_with("spec: Invalid value: \"object\": failed rule: self.max < 4"), "{message}");
    let labels = json!({"metadata": {"labels": {"a": "b"}}}).to_string();
    let unchanged = cluster.request("PATCH", &gauge, &[("content-type", MERGE)], labels).await;
    assert_eq!(unchanged.status(), 200);
    let warning = unchanged.headers()["warning"].to_str().expect("text");
    assert_eq!(warning, r#"299 - "spec: Invalid value: \"object\": failed rule: self.max < 4""#);
}
