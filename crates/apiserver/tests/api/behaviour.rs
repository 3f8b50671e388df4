//! The API's behaviour, through the service that clients in this process use, over a datastore in memory.

use std::sync::Arc;

use serde_json::json;
use store::{Operation, Txn};

use crate::before::Before;
use crate::support::Cluster;

#[tokio::test]
async fn objects_are_created_read_listed_and_deleted() {
    let cluster = Cluster::start().await;
    let created = cluster
        .post("/api/v1/namespaces/default/configmaps", json!({"metadata": {"name": "a"}, "data": {"k": "v"}}))
        .await
        .expect(201);
    assert_eq!(created["kind"], "ConfigMap");
    assert!(created["metadata"]["uid"].is_string() && created["metadata"]["resourceVersion"].is_string());

    let read = cluster.get("/api/v1/namespaces/default/configmaps/a").await.expect(200);
    assert_eq!(read, created);
    let list = cluster.get("/api/v1/namespaces/default/configmaps?&limit=500").await.expect(200);
    assert_eq!((list["kind"].as_str(), list["items"].as_array().map(Vec::len)), (Some("ConfigMapList"), Some(1)));
    assert!(list["items"][0].get("kind").is_none());

    cluster.delete("/api/v1/namespaces/default/configmaps/a").await.expect(200);
    let gone = cluster.get("/api/v1/namespaces/default/configmaps/a").await.expect(404);
    assert_eq!(gone["message"], "configmaps \"a\" not found");
}

#[tokio::test]
async fn a_watch_shows_what_happens_after_a_list() {
    let cluster = Cluster::start().await;
    let list = cluster.get("/api/v1/namespaces/default/configmaps").await.expect(200);
    let version = list["metadata"]["resourceVersion"].as_str().expect("a version").to_owned();
    let mut watch =
        cluster.watch(&format!("/api/v1/configmaps?watch=1&resourceVersion={version}&labelSelector=a%3Db")).await;
    let path = "/api/v1/namespaces/default/configmaps";
    cluster.post(path, json!({"metadata": {"name": "out"}})).await.expect(201);
    cluster.post(path, json!({"metadata": {"name": "in", "labels": {"a": "b"}}})).await.expect(201);
    let merge = "application/merge-patch+json";
    let patch = |labels| json!({"metadata": {"labels": labels}});
    cluster.patch(&format!("{path}/out"), merge, patch(json!({"a": "b"}))).await.expect(200);
    cluster.patch(&format!("{path}/in"), merge, patch(json!({"a": null}))).await.expect(200);
    cluster.delete(&format!("{path}/out")).await.expect(200);
    let seen: Vec<String> = watch.take(4).await;
    assert_eq!(seen, ["ADDED in", "ADDED out", "DELETED in", "DELETED out"]);
}

#[tokio::test]
async fn wrong_requests_are_answered_as_upstream_does() {
    let cluster = Cluster::start().await;
    let missing =
        cluster.post("/api/v1/namespaces/none/configmaps", json!({"metadata": {"name": "a"}})).await.expect(404);
    assert_eq!(missing["message"], "namespaces \"none\" not found");
    let stale = json!({"metadata": {"name": "default", "resourceVersion": "1"}});
    let conflict = cluster.put("/api/v1/namespaces/default", stale).await.expect(409);
    assert_eq!(
        conflict["message"],
        "Operation cannot be fulfilled on namespaces \"default\": the object has been modified; please apply your \
         changes to the latest version and try again"
    );
    cluster.get("/api/v1/nonsense").await.expect(404);
    cluster.delete("/api/v1/namespaces/kube-system").await.expect(403);
}

#[tokio::test]
async fn services_get_addresses_and_ports_that_no_other_has() {
    let cluster = Cluster::start().await;
    let kubernetes = cluster.eventually("/api/v1/namespaces/default/services/kubernetes").await;
    assert_eq!(kubernetes["spec"]["clusterIP"], "10.43.0.1");
    let service = |name: &str| json!({"metadata": {"name": name}, "spec": {"type": "NodePort", "selector": {"a": "b"}, "ports": [{"port": 80}]}});
    let path = "/api/v1/namespaces/default/services";
    let a = cluster.post(path, service("a")).await.expect(201);
    let b = cluster.post(path, service("b")).await.expect(201);
    assert_ne!(a["spec"]["clusterIP"], b["spec"]["clusterIP"]);
    assert_ne!(a["spec"]["ports"][0]["nodePort"], b["spec"]["ports"][0]["nodePort"]);
    let mut taken = service("c");
    taken["spec"]["clusterIP"] = a["spec"]["clusterIP"].clone();
    cluster.post(path, taken.clone()).await.expect(422);
    cluster.delete(&format!("{path}/a")).await.expect(200);
    cluster.post(path, taken).await.expect(201);
}

#[tokio::test]
async fn pods_need_their_account_and_end_gracefully() {
    let cluster = Cluster::start().await;
    let pods = "/api/v1/namespaces/default/pods";
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let refused = cluster.post(pods, pod.clone()).await.expect(403);
    assert_eq!(
        refused["message"],
        "pods \"p\" is forbidden: error looking up service account default/default: serviceaccount \"default\" not found"
    );
    cluster
        .post("/api/v1/namespaces/default/serviceaccounts", json!({"metadata": {"name": "default"}}))
        .await
        .expect(201);
    let created = cluster.post(pods, pod).await.expect(201);
    assert_eq!(created["status"]["qosClass"], "BestEffort");
    assert_eq!(
        created["spec"]["containers"][0]["volumeMounts"][0]["mountPath"],
        "/var/run/secrets/kubernetes.io/serviceaccount"
    );

    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});
    cluster.post(&format!("{pods}/p/binding"), binding.clone()).await.expect(201);
    cluster.post(&format!("{pods}/p/binding"), binding).await.expect(409);
    let deleting = cluster.delete(&format!("{pods}/p")).await.expect(200);
    assert_eq!(deleting["metadata"]["deletionGracePeriodSeconds"], 30);
    cluster.get(&format!("{pods}/p")).await.expect(200);
    cluster.delete(&format!("{pods}/p?gracePeriodSeconds=0")).await.expect(200);
    cluster.get(&format!("{pods}/p")).await.expect(404);
}

#[tokio::test]
async fn a_deletion_that_another_one_completes_has_succeeded() {
    let dir = tempfile::tempdir().expect("a directory");
    // Somebody else always deletes the pod first.
    let store = Before::new(|txn| {
        let deletes = txn.operation == Operation::Delete && txn.key.ends_with(b"/pods/default/p");
        deletes.then(|| Txn::delete(txn.key.clone()))
    });
    let cluster = Cluster::start_on(Arc::new(store), dir, |_| {}).await;
    let account = json!({"metadata": {"name": "default"}});
    cluster.post("/api/v1/namespaces/default/serviceaccounts", account).await.expect(201);
    let pods = "/api/v1/namespaces/default/pods";
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    cluster.post(pods, pod).await.expect(201);
    let deleted = cluster.delete(&format!("{pods}/p?gracePeriodSeconds=0")).await.expect(200);
    assert_eq!(deleted["metadata"]["deletionGracePeriodSeconds"], 0);
    cluster.delete(&format!("{pods}/p?gracePeriodSeconds=0")).await.expect(404);
}

#[tokio::test]
async fn finalizers_hold_an_object_until_they_are_gone() {
    let cluster = Cluster::start().await;
    let path = "/api/v1/namespaces/default/configmaps";
    cluster.post(path, json!({"metadata": {"name": "a", "finalizers": ["example.com/x"]}})).await.expect(201);
    let marked = cluster.delete(&format!("{path}/a")).await.expect(200);
    assert!(marked["metadata"]["deletionTimestamp"].is_string());
    let free = json!({"metadata": {"finalizers": null}});
    cluster.patch(&format!("{path}/a"), "application/merge-patch+json", free).await.expect(200);
    cluster.get(&format!("{path}/a")).await.expect(404);
}

#[tokio::test]
async fn pages_show_one_moment() {
    let cluster = Cluster::start().await;
    let path = "/api/v1/namespaces/default/configmaps";
    for name in ["a", "b", "c"] {
        cluster.post(path, json!({"metadata": {"name": name}})).await.expect(201);
    }
    let first = cluster.get(&format!("{path}?limit=2")).await.expect(200);
    assert_eq!(first["metadata"]["remainingItemCount"], 1);
    cluster.delete(&format!("{path}/c")).await.expect(200);
    let token = first["metadata"]["continue"].as_str().expect("there is more");
    let second = cluster.get(&format!("{path}?limit=2&continue={token}")).await.expect(200);
    assert_eq!(second["items"][0]["metadata"]["name"], "c");
    assert_eq!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    assert!(second["metadata"].get("continue").is_none());
}

#[tokio::test]
async fn applied_configurations_make_and_merge_objects() {
    let cluster = Cluster::start().await;
    let apply = "application/apply-patch+yaml";
    let path = "/api/v1/namespaces/default/configmaps/a";
    let config = |data| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data});
    let made = cluster.patch(&format!("{path}?fieldManager=one"), apply, config(json!({"x": "1", "y": "2"}))).await;
    let made = made.expect(201);
    assert_eq!(made["metadata"]["managedFields"][0]["operation"], "Apply");

    let again = cluster.patch(&format!("{path}?fieldManager=one"), apply, config(json!({"x": "1", "y": "2"}))).await;
    assert_eq!(again.expect(200), made);

    let other = config(json!({"x": "3"}));
    let conflict = cluster.patch(&format!("{path}?fieldManager=two"), apply, other.clone()).await.expect(409);
    assert_eq!(conflict["message"], "Apply failed with 1 conflict: conflict with \"one\": .data.x");
    cluster.patch(&format!("{path}?fieldManager=two&force=true"), apply, other).await.expect(200);
    let left = cluster.patch(&format!("{path}?fieldManager=one"), apply, config(json!({"z": "4"}))).await.expect(200);
    assert_eq!(left["data"], json!({"x": "3", "z": "4"}));
    cluster.patch(path, apply, config(json!({}))).await.expect(422);
}

#[tokio::test]
async fn writes_are_owned_by_their_client() {
    let cluster = Cluster::start().await;
    let path = "/api/v1/namespaces/default/configmaps";
    let body = json!({"metadata": {"name": "a"}, "data": {"k": "v"}});
    let created = cluster.post(&format!("{path}?fieldManager=maker"), body).await.expect(201);
    let owner = &created["metadata"]["managedFields"][0];
    assert_eq!((owner["manager"].as_str(), owner["operation"].as_str()), (Some("maker"), Some("Update")));
    assert_eq!(owner["fieldsV1"], json!({"f:data": {".": {}, "f:k": {}}}));
}

/// The requests follow each other without a pause in which the cache could take up what the one before has written.
#[tokio::test]
async fn a_write_builds_on_every_acknowledged_write() {
    let cluster = Cluster::start().await;
    let (all, one) = ("/api/v1/namespaces/default/configmaps", "/api/v1/namespaces/default/configmaps/a");
    let map = |value: &str| json!({"metadata": {"name": "a"}, "data": {"k": value}});
    cluster.post(all, map("1")).await.expect(201);
    cluster.get(one).await.expect(200);

    cluster.put(one, map("2")).await.expect(200);
    cluster.put(one, map("1")).await.expect(200);
    assert_eq!(cluster.get(one).await.expect(200)["data"]["k"], "1", "a change back is a change");

    let mut latest = cluster.put(one, map("3")).await.expect(200);
    latest["data"]["k"] = "4".into();
    let latest = cluster.put(one, latest).await.expect(200);
    let version = latest["metadata"]["resourceVersion"].clone();
    let options = json!({"preconditions": {"resourceVersion": version}});
    cluster.delete_with(one, options).await.expect(200);

    cluster.post(all, map("5")).await.expect(201);
    cluster.delete(one).await.expect(200);
    cluster.put(one, map("6")).await.expect(404);
    cluster.delete(one).await.expect(404);
}

#[tokio::test]
async fn events_end_when_their_time_is_over() {
    let cluster = Cluster::start_with(|config| config.event_ttl = std::time::Duration::from_secs(1)).await;
    let event = |name: &str| {
        json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": name, "namespace": "default"},
            "involvedObject": {"kind": "Pod", "name": "a", "namespace": "default"},
            // Its own times say nothing about how long it is kept.
            "lastTimestamp": "2090-01-01T00:00:00Z",
        })
    };
    let made = cluster.post("/api/v1/namespaces/default/events", event("a")).await.expect(201);
    let same = cluster.get("/apis/events.k8s.io/v1/namespaces/default/events/a").await.expect(200);
    assert_eq!(same["metadata"]["uid"], made["metadata"]["uid"]);
    assert_eq!(same["regarding"]["name"], "a");
    let version = made["metadata"]["resourceVersion"].as_str().expect("a version").to_owned();
    let path = format!("/apis/events.k8s.io/v1/events?watch=true&resourceVersion={version}");
    assert_eq!(cluster.watch(&path).await.take(1).await, ["DELETED a"]);
}

#[tokio::test]
async fn what_is_deprecated_warns() {
    let cluster = Cluster::start().await;
    let warning = |path: &'static str| {
        let cluster = &cluster;
        async move {
            let answer = cluster.fetch(path, &[]).await;
            assert_eq!(answer.status(), 200, "{path}");
            answer.headers().get("warning").and_then(|text| text.to_str().ok()).unwrap_or_default().to_owned()
        }
    };
    let endpoints = warning("/api/v1/namespaces/default/endpoints").await;
    assert_eq!(endpoints, "299 - \"v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice\"");
    assert_eq!(warning("/api/v1/namespaces/default/pods").await, "");
    assert!(warning("/api/v1/componentstatuses").await.contains("deprecated in v1.19+"));
    let datastore = cluster.get("/api/v1/componentstatuses/etcd-0").await.expect(200);
    assert_eq!(datastore["conditions"][0]["message"], "ok");
    let all = cluster.get("/api/v1/componentstatuses").await.expect(200);
    let names: Vec<&str> =
        all["items"].as_array().expect("items").iter().filter_map(|item| item["metadata"]["name"].as_str()).collect();
    assert_eq!(names, ["controller-manager", "etcd-0", "scheduler"]);
    assert_eq!(all["items"][2]["conditions"][0]["status"], "False");
}

#[tokio::test]
async fn labels_of_slices_begin_a_generation_and_annotations_do_not() {
    const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    let cluster = Cluster::start().await;
    let slice = json!({"metadata": {"name": "a"}, "addressType": "IPv4", "endpoints": [], "ports": []});
    cluster.post(SLICES, slice).await.expect(201);
    for (metadata, generation) in [(json!({"annotations": {"a": "b"}}), 1), (json!({"labels": {"a": "b"}}), 2)] {
        let patch = json!({"metadata": metadata});
        let changed = cluster.patch(&format!("{SLICES}/a"), "application/merge-patch+json", patch).await.expect(200);
        assert_eq!(changed["metadata"]["generation"], generation, "{metadata}");
    }
}

#[tokio::test]
async fn whoever_sends_an_empty_list_owns_it() {
    const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles";
    let cluster = Cluster::start().await;
    for (name, rules, owned) in [("none", json!(null), json!(null)), ("empty", json!([]), json!({"f:rules": {}}))] {
        let role = json!({"metadata": {"name": name}, "rules": rules});
        let created = cluster.post(ROLES, role).await.expect(201);
        assert_eq!(created["rules"], json!(null));
        assert_eq!(created["metadata"]["managedFields"][0]["fieldsV1"], owned, "{name}");
    }
}

#[tokio::test]
async fn what_is_empty_and_does_not_show_begins_generations_of_kinds_that_are_compared_exactly() {
    let cluster = Cluster::start().await;
    let merge = "application/merge-patch+json";
    let annotate = |value: &str| json!({"metadata": {"annotations": {"a": value}}});
    let generation = |object: &serde_json::Value| object["metadata"]["generation"].as_i64();

    // The datastore remembers empty bytes, over a restart too; what comes out of it as JSON has none.
    let hooks = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
    let hook = json!({
        "metadata": {"name": "h"},
        "webhooks": [{
            "name": "a.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"url": "https://example.com", "caBundle": ""},
        }],
    });
    let created = cluster.post(hooks, hook).await.expect(201);
    assert!(created["webhooks"][0]["clientConfig"].get("caBundle").is_none());
    let cluster = cluster.restart().await;
    let path = format!("{hooks}/h");
    assert_eq!(generation(&cluster.get(&path).await.expect(200)), Some(1));
    let patched = cluster.patch(&path, merge, annotate("1")).await.expect(200);
    assert_eq!(generation(&patched), Some(2));
    let patched = cluster.patch(&path, merge, annotate("2")).await.expect(200);
    assert_eq!(generation(&patched), Some(2));

    // Of an empty list it remembers nothing: each request that has one changes the object.
    let policies = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies";
    let policy = json!({"metadata": {"name": "p"}, "spec": {"podSelector": {}, "ingress": []}});
    assert_eq!(generation(&cluster.post(policies, policy.clone()).await.expect(201)), Some(1));
    let path = format!("{policies}/p");
    assert_eq!(generation(&cluster.put(&path, policy.clone()).await.expect(200)), Some(2));
    assert_eq!(generation(&cluster.put(&path, policy).await.expect(200)), Some(3));
    assert_eq!(generation(&cluster.patch(&path, merge, annotate("1")).await.expect(200)), Some(3));

    // Others are compared by what they mean.
    let sets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let set = json!({"metadata": {"name": "b"}, "spec": {"selector": {"matchExpressions": []}}});
    let created = cluster.post(sets, set.clone()).await.expect(201);
    let mut set = set;
    set["metadata"]["resourceVersion"] = created["metadata"]["resourceVersion"].clone();
    assert_eq!(generation(&cluster.put(&format!("{sets}/b"), set).await.expect(200)), Some(1));
}

/// The warnings of an answer, in their order.
fn warnings<B>(answer: &http::Response<B>) -> Vec<String> {
    let headers = answer.headers().get_all("warning").into_iter();
    headers.map(|value| value.to_str().expect("text").replacen("299 - ", "", 1)).collect()
}

#[tokio::test]
async fn clients_are_warned_whether_a_request_fails_or_not() {
    let cluster = Cluster::start().await;
    let path = "/apis/apps/v1/namespaces/default/deployments";
    let json_type = [("content-type", "application/json")];
    let deployment = |container: &str| {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a.b"}, "extra": 1,
            "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}},
                "spec": {"containers": [{"name": container, "image": "i"}]}}}})
    };
    let post = |body: serde_json::Value| cluster.request("POST", path, &json_type, body.to_string());
    let unknown = "\"unknown field \\\"extra\\\"\"";
    let name = "\"metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS \
                label is recommended: [must not contain dots]\"";
    let refused = post(deployment("C")).await;
    assert_eq!((refused.status().as_u16(), warnings(&refused)), (422, vec![unknown.to_owned()]));
    let made = post(deployment("c")).await;
    assert_eq!((made.status().as_u16(), warnings(&made)), (201, vec![unknown.to_owned(), name.to_owned()]));
    let again = post(deployment("c")).await;
    assert_eq!((again.status().as_u16(), warnings(&again)), (409, vec![unknown.to_owned(), name.to_owned()]));

    let merge = [("content-type", "application/merge-patch+json")];
    let patch = json!({"extra": 1, "spec": {"replicas": -1}}).to_string();
    let refused = cluster.request("PATCH", &format!("{path}/a.b"), &merge, patch).await;
    assert_eq!((refused.status().as_u16(), warnings(&refused)), (422, vec![unknown.to_owned()]));
}
