//! Discovery and OpenAPI: forms, tags, what clients that have a document already are answered, what is served.

use bytes::Bytes;
use http::Response;
use serde_json::Value;

use crate::support::Cluster;

const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
const V3_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v3@v1.0+protobuf";
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

#[track_caller]
fn header<'a>(response: &'a Response<Bytes>, name: &str) -> &'a str {
    let value = response.headers().get(name).unwrap_or_else(|| panic!("no header {name}"));
    value.to_str().expect("text")
}

#[track_caller]
fn json(response: &Response<Bytes>) -> Value {
    assert_eq!(response.status(), 200);
    serde_json::from_slice(response.body()).expect("JSON")
}

#[tokio::test]
async fn the_version_is_indented_for_everybody() {
    let cluster = Cluster::start().await;
    let version = cluster.fetch("/version", &[("user-agent", "kubectl/v1.35.0")]).await;
    assert!(version.body().starts_with(b"{\n  \""), "{:?}", version.body());
    assert_eq!(json(&version)["major"], "1");
}

#[tokio::test]
async fn documents_come_in_two_forms() {
    let cluster = Cluster::start().await;
    for (path, protobuf, sent) in [
        ("/openapi/v2", V2_PROTOBUF, "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"),
        ("/openapi/v3/apis/apps/v1", V3_PROTOBUF, "application/com.github.proto-openapi.spec.v3.v1.0+protobuf"),
    ] {
        let plain = cluster.fetch(path, &[]).await;
        assert_eq!(header(&plain, "content-type"), "application/json");
        assert!(json(&plain)["paths"]["/apis/apps/v1/deployments"].is_object());
        let binary = cluster.fetch(path, &[("accept", protobuf)]).await;
        assert_eq!(header(&binary, "content-type"), sent);
        assert_eq!(header(&binary, "etag"), header(&plain, "etag"));
        // The first field of both messages is the version of OpenAPI.
        assert_eq!(binary.body()[0], 0x0a);
        assert_eq!(cluster.fetch(path, &[("accept", "application/xml")]).await.status(), 406);
    }
}

#[tokio::test]
async fn documents_are_compressed_and_not_sent_twice() {
    let cluster = Cluster::start().await;
    for path in ["/openapi/v2", "/openapi/v3/api/v1"] {
        let plain = cluster.fetch(path, &[]).await;
        let compressed = cluster.fetch(path, &[("accept-encoding", "gzip")]).await;
        assert_eq!(header(&compressed, "content-encoding"), "gzip");
        assert!(compressed.body().len() * 3 < plain.body().len());
        for known in [("if-none-match", header(&plain, "etag")), ("if-modified-since", header(&plain, "last-modified"))]
        {
            let again = cluster.fetch(path, &[known]).await;
            assert_eq!(again.status(), 304, "{known:?}");
            assert!(again.body().is_empty());
        }
        assert_eq!(cluster.fetch(path, &[("if-none-match", "\"other\"")]).await.status(), 200);
    }
}

#[tokio::test]
async fn the_index_leads_to_documents_that_may_be_kept() {
    let cluster = Cluster::start().await;
    let index = cluster.fetch("/openapi/v3", &[]).await;
    let known = cluster.fetch("/openapi/v3", &[("if-none-match", header(&index, "etag"))]).await;
    assert_eq!(known.status(), 304);
    let index = json(&index);
    let url = |key: &str| index["paths"][key]["serverRelativeURL"].as_str().expect("a URL").to_owned();
    for key in ["api", "api/v1", "apis", "apis/apps", "apis/apps/v1", "version", "openid/v1/jwks"] {
        let document = cluster.fetch(&url(key), &[]).await;
        assert_eq!(json(&document)["openapi"], "3.0.0");
        assert_eq!(header(&document, "cache-control"), "public, immutable");
    }
    let outdated = cluster.fetch("/openapi/v3/apis/apps/v1?hash=old", &[]).await;
    assert_eq!(outdated.status(), 301);
    assert_eq!(header(&outdated, "location"), url("apis/apps/v1"));
    assert_eq!(cluster.fetch("/openapi/v3/apis/nope/v1", &[]).await.status(), 404);
}

#[tokio::test]
async fn aggregated_discovery_is_not_sent_twice() {
    let cluster = Cluster::start().await;
    let groups = cluster.fetch("/apis", &[("accept", AGGREGATED)]).await;
    assert_eq!(header(&groups, "content-type"), AGGREGATED);
    let again = cluster.fetch("/apis", &[("accept", AGGREGATED), ("if-none-match", header(&groups, "etag"))]).await;
    assert_eq!(again.status(), 304);
    let core = json(&cluster.fetch("/api", &[("accept", AGGREGATED)]).await);
    let resources = core["items"][0]["versions"][0]["resources"].as_array().expect("resources");
    let pods = resources.iter().find(|row| row["resource"] == "pods").expect("pods");
    assert_eq!(pods["singularResource"], "pod");
    assert_eq!(pods["responseKind"]["kind"], "Pod");
    let old = cluster.fetch("/apis", &[("accept", &AGGREGATED.replace("v=v2", "v=v2beta1"))]).await;
    assert_eq!(json(&old)["apiVersion"], "apidiscovery.k8s.io/v2beta1");
}

#[tokio::test]
async fn versions_are_served_as_configured() {
    let settings = "networking.k8s.io/v1beta1=true,batch/v1/cronjobs=false";
    let cluster = Cluster::start_with(|config| config.runtime_config = settings.parse().expect("settings")).await;
    let group = cluster.get("/apis/networking.k8s.io").await.expect(200);
    assert_eq!(group["versions"].as_array().map(Vec::len), Some(2));
    assert_eq!(group["preferredVersion"]["version"], "v1");
    let body = serde_json::json!({
        "apiVersion": "networking.k8s.io/v1beta1", "kind": "ServiceCIDR", "metadata": {"name": "a"},
        "spec": {"cidrs": ["10.200.0.0/16"]},
    });
    let made = cluster.post("/apis/networking.k8s.io/v1beta1/servicecidrs", body).await.expect(201);
    assert_eq!(made["apiVersion"], "networking.k8s.io/v1beta1");
    let stable = cluster.get("/apis/networking.k8s.io/v1/servicecidrs/a").await.expect(200);
    assert_eq!(stable["apiVersion"], "networking.k8s.io/v1");
    assert_eq!(stable["metadata"]["uid"], made["metadata"]["uid"]);
    cluster.get("/apis/batch/v1/cronjobs").await.expect(404);
    cluster.get("/apis/batch/v1/jobs").await.expect(200);
    let index = json(&cluster.fetch("/openapi/v3", &[]).await);
    assert!(index["paths"]["apis/networking.k8s.io/v1beta1"].is_object());
}

/// A definition of widgets whose size is of a type.
fn widgets(size: &str) -> Value {
    let schema = serde_json::json!({"type": "object", "properties": {
        "spec": {"type": "object", "description": "what is wanted", "properties": {
            "size": {"type": size, "description": "how big"},
        }},
    }});
    serde_json::json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
                "subresources": {"status": {}}}],
        },
    })
}

#[tokio::test]
async fn documents_tell_of_custom_resources() {
    const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let cluster = Cluster::start().await;
    let before = json(&cluster.fetch("/openapi/v3", &[]).await);
    let tag = header(&cluster.fetch("/openapi/v2", &[]).await, "etag").to_owned();
    cluster.post(DEFINITIONS, widgets("integer")).await.expect(201);
    cluster.eventually("/apis/example.com/v1/widgets").await;

    let aggregated = json(&cluster.fetch("/apis", &[("accept", AGGREGATED)]).await);
    assert!(aggregated.to_string().contains("\"resource\":\"widgets\""));
    let index = json(&cluster.fetch("/openapi/v3", &[]).await);
    assert_eq!(index["paths"]["apis/apps/v1"], before["paths"]["apis/apps/v1"]);
    let first = index["paths"]["apis/example.com/v1"]["serverRelativeURL"].as_str().expect("a URL").to_owned();
    let document = json(&cluster.fetch(&first, &[]).await);
    let schema = &document["components"]["schemas"]["com.example.v1.Widget"];
    assert_eq!(schema["x-kubernetes-group-version-kind"][0]["kind"], "Widget");
    assert_eq!(schema["properties"]["spec"]["properties"]["size"]["description"], "how big");
    let status = &document["paths"]["/apis/example.com/v1/namespaces/{namespace}/widgets/{name}/status"];
    assert_eq!(status["patch"]["operationId"], "patchExampleComV1NamespacedWidgetStatus");
    let merged = cluster.fetch("/openapi/v2", &[("if-none-match", &tag)]).await;
    let widget = &json(&merged)["definitions"]["com.example.v1.Widget"];
    assert_eq!(widget["properties"]["spec"]["properties"]["size"]["type"], "integer");

    let mut changed = widgets("string");
    let current = cluster.get(&format!("{DEFINITIONS}/widgets.example.com")).await.expect(200);
    changed["metadata"]["resourceVersion"] = current["metadata"]["resourceVersion"].clone();
    cluster.put(&format!("{DEFINITIONS}/widgets.example.com"), changed).await.expect(200);
    let outdated = async {
        loop {
            let answer = cluster.fetch(&first, &[]).await;
            if answer.status() != 200 {
                return answer;
            }
            tokio::task::yield_now().await;
        }
    };
    let outdated = tokio::time::timeout(std::time::Duration::from_secs(20), outdated).await.expect("in time");
    assert_eq!(outdated.status(), 301);
    assert_ne!(header(&outdated, "location"), first);
}
