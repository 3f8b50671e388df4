//! Custom resources as controllers see them: a kind that was not there when they started.

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, DeleteParams, PostParams};
use kube::core::{ApiResource, DynamicObject};
use serde_json::{Value, json};

use crate::support::{TestCluster, fresh};

fn resource(group: &str, kind: &str, plural: &str) -> ApiResource {
    ApiResource {
        group: group.to_owned(),
        version: "v1".to_owned(),
        api_version: format!("{group}/v1"),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    }
}

fn object(value: Value) -> DynamicObject {
    serde_json::from_value(value).expect("an object")
}

/// Defines widgets, and waits until they are served.
pub(crate) async fn define(test: &TestCluster) -> ApiResource {
    let definitions = resource("apiextensions.k8s.io", "CustomResourceDefinition", "customresourcedefinitions");
    let definitions: Api<DynamicObject> = Api::all_with(test.cluster.client.clone(), &definitions);
    let spec = json!({"type": "object", "properties": {"size": {"type": "integer"}}});
    let schema = json!({
        "type": "object", "properties": {"spec": spec}, "x-kubernetes-preserve-unknown-fields": true,
    });
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
        },
    });
    definitions.create(&PostParams::default(), &object(definition)).await.expect("created");
    let definitions = &definitions;
    test.eventually("definition is established", || async move {
        let found = definitions.get("widgets.example.com").await.expect("readable");
        let conditions = found.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let is_established = |c: &Value| c["type"] == "Established" && c["status"] == "True";
        conditions.iter().any(is_established).then_some(())
    })
    .await;
    resource("example.com", "Widget", "widgets")
}

fn widget() -> DynamicObject {
    object(json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}}))
}

#[tokio::test(start_paused = true)]
async fn a_namespace_takes_its_custom_resources_along() {
    let test = TestCluster::start(&[]).await;
    let widgets = define(&test).await;
    let namespaces: Api<Namespace> = test.api_all();
    namespaces.create(&PostParams::default(), &fresh(testkit::namespace("team"))).await.expect("created");
    let widgets: Api<DynamicObject> = Api::namespaced_with(test.cluster.client.clone(), "team", &widgets);
    widgets.create(&PostParams::default(), &widget()).await.expect("created");
    namespaces.delete("team", &DeleteParams::default()).await.expect("deleted");
    let namespaces = &namespaces;
    test.eventually("namespace ends", || async move {
        namespaces.get_opt("team").await.expect("readable").is_none().then_some(())
    })
    .await;
    assert!(widgets.get_opt("w").await.expect("readable").is_none());
}

#[tokio::test(start_paused = true)]
async fn what_a_custom_resource_owns_goes_with_it() {
    let test = TestCluster::start(&[]).await;
    let widgets = define(&test).await;
    let widgets: Api<DynamicObject> = Api::namespaced_with(test.cluster.client.clone(), "default", &widgets);
    let owner = widgets.create(&PostParams::default(), &widget()).await.expect("created");
    let maps: &Api<ConfigMap> = &test.api();
    let mut map = fresh(testkit::object::<ConfigMap>("default/owned"));
    let reference = json!({"apiVersion": "example.com/v1", "kind": "Widget", "name": "w", "uid": owner.metadata.uid});
    map.metadata.owner_references = Some(vec![serde_json::from_value(reference).expect("a reference")]);
    maps.create(&PostParams::default(), &map).await.expect("created");
    widgets.delete("w", &DeleteParams::background()).await.expect("deleted");
    test.eventually("dependent is gone", || async move {
        maps.get_opt("owned").await.expect("readable").is_none().then_some(())
    })
    .await;
}
