//! Custom resources whose versions a webhook converts.

use serde_json::{Value, json};

use crate::hooks::Hook;
use crate::support::Cluster;

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
pub const V1: &str = "/apis/example.com/v1/namespaces/default/widgets";
const V2: &str = "/apis/example.com/v2/namespaces/default/widgets";

/// `spec.old` of v1 is `spec.new` of v2.
fn answer(review: &Value) -> Value {
    let wanted = &review["request"]["desiredAPIVersion"];
    let (from, to) = if *wanted == "example.com/v2" { ("old", "new") } else { ("new", "old") };
    let convert = |object: &Value| {
        let mut object = object.clone();
        object["apiVersion"] = wanted.clone();
        let value = object["spec"][from].take();
        object["spec"] = json!({to: value});
        object
    };
    let objects = review["request"]["objects"].as_array().expect("objects");
    let is_bad = objects.iter().any(|object| object["spec"][from] == "bad");
    let result = match is_bad {
        true => json!({"status": "Failure", "message": "bad is not converted"}),
        false => json!({"status": "Success"}),
    };
    let converted: Vec<Value> = objects.iter().map(convert).collect();
    json!({
        "kind": "ConversionReview", "apiVersion": review["apiVersion"],
        "response": {"uid": review["request"]["uid"], "result": result, "convertedObjects": converted},
    })
}

/// A widget in a version.
pub fn widget(version: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": format!("example.com/{version}"), "kind": "Widget", "metadata": {"name": name}, "spec": spec})
}

/// Defines widgets, which are stored in v1, and the webhook that converts them.
pub async fn define(cluster: &Cluster) -> Hook {
    let webhook = Hook::start(answer).await;
    let version = |name: &str, field: &str| {
        let spec = json!({"type": "object", "properties": {field: {"type": "string"}}});
        json!({"name": name, "served": true, "storage": name == "v1",
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}})
    };
    let client = json!({"url": webhook.url, "caBundle": webhook.ca_bundle});
    let conversion = json!({"strategy": "Webhook",
        "webhook": {"clientConfig": client, "conversionReviewVersions": ["v1"]}});
    let crd = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [version("v1", "old"), version("v2", "new")], "conversion": conversion},
    });
    cluster.post(CRDS, crd).await.expect(201);
    cluster.eventually(V1).await;
    webhook
}

#[tokio::test]
async fn a_webhook_converts_what_is_read_and_written() {
    let cluster = Cluster::start().await;
    let _webhook = define(&cluster).await;
    let created = cluster.post(V2, widget("v2", "a", json!({"new": "x"}))).await.expect(201);
    assert_eq!(created["spec"], json!({"new": "x"}));
    assert_eq!(cluster.get(&format!("{V1}/a")).await.expect(200)["spec"], json!({"old": "x"}));
    let merge = "application/merge-patch+json";
    let patched = cluster.patch(&format!("{V2}/a"), merge, json!({"spec": {"new": "y"}})).await.expect(200);
    assert_eq!(patched["spec"], json!({"new": "y"}));
    let list = cluster.get(V2).await.expect(200);
    assert_eq!(
        (&list["items"][0]["apiVersion"], &list["items"][0]["spec"]["new"]),
        (&json!("example.com/v2"), &json!("y"))
    );
    let mut watch = cluster.watch("/apis/example.com/v2/widgets?watch=1").await;
    assert_eq!(watch.take(1).await, ["ADDED a"]);

    cluster.post(V1, widget("v1", "b", json!({"old": "bad"}))).await.expect(201);
    let failed = cluster.get(&format!("{V2}/b")).await.expect(500);
    assert_eq!(failed["message"], "conversion webhook for example.com/v1, Kind=Widget failed: bad is not converted");
}
