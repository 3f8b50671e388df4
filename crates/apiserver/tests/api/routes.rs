//! What paths answer to methods and media types that they do not have. Upstream has a router in front of its own
//! resources, and none in front of custom ones.

use serde_json::{Value, json};

use crate::support::Cluster;

const THINGS: &str = "/apis/e.com/v1/namespaces/default/things";
const NOT_ALLOWED: &str = "the server does not allow this method on the requested resource";
const NO_SUCH_RESOURCE: &str = "the server could not find the requested resource";
const NO_ROUTE: &str = "404 page not found\n";

/// A cluster with things.
async fn cluster() -> Cluster {
    let cluster = Cluster::start().await;
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let version = json!({"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}}});
    let spec = json!({"group": "e.com", "scope": "Namespaced", "versions": [version],
        "names": {"plural": "things", "kind": "Thing"}});
    let definition = json!({"metadata": {"name": "things.e.com"}, "spec": spec});
    cluster.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition).await.expect(201);
    cluster.eventually(THINGS).await;
    cluster
}

fn thing(name: &str) -> Value {
    json!({"apiVersion": "e.com/v1", "kind": "Thing", "metadata": {"name": name}})
}

#[track_caller]
fn check(what: &str, (status, body): (u16, &[u8]), expected: (u16, &str)) {
    let text = String::from_utf8_lossy(body).into_owned();
    let found = match serde_json::from_slice::<Value>(body) {
        Ok(body) => body["message"].as_str().unwrap_or_default().to_owned(),
        Err(_) => text,
    };
    assert_eq!((status, found.as_str()), expected, "{what}");
}

#[tokio::test]
async fn methods_that_a_path_does_not_have() {
    let cluster = cluster().await;
    for (method, path, status, message) in [
        ("POST", "/api/v1/pods", 405, NOT_ALLOWED),
        ("DELETE", "/api/v1/pods", 405, NOT_ALLOWED),
        ("GET", "/api/v1/pods/p", 404, NO_SUCH_RESOURCE),
        ("POST", "/api/v1/bindings", 404, NO_SUCH_RESOURCE),
        ("HEAD", "/api/v1/pods", 405, ""),
        ("OPTIONS", "/api/v1/pods", 405, NOT_ALLOWED),
        ("DELETE", "/apis", 405, NOT_ALLOWED),
        ("POST", "/apis/apps", 405, NOT_ALLOWED),
        ("POST", "/apis/nope", 404, NO_ROUTE),
        ("POST", "/apis/apps/v9", 404, NO_SUCH_RESOURCE),
        ("POST", "/version", 405, NOT_ALLOWED),
        ("POST", "/healthz", 200, "ok"),
        ("POST", "/nope", 404, NO_ROUTE),
    ] {
        let (found, _, body) = cluster.exchange(method, path, &[], "").await;
        let body = if method == "HEAD" { "".into() } else { body };
        check(&format!("{method} {path}"), (found, &body), (status, message));
    }
}

#[tokio::test]
async fn methods_that_custom_resources_do_not_have() {
    let cluster = cluster().await;
    cluster.post(THINGS, thing("a")).await.expect(201);
    let unsupported = |verb: &str| format!("{verb} is not supported on resources of kind \"things.e.com\"");
    for (method, path, status, message) in [
        ("PUT", "", 400, "name must be provided".to_owned()),
        ("PATCH", "", 400, "name must be provided".to_owned()),
        ("LINK", "", 405, unsupported("")),
        ("DELETE", "/a/status", 405, unsupported("delete")),
        ("POST", "/a/status", 405, unsupported("create")),
        ("GET", "/a/scale", 404, "things.e.com \"a\" not found".to_owned()),
    ] {
        let (found, _, body) = cluster.exchange(method, &format!("{THINGS}{path}"), &[], "").await;
        check(&format!("{method} {path}"), (found, &body), (status, &message));
    }
    cluster.exchange("HEAD", &format!("{THINGS}/a"), &[], "").await;
    let created = cluster.post(&format!("{THINGS}/other"), thing("b")).await.expect(201);
    assert_eq!(created["metadata"]["name"], "b");
    cluster.post("/apis/e.com/v1/things", thing("c")).await.expect(404);
}

#[tokio::test]
async fn media_types_that_a_path_does_not_have() {
    let cluster = cluster().await;
    cluster.post(THINGS, thing("a")).await.expect(201);
    let thing = format!("{THINGS}/a");
    let accepted = "only the following media types are accepted: application/json, application/yaml, \
                    application/vnd.kubernetes.protobuf";
    let patches = "the body of the request was in an unknown format - accepted media types include: \
                   application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";
    let protobuf = "application/vnd.kubernetes.protobuf";
    for (method, path, header, value, status, message) in [
        ("GET", "/version", "accept", "application/xml", 406, "406: Not Acceptable"),
        ("GET", "/version", "accept", "text/html, */*", 200, ""),
        ("GET", "/healthz", "accept", "application/xml", 200, "ok"),
        ("GET", &*thing, "accept", "application/xml", 406, accepted),
        ("GET", &*thing, "accept", "application/*", 200, ""),
        ("GET", &*thing, "accept", &*format!("{protobuf},application/json"), 200, ""),
        ("PATCH", &*thing, "content-type", "text/plain", 415, patches),
        ("PATCH", &*thing, "content-type", "application/strategic-merge-patch+json", 415, patches),
        ("PATCH", "/api/v1/namespaces/default", "content-type", "text/plain", 415, "415: Unsupported Media Type"),
    ] {
        let (found, _, body) = cluster.exchange(method, path, &[(header, value)], "").await;
        check(&format!("{method} {path} {value}"), (found, &body), (status, message));
    }
    let json = [("content-type", "Application/JSON; charset=utf-8")];
    let body = self::thing("b").to_string();
    assert_eq!(cluster.exchange("POST", THINGS, &json, body).await.0, 201);
}
