//! Options of writes: how a deletion treats dependents, dry runs, generated names, and what is too large.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use store::Operation;

use crate::before::Before;
use crate::support::Cluster;

const NS: &str = "/api/v1/namespaces/default";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const MERGE: &str = "application/merge-patch+json";

/// Deletes a new object with these options: the status, and the finalizers of what is left of it.
async fn finalizers_after(cluster: &Cluster, path: &str, object: Value, options: Value) -> (u16, Value) {
    let created = cluster.post(path, object).await.expect(201);
    let name = created["metadata"]["name"].as_str().expect("a name").to_owned();
    let status = cluster.delete_with(&format!("{path}/{name}"), options).await.status();
    let left = cluster.get(&format!("{path}/{name}")).await;
    let finalizers = left.body()["metadata"]["finalizers"].clone();
    let free = json!({"metadata": {"finalizers": null}});
    if left.status() == 200 {
        cluster.patch(&format!("{path}/{name}"), MERGE, free).await.expect(200);
    }
    (status, finalizers)
}

#[tokio::test]
async fn a_deletion_says_what_becomes_of_dependents() {
    let cluster = Cluster::start().await;
    let (foreground, orphan) = (json!(["foregroundDeletion"]), json!(["orphan"]));
    let plain = || json!({"metadata": {"name": "a"}});
    for (options, status, finalizers) in [
        (json!({}), 200, json!(null)),
        (json!({"propagationPolicy": "Background"}), 200, json!(null)),
        (json!({"propagationPolicy": "Foreground"}), 200, foreground.clone()),
        (json!({"propagationPolicy": "Orphan"}), 200, orphan.clone()),
        (json!({"orphanDependents": true}), 200, orphan.clone()),
        (json!({"orphanDependents": false}), 200, json!(null)),
    ] {
        let found = finalizers_after(&cluster, MAPS, plain(), options.clone()).await;
        assert_eq!(found, (status, finalizers), "{options}");
    }
    // What the object itself says holds unless the deletion says otherwise.
    let held = |by: &str| json!({"metadata": {"name": "a", "finalizers": [by]}});
    for (by, options, finalizers) in [
        ("orphan", json!({}), orphan.clone()),
        ("foregroundDeletion", json!({}), foreground.clone()),
        ("orphan", json!({"propagationPolicy": "Background"}), json!(null)),
        ("foregroundDeletion", json!({"propagationPolicy": "Orphan"}), orphan.clone()),
        ("orphan", json!({"propagationPolicy": "Foreground"}), foreground.clone()),
        ("orphan", json!({"orphanDependents": false}), json!(null)),
    ] {
        let (_, found) = finalizers_after(&cluster, MAPS, held(by), options.clone()).await;
        assert_eq!(found, finalizers, "{by} {options}");
    }
    // Two kinds keep what they made before there was a garbage collector.
    let container = json!({"name": "c", "image": "i"});
    let template =
        json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container], "restartPolicy": "Never"}});
    let job = json!({"metadata": {"name": "j"}, "spec": {"template": template}});
    let jobs = "/apis/batch/v1/namespaces/default/jobs";
    assert_eq!(finalizers_after(&cluster, jobs, job.clone(), json!({})).await.1, orphan);
    assert_eq!(finalizers_after(&cluster, jobs, job, json!({"propagationPolicy": "Background"})).await.1, json!(null));
}

#[tokio::test]
async fn deletions_that_contradict_themselves_are_refused() {
    let cluster = Cluster::start().await;
    cluster.post(MAPS, json!({"metadata": {"name": "a"}})).await.expect(201);
    for (query, options, message) in [
        (
            "",
            json!({"propagationPolicy": "Orphan", "orphanDependents": true}),
            "propagationPolicy: Invalid value: \"Orphan\": orphanDependents and deletionPropagation cannot be both set",
        ),
        (
            "?propagationPolicy=Foreground&orphanDependents=false",
            json!(null),
            "propagationPolicy: Invalid value: \"Foreground\": orphanDependents and deletionPropagation cannot be both set",
        ),
        (
            "",
            json!({"propagationPolicy": "Sideways"}),
            "propagationPolicy: Unsupported value: \"Sideways\": supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\"",
        ),
        ("", json!({"dryRun": ["Some"]}), "dryRun: Unsupported value: [\"Some\"]: supported values: \"All\""),
        ("?dryRun=", json!(null), "dryRun: Unsupported value: [\"\"]: supported values: \"All\""),
        (
            "?propagationPolicy=&dryRun=Some",
            json!(null),
            "[propagationPolicy: Unsupported value: \"\": supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\", \
             dryRun: Unsupported value: [\"Some\"]: supported values: \"All\"]",
        ),
    ] {
        let path = format!("{MAPS}/a{query}");
        let refused = match options.is_null() {
            true => cluster.delete(&path).await,
            false => cluster.delete_with(&path, options.clone()).await,
        };
        let wanted = format!("DeleteOptions.meta.k8s.io \"\" is invalid: {message}");
        assert_eq!(refused.expect(422)["message"], wanted, "{query} {options}");
    }
    cluster.get(&format!("{MAPS}/a")).await.expect(200);
}

#[tokio::test]
async fn a_deletion_by_query_means_what_one_by_body_means() {
    let cluster = Cluster::start().await;
    let path = format!("{MAPS}/a");
    let created = cluster.post(MAPS, json!({"metadata": {"name": "a"}})).await.expect(201);
    let text = |field: &str| created["metadata"][field].as_str().expect("text").to_owned();
    for query in ["uid=00000000-0000-4000-8000-000000000000", "resourceVersion=1"] {
        let refused = cluster.delete(&format!("{path}?{query}")).await.expect(409);
        assert!(refused["message"].as_str().is_some_and(|found| found.contains("in the precondition")), "{refused}");
    }
    // A body hides the query, and where there is none nobody asks of what type it is.
    let headers = [("content-type", "text/plain")];
    let (status, _, _) = cluster.exchange("DELETE", &format!("{path}?dryRun=All"), &headers, "{}").await;
    assert_eq!(status, 415);
    let query = format!("uid={}&resourceVersion={}", text("uid"), text("resourceVersion"));
    let (status, _, _) = cluster.exchange("DELETE", &format!("{path}?{query}"), &headers, "").await;
    assert_eq!(status, 200);
    cluster.get(&path).await.expect(404);
}

#[tokio::test]
async fn a_collection_is_deleted_by_what_selects_and_how() {
    let cluster = Cluster::start().await;
    for (name, tier) in [("a", "front"), ("b", "front"), ("c", "back"), ("d", "back")] {
        let labels = json!({"tier": tier});
        cluster.post(MAPS, json!({"metadata": {"name": name, "labels": labels}})).await.expect(201);
    }
    let names = |list: &Value| -> Vec<String> {
        let items = list["items"].as_array().into_iter().flatten();
        items.map(|item| item["metadata"]["name"].as_str().unwrap_or_default().to_owned()).collect()
    };
    let left = || async { names(&cluster.get(&format!("{MAPS}?labelSelector=tier")).await.expect(200)) };
    let dry = cluster.delete(&format!("{MAPS}?labelSelector=tier&dryRun=All")).await.expect(200);
    assert_eq!((names(&dry).len(), left().await.len()), (4, 4));
    let deleted = cluster.delete(&format!("{MAPS}?labelSelector=tier%3Dfront&fieldSelector=metadata.name%3Da")).await;
    assert_eq!((names(&deleted.expect(200)), left().await.len()), (vec!["a".to_owned()], 3));
    let foreground = json!({"propagationPolicy": "Foreground"});
    cluster.delete_with(&format!("{MAPS}?labelSelector=tier%3Dback"), foreground).await.expect(200);
    let held = cluster.get(&format!("{MAPS}/c")).await.expect(200);
    assert_eq!(held["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    let other = json!({"preconditions": {"uid": "00000000-0000-4000-8000-000000000000"}});
    cluster.delete_with(&format!("{MAPS}?labelSelector=tier%3Dfront"), other).await.expect(409);
    cluster.delete(&format!("{MAPS}?fieldSelector=data.a%3Db")).await.expect(400);
    cluster.delete(&format!("{MAPS}?labelSelector=tier%3Dfront")).await.expect(200);
    assert_eq!(left().await, ["c", "d"]);
}

#[tokio::test]
async fn a_dry_run_answers_as_the_request_would_and_changes_nothing() {
    let cluster = Cluster::start().await;
    cluster.eventually(&format!("{NS}/services/kubernetes")).await;
    let services = format!("{NS}/services");
    let service = |name: &str, spec: Value| {
        let mut service = json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], "type": "NodePort"}});
        for (field, value) in spec.as_object().into_iter().flatten() {
            service["spec"][field] = value.clone();
        }
        service
    };
    // The same address and port can be asked for again and again, and are free in the end.
    let fixed = json!({"clusterIP": "10.43.0.77", "ports": [{"port": 80, "nodePort": 31_777}]});
    for _ in 0..2 {
        let made = cluster.post(&format!("{services}?dryRun=All"), service("s", fixed.clone())).await.expect(201);
        assert_eq!(made["spec"]["clusterIP"], "10.43.0.77");
        assert!(made["metadata"]["uid"].is_string() && made["metadata"].get("resourceVersion").is_none(), "{made}");
    }
    cluster.get(&format!("{services}/s")).await.expect(404);
    let made = cluster.post(&services, service("s", fixed)).await.expect(201);
    cluster.post(&format!("{services}?dryRun=All"), service("s", json!({}))).await.expect(409);

    let path = format!("{services}/s");
    let more = json!({"spec": {"ports": [{"name": "a", "port": 80, "nodePort": 31_777}, {"name": "b", "port": 81, "nodePort": 31_778}]}});
    for _ in 0..2 {
        let patched = cluster.patch(&format!("{path}?dryRun=All"), MERGE, more.clone()).await.expect(200);
        assert_eq!(patched["spec"]["ports"][1]["nodePort"], 31_778);
        assert_eq!(patched["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
    }
    let port = json!({"ports": [{"port": 80, "nodePort": 31_778}]});
    cluster.post(&services, service("t", port)).await.expect(201);
    let mut other = made.clone();
    other["spec"]["type"] = "ClusterIP".into();
    other["spec"]["ports"] = json!([{"port": 80}]);
    let replaced = cluster.put(&format!("{path}?dryRun=All"), other).await.expect(200);
    assert!(replaced["spec"]["ports"][0].get("nodePort").is_none(), "{replaced}");
    let gone = cluster.delete(&format!("{path}?dryRun=All")).await.expect(200);
    assert_eq!(gone["metadata"]["uid"], made["metadata"]["uid"]);
    assert_eq!(cluster.get(&path).await.expect(200), made);
    // Neither the replacement nor the deletion gave anything back.
    let again = json!({"ports": [{"port": 80, "nodePort": 31_777}]});
    cluster.post(&services, service("u", again)).await.expect(422);
    // A missing object that an update would make is not made, and rules hold.
    let lease = "/apis/coordination.k8s.io/v1/namespaces/default/leases/l";
    cluster.put(&format!("{lease}?dryRun=All"), json!({"metadata": {"name": "l"}})).await.expect(201);
    cluster.get(lease).await.expect(404);
    let refused = cluster.post(&format!("{MAPS}?dryRun=Some"), json!({"metadata": {"name": "a"}})).await.expect(422);
    let why =
        "CreateOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: [\"Some\"]: supported values: \"All\"";
    assert_eq!(refused["message"], why);
}

#[tokio::test]
async fn a_generated_name_that_is_taken_is_generated_again_but_not_for_ever() {
    // Upstream tries eight names.
    for (taken, status) in [(7, 201), (8, 409)] {
        let dir = tempfile::tempdir().expect("a directory");
        // Somebody else has just taken the next names.
        let left = AtomicUsize::new(taken);
        let store = Before::new(move |txn| {
            let key = String::from_utf8_lossy(&txn.key);
            let makes = key.contains("/configmaps/default/taken-") && matches!(txn.operation, Operation::Put(_));
            let take = |left: usize| left.checked_sub(1);
            let is_taken = makes && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok();
            is_taken.then(|| txn.clone())
        });
        let cluster = Cluster::start_on(Arc::new(store), dir, |_| {}).await;
        let answer = cluster.post(MAPS, json!({"metadata": {"generateName": "taken-"}})).await.expect(status);
        if status == 201 {
            assert!(answer["metadata"]["name"].as_str().is_some_and(|name| name.len() == "taken-".len() + 5));
            continue;
        }
        let name = answer["details"]["name"].as_str().expect("a name");
        let why = format!(
            "configmaps \"{name}\" already exists, the server was not able to generate a unique name for the object"
        );
        assert_eq!((&answer["message"], &answer["reason"]), (&json!(why), &json!("AlreadyExists")));
        assert_eq!(answer["details"]["retryAfterSeconds"], 1);
    }
}

#[tokio::test]
async fn a_namespace_ends_by_its_finalize_subresource() {
    let cluster = Cluster::start().await;
    let path = "/api/v1/namespaces/n";
    let finalize = |object: &Value, finalizers: Value| {
        let mut object = object.clone();
        object["spec"] = json!({"finalizers": finalizers});
        object
    };
    let made = cluster.post("/api/v1/namespaces", json!({"metadata": {"name": "n"}})).await.expect(201);
    assert_eq!(made["spec"]["finalizers"], json!(["kubernetes"]));
    // An update of the namespace itself leaves them alone.
    let kept = cluster.put(path, finalize(&made, json!([]))).await.expect(200);
    assert_eq!(kept["spec"]["finalizers"], json!(["kubernetes"]));
    let more = cluster.put(&format!("{path}/finalize"), finalize(&kept, json!(["kubernetes", "example.com/f"]))).await;
    assert_eq!(more.expect(200)["spec"]["finalizers"], json!(["kubernetes", "example.com/f"]));
    cluster.put(&format!("{path}/finalize"), finalize(&made, json!([]))).await.expect(409);
    let going = cluster.delete(path).await.expect(200);
    assert_eq!(going["status"]["phase"], "Terminating");
    let free = cluster.put(&format!("{path}/finalize"), finalize(&going, json!([]))).await.expect(200);
    assert!(free["spec"].get("finalizers").is_none(), "{free}");
    cluster.delete(path).await;
    cluster.until_gone(path).await;
    cluster.get(&format!("{path}/finalize")).await.expect(405);
}

#[tokio::test]
async fn what_is_too_large_is_refused_with_upstreams_words() {
    let cluster = Cluster::start().await;
    let map = |bytes: usize| json!({"metadata": {"name": "large"}, "data": {"k": "x".repeat(bytes)}});
    let refused = cluster.post(MAPS, map(3 * 1024 * 1024)).await.expect(413);
    assert_eq!(refused["message"], "Request entity too large: limit is 3145728");
    assert_eq!(refused["reason"], "RequestEntityTooLarge");
    // Of these kinds it is the datastore that has a limit.
    let refused = cluster
        .post(
            "/apis/apps/v1/namespaces/default/controllerrevisions",
            json!({"metadata": {"name": "large"}, "revision": 1, "data": {"k": "x".repeat(2 * 1024 * 1024)}}),
        )
        .await
        .expect(500);
    assert_eq!(refused["message"], "etcdserver: request is too large");
    let wrong = cluster.post(MAPS, map(1024 * 1024 + 1)).await.expect(422);
    assert_eq!(wrong["message"], "ConfigMap \"large\" is invalid: []: Too long: may not be more than 1048576 bytes");
}
