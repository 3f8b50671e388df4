//! Admission webhooks: real servers, good and bad.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::conversion::{V1, define, widget};
use crate::hooks::Hook;
use crate::support::{Cluster, own_address};

pub const MAPS: &str = "/api/v1/namespaces/default/configmaps";
pub const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";

pub fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "1"}})
}

/// An answer to a review.
pub fn answer(review: &Value, response: Value) -> Value {
    let mut response = response;
    response["uid"] = review["request"]["uid"].clone();
    json!({"apiVersion": review["apiVersion"], "kind": "AdmissionReview", "response": response})
}

fn allowed(review: &Value) -> Value {
    answer(review, json!({"allowed": true}))
}

/// An answer that changes the object by a JSON patch.
fn patching(review: &Value, patch: &Value) -> Value {
    use base64::Engine;
    let patch = base64::prelude::BASE64_STANDARD.encode(patch.to_string());
    answer(review, json!({"allowed": true, "patch": patch, "patchType": "JSONPatch"}))
}

/// A webhook for config maps; `more` overrides its fields.
pub fn webhook(name: &str, hook: &Hook, more: Value) -> Value {
    let mut webhook = json!({
        "name": format!("{name}.example.com"),
        "clientConfig": {"url": hook.url, "caBundle": hook.ca_bundle},
        "rules": [{"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}],
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "timeoutSeconds": 30,
    });
    for (field, value) in more.as_object().into_iter().flatten() {
        webhook[field] = value.clone();
    }
    webhook
}

/// Makes a configuration, and waits until the server has it.
pub async fn configure(cluster: &Cluster, kind: &str, name: &str, webhooks: Vec<Value>) {
    let plural = format!("{}s", kind.to_lowercase());
    let configuration = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name},
        "webhooks": webhooks,
    });
    cluster.post(&format!("{GROUP}/{plural}"), configuration).await.expect(201);
    cluster.get(&format!("{GROUP}/{plural}/{name}")).await.expect(200);
}

async fn validating(cluster: &Cluster, webhooks: Vec<Value>) {
    configure(cluster, "ValidatingWebhookConfiguration", "validating", webhooks).await;
}

async fn mutating(cluster: &Cluster, name: &str, webhooks: Vec<Value>) {
    configure(cluster, "MutatingWebhookConfiguration", name, webhooks).await;
}

#[tokio::test]
async fn a_validating_webhook_sees_the_whole_request_and_refuses_it() {
    let hook = Hook::start(|review| {
        let is_denied = review["request"]["name"] == "bad";
        let status = json!({"message": "bad is bad", "code": 403, "reason": "Forbidden"});
        answer(review, json!({"allowed": !is_denied, "status": status, "warnings": ["look out"]}))
    })
    .await;
    let cluster = Cluster::start().await;
    validating(&cluster, vec![webhook("v", &hook, json!({}))]).await;
    let refused = cluster.post(&format!("{MAPS}?fieldManager=me"), map("bad")).await.expect(403);
    let message = "admission webhook \"v.example.com\" denied the request: bad is bad";
    assert_eq!((&refused["message"], &refused["reason"]), (&json!(message), &json!("Forbidden")));
    cluster.get(&format!("{MAPS}/bad")).await.expect(404);
    let mut request = hook.seen().remove(0)["request"].take();
    assert!(request["object"]["metadata"]["uid"].is_string(), "{request}");
    assert_eq!(request["object"]["data"], json!({"a": "1"}));
    for field in ["uid", "object"] {
        request.as_object_mut().expect("a request").remove(field);
    }
    let expected = json!({
        "kind": {"group": "", "version": "v1", "kind": "ConfigMap"},
        "resource": {"group": "", "version": "v1", "resource": "configmaps"},
        "requestKind": {"group": "", "version": "v1", "kind": "ConfigMap"},
        "requestResource": {"group": "", "version": "v1", "resource": "configmaps"},
        "name": "bad", "namespace": "default", "operation": "CREATE", "dryRun": false, "oldObject": null,
        "userInfo": {"username": "system:admin", "groups": ["system:masters", "system:authenticated"]},
        "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "me"},
    });
    assert_eq!(request, expected);
    let response = cluster.request("POST", MAPS, &[("content-type", "application/json")], map("a").to_string()).await;
    assert_eq!(response.status(), 201);
    assert_eq!(response.headers()["warning"], "299 - \"look out\"");
}

#[tokio::test]
async fn updates_and_deletions_show_what_was_there() {
    let hook = Hook::start(allowed).await;
    let cluster = Cluster::start().await;
    cluster.post(MAPS, map("a")).await.expect(201);
    cluster.post(MAPS, map("b")).await.expect(201);
    validating(&cluster, vec![webhook("v", &hook, json!({}))]).await;
    let merge = "application/merge-patch+json";
    cluster.patch(&format!("{MAPS}/a"), merge, json!({"data": {"a": "2"}})).await.expect(200);
    cluster.delete(&format!("{MAPS}/a")).await.expect(200);
    cluster.delete(&format!("{MAPS}?fieldSelector=metadata.name=b")).await.expect(200);
    let seen: Vec<Value> = hook
        .seen()
        .iter()
        .map(|review| {
            let request = &review["request"];
            json!([
                request["operation"],
                request["name"],
                request["object"]["data"],
                request["oldObject"]["data"],
                request["options"]["kind"]
            ])
        })
        .collect();
    let expected = [
        json!(["UPDATE", "a", {"a": "2"}, {"a": "1"}, "UpdateOptions"]),
        json!(["DELETE", "a", null, {"a": "2"}, "DeleteOptions"]),
        json!(["DELETE", "b", null, {"a": "1"}, "DeleteOptions"]),
    ];
    assert_eq!(seen, expected);
    assert!(hook.connections() < seen.len(), "connections are kept: {}", hook.connections());
}

#[tokio::test]
async fn mutating_webhooks_change_the_object_in_order_and_are_called_again_if_they_ask() {
    // Each adds its name to `data.by`.
    let appending = |name: &'static str| {
        move |review: &Value| {
            let by = review["request"]["object"]["data"]["by"].as_str().unwrap_or_default();
            let value = format!("{by}{name}");
            match by.contains(name) {
                true => allowed(review),
                false => patching(review, &json!([{"op": "add", "path": "/data/by", "value": value}])),
            }
        }
    };
    let (a, b) = (Hook::start(appending("a")).await, Hook::start(appending("b")).await);
    let cluster = Cluster::start().await;
    mutating(&cluster, "second", vec![webhook("b", &b, json!({}))]).await;
    mutating(&cluster, "first", vec![webhook("a", &a, json!({"reinvocationPolicy": "IfNeeded"}))]).await;
    let created = cluster.post(MAPS, map("x")).await.expect(201);
    assert_eq!(created["data"]["by"], "ab");
    assert_eq!((a.seen().len(), b.seen().len()), (2, 1));
    assert_eq!(a.seen()[1]["request"]["object"]["data"]["by"], "ab");
    assert_eq!(cluster.get(&format!("{MAPS}/x")).await.expect(200)["data"]["by"], "ab");
}

#[tokio::test]
async fn what_a_webhook_adds_gets_its_defaults_and_is_validated() {
    let hook = Hook::start(|review| {
        let name = if review["request"]["name"] == "bad" { "Not A Name" } else { "side" };
        let container = json!({"name": name, "image": "busybox"});
        patching(review, &json!([{"op": "add", "path": "/spec/containers/-", "value": container}]))
    })
    .await;
    let cluster = Cluster::start().await;
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    cluster.post("/api/v1/namespaces/default/serviceaccounts", account).await;
    let rules = json!([{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]);
    mutating(&cluster, "m", vec![webhook("m", &hook, json!({"rules": rules}))]).await;
    let pod = |name: &str| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {"containers": [{"name": "main", "image": "busybox"}]}})
    };
    let pods = "/api/v1/namespaces/default/pods";
    let created = cluster.post(pods, pod("a")).await.expect(201);
    let side = &created["spec"]["containers"][1];
    assert_eq!((&side["name"], &side["imagePullPolicy"]), (&json!("side"), &json!("Always")));
    // The second round of the server's own plugins gives it the account's token.
    assert_eq!(side["volumeMounts"][0]["mountPath"], "/var/run/secrets/kubernetes.io/serviceaccount");
    let invalid = cluster.post(pods, pod("bad")).await.expect(422);
    assert_eq!(invalid["details"]["causes"][0]["field"], "spec.containers[1].name");
}

#[tokio::test]
async fn bad_patches_are_refused_whatever_the_failure_policy() {
    let hook = Hook::start(|review| patching(review, &json!([{"op": "remove", "path": "/none"}]))).await;
    let cluster = Cluster::start().await;
    cluster.post(MAPS, map("there")).await.expect(201);
    mutating(&cluster, "m", vec![webhook("m", &hook, json!({"failurePolicy": "Ignore"}))]).await;
    let refused = cluster.post(MAPS, map("a")).await.expect(500);
    let message = refused["message"].as_str().unwrap_or_default();
    assert!(
        message.starts_with("Internal error occurred: the patch of admission webhook \"m.example.com\""),
        "{message}"
    );
    let refused = cluster.delete(&format!("{MAPS}/there")).await.expect(500);
    let why = "Internal error occurred: admission webhook \"m.example.com\" attempted to modify the object, which is not supported for this operation";
    assert_eq!(refused["message"], why);
}

#[tokio::test]
async fn dry_runs_reach_only_webhooks_without_side_effects() {
    let hook = Hook::start(allowed).await;
    let cluster = Cluster::start().await;
    validating(&cluster, vec![webhook("v", &hook, json!({"sideEffects": "NoneOnDryRun"}))]).await;
    cluster.post(&format!("{MAPS}?dryRun=All"), map("a")).await.expect(201);
    assert_eq!(hook.seen()[0]["request"]["dryRun"], true);
    assert_eq!(hook.seen()[0]["request"]["options"]["dryRun"], json!(["All"]));
    cluster.get(&format!("{MAPS}/a")).await.expect(404);
}

#[tokio::test]
async fn webhooks_may_stand_behind_services() {
    let Some(ip) = own_address() else { return };
    let hook = Hook::start_with(ip, |review| {
        let said = (200, Bytes::from(answer(&review, json!({"allowed": false})).to_string()));
        Box::pin(std::future::ready(said))
    })
    .await;
    let cluster = Cluster::start().await;
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "hooks"},
        "spec": {"ports": [{"name": "https", "port": 443, "targetPort": hook.address.port()}]}});
    cluster.post("/api/v1/namespaces/default/services", service).await.expect(201);
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "hooks", "labels": {"kubernetes.io/service-name": "hooks"}},
        "ports": [{"name": "https", "port": hook.address.port()}], "endpoints": [{"addresses": [ip.to_string()]}],
    });
    cluster.post("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", slice).await.expect(201);
    let client = json!({"service": {"name": "hooks", "namespace": "default"}, "caBundle": hook.ca_bundle});
    validating(&cluster, vec![webhook("v", &hook, json!({"clientConfig": client}))]).await;
    let refused = cluster.post(MAPS, map("a")).await.expect(400);
    assert_eq!(refused["message"], "admission webhook \"v.example.com\" denied the request without explanation");
}

#[tokio::test]
async fn selectors_and_conditions_choose_requests() {
    let hook = Hook::start(|review| answer(review, json!({"allowed": false}))).await;
    let cluster = Cluster::start().await;
    let conditions = json!([
        {"name": "named", "expression": "object.metadata.name.startsWith('x')"},
        {"name": "user", "expression": "request.userInfo.username == 'system:admin'"},
        {"name": "may", "expression": "authorizer.requestResource.check('create').allowed()"},
    ]);
    let more = json!({
        "objectSelector": {"matchLabels": {"checked": "yes"}}, "matchConditions": conditions,
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}},
    });
    validating(&cluster, vec![webhook("v", &hook, more)]).await;
    let labeled = |name: &str| {
        let mut map = map(name);
        map["metadata"]["labels"] = json!({"checked": "yes"});
        map
    };
    cluster.post(MAPS, map("x1")).await.expect(201);
    cluster.post(MAPS, labeled("a")).await.expect(201);
    cluster.post("/api/v1/namespaces/kube-system/configmaps", labeled("x2")).await.expect(201);
    cluster.post(MAPS, labeled("x3")).await.expect(400);
}

#[tokio::test]
async fn a_condition_that_fails_refuses_the_request() {
    let hook = Hook::start(allowed).await;
    let cluster = Cluster::start().await;
    let conditions = json!([{"name": "c", "expression": "object.data.none == 'x'"}]);
    validating(&cluster, vec![webhook("v", &hook, json!({"matchConditions": conditions}))]).await;
    let refused = cluster.post(MAPS, map("a")).await.expect(403);
    let why =
        "configmaps \"a\" is forbidden: expression 'object.data.none == 'x'' resulted in error: no such key: none";
    assert_eq!(refused["message"], why);
}

#[tokio::test]
async fn equivalent_versions_are_shown_as_the_rule_names_them() {
    let hook = Hook::start(|review| {
        patching(review, &json!([{"op": "add", "path": "/spec/targetCPUUtilizationPercentage", "value": 42}]))
    })
    .await;
    let cluster = Cluster::start().await;
    let rules = json!([{"operations": ["CREATE"], "apiGroups": ["autoscaling"], "apiVersions": ["v1"],
        "resources": ["horizontalpodautoscalers"]}]);
    mutating(&cluster, "m", vec![webhook("m", &hook, json!({"rules": rules}))]).await;
    let scaler = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"},
        "spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}},
    });
    let path = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
    let created = cluster.post(path, scaler).await.expect(201);
    assert_eq!(created["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 42);
    let request = hook.seen().remove(0)["request"].take();
    assert_eq!(request["kind"]["version"], "v1");
    assert_eq!(request["requestKind"]["version"], "v2");
    assert_eq!(request["object"]["apiVersion"], "autoscaling/v1");
}

#[tokio::test]
async fn each_version_is_made_once_for_all_who_see_it() {
    let cluster = Cluster::start().await;
    let (converts, hook) = (define(&cluster).await, Hook::start(allowed).await);
    let more = json!({
        "rules": [{"operations": ["*"], "apiGroups": ["example.com"], "apiVersions": ["v2"], "resources": ["widgets"]}],
        "matchConditions": [{"name": "new", "expression": "object.spec.new == 'x'"}],
    });
    let all = || ["a", "b", "c"].map(|name| webhook(name, &hook, more.clone())).to_vec();
    mutating(&cluster, "m", all()).await;
    validating(&cluster, all()).await;
    let before = converts.seen().len();
    cluster.post(V1, widget("v1", "a", json!({"old": "x"}))).await.expect(201);
    let reviews = hook.seen();
    assert_eq!(reviews.len(), 6);
    assert!(reviews.iter().all(|review| review["request"]["object"]["spec"] == json!({"new": "x"})), "{reviews:?}");
    assert_eq!(converts.seen().len() - before, 2, "once while it may change, and once as it is written");
    // What is no more what it was is made anew for those who come then.
    let change = json!([{"op": "replace", "path": "/spec/new", "value": "y"}]);
    let changes = Hook::start(move |review| patching(review, &change)).await;
    configure(&cluster, "MutatingWebhookConfiguration", "l", vec![webhook("l", &changes, more.clone())]).await;
    let after = hook.seen().len();
    let created = cluster.post(V1, widget("v1", "b", json!({"old": "x"}))).await.expect(201);
    assert_eq!((&created["spec"]["old"], hook.seen().len()), (&json!("y"), after), "the others are for x alone");
}

#[tokio::test]
async fn subresources_are_reviewed_as_what_is_sent_to_them() {
    let hook = Hook::start(allowed).await;
    let cluster = Cluster::start().await;
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    cluster.post("/api/v1/namespaces/default/serviceaccounts", account).await;
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let labels = json!({"app": "a"});
    let spec = json!({"containers": [{"name": "a", "image": "busybox"}]});
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": spec}}});
    cluster.post(deployments, deployment).await.expect(201);
    let pods = "/api/v1/namespaces/default/pods";
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec});
    cluster.post(pods, pod).await.expect(201);
    let rules = json!([{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"]}]);
    validating(&cluster, vec![webhook("v", &hook, json!({"rules": rules}))]).await;
    let merge = "application/merge-patch+json";
    cluster.patch(&format!("{deployments}/d/scale"), merge, json!({"spec": {"replicas": 3}})).await.expect(200);
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"name": "n"}});
    cluster.post(&format!("{pods}/p/binding"), binding).await.expect(201);
    cluster.post(&format!("{pods}/p/exec?command=ls"), json!({})).await;
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}});
    cluster.post(&format!("{pods}/p/eviction"), eviction).await.expect(201);
    let seen: Vec<Value> = hook
        .seen()
        .iter()
        .map(|review| {
            let request = &review["request"];
            json!([request["operation"], request["subResource"], request["kind"]["kind"], request["object"]["kind"]])
        })
        .collect();
    let expected = [
        json!(["UPDATE", "scale", "Scale", "Scale"]),
        json!(["CREATE", "binding", "Binding", "Binding"]),
        json!(["CONNECT", "exec", "PodExecOptions", "PodExecOptions"]),
        json!(["CREATE", "eviction", "Eviction", "Eviction"]),
    ];
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn nobody_can_lock_the_configurations_themselves() {
    let hook = Hook::start(|review| answer(review, json!({"allowed": false}))).await;
    let cluster = Cluster::start().await;
    let rules = json!([{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}]);
    validating(&cluster, vec![webhook("v", &hook, json!({"rules": rules}))]).await;
    cluster.post(MAPS, map("a")).await.expect(400);
    cluster.delete(&format!("{GROUP}/validatingwebhookconfigurations/validating")).await.expect(200);
    cluster.post(MAPS, map("a")).await.expect(201);
}
