//! The audit log: what is written of requests, and how much of them.

use std::net::Ipv4Addr;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};
use skiff_apiserver::{AuditConfig, AuditFormat, AuditLog, AuditWebhook, Truncation};

use crate::hooks::Hook;
use crate::metrics::metric;
use crate::support::Cluster;

const POLICY: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
rules:
- level: None
  users: ["system:apiserver"]
- level: Metadata
  resources: [{group: "", resources: ["secrets"]}]
- level: RequestResponse
  omitManagedFields: true
  omitStages: [RequestReceived]
  resources: [{group: "", resources: ["configmaps", "pods"]}]
- level: Metadata
  omitStages: [RequestReceived]
"#;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// A cluster with a log, and where that is.
pub async fn start(format: AuditFormat) -> (Cluster, tempfile::TempDir) {
    start_with(POLICY, format).await
}

async fn start_with(policy: &str, format: AuditFormat) -> (Cluster, tempfile::TempDir) {
    let (audit, dir) = log_by(policy, format);
    (Cluster::start_with(|config| config.audit = Some(audit)).await, dir)
}

/// A log by these tests' policy, and where it will be.
pub fn log(format: AuditFormat) -> (AuditConfig, tempfile::TempDir) {
    log_by(POLICY, format)
}

fn log_by(policy: &str, format: AuditFormat) -> (AuditConfig, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    let log = AuditLog {
        path: dir.path().join("audit.log"),
        max_size: 1 << 20,
        max_backups: 0,
        max_age: Duration::ZERO,
        compress: false,
        format,
    };
    let policy = policy.parse().expect("a policy");
    (AuditConfig { policy, log: Some(log), webhook: None }, dir)
}

/// The lines of the log, once one of them is as wanted.
async fn lines(dir: &tempfile::TempDir, is_wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        let text = std::fs::read_to_string(dir.path().join("audit.log")).unwrap_or_default();
        let whole = text.rsplit_once('\n').map_or("", |(lines, _)| lines);
        if whole.lines().any(&is_wanted) {
            return whole.lines().map(str::to_owned).collect();
        }
        assert!(tokio::time::Instant::now() < deadline, "it is not in the log: {text}");
        tokio::task::yield_now().await;
    }
}

/// The event of a request at a stage.
pub async fn event(dir: &tempfile::TempDir, id: &str, stage: &str) -> Value {
    let is_wanted = |line: &str| line.contains(&format!(r#""auditID":"{id}","stage":"{stage}""#));
    let lines = lines(dir, is_wanted).await;
    let line = lines.iter().find(|line| is_wanted(line)).expect("it is there");
    serde_json::from_str(line).expect("JSON")
}

#[tokio::test]
async fn events_keep_what_the_policy_says() {
    let (cluster, dir) = start(AuditFormat::Json).await;
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"a": "b"}});
    let headers = |id| [("audit-id", id), ("content-type", "application/json"), ("user-agent", "tests/1.0")];
    cluster.exchange("POST", MAPS, &headers("create"), map.to_string()).await;
    let created = event(&dir, "create", "ResponseComplete").await;
    assert_eq!(created["level"], "RequestResponse");
    assert_eq!((&created["verb"], &created["requestURI"]), (&json!("create"), &json!(MAPS)));
    assert_eq!((&created["user"]["username"], &created["userAgent"]), (&json!("system:admin"), &json!("tests/1.0")));
    let object = json!({"resource": "configmaps", "namespace": "default", "name": "m", "apiVersion": "v1"});
    assert_eq!(created["objectRef"], object);
    assert_eq!(created["responseStatus"], json!({"metadata": {}, "code": 201}));
    assert_eq!(created["requestObject"], map);
    assert_eq!(created["responseObject"]["data"], json!({"a": "b"}));
    assert!(created["responseObject"]["metadata"].get("managedFields").is_none());
    assert_eq!(created["annotations"]["authorization.k8s.io/decision"], "allow");
    let log = lines(&dir, |_| true).await;
    assert!(!log.iter().any(|line| line.contains(r#""auditID":"create","stage":"RequestReceived""#)));

    let kept = metric(&cluster, "apiserver_audit_level_total", r#"level="RequestResponse""#).await;
    assert!(kept.is_some_and(|kept| kept >= 1.0), "{kept:?}");
    assert!(metric(&cluster, "apiserver_audit_event_total", "").await.is_some_and(|events| events >= 1.0));
    assert_eq!(metric(&cluster, "apiserver_audit_error_total", r#"plugin="log""#).await, Some(0.0));

    // Secrets are not in it, and failures are.
    let secret = json!({"metadata": {"name": "s"}, "stringData": {"password": "do-not-write-this"}});
    let path = "/api/v1/namespaces/default/secrets";
    cluster.exchange("POST", path, &headers("secret"), secret.to_string()).await;
    let secret = event(&dir, "secret", "ResponseComplete").await;
    assert_eq!((&secret["level"], &secret["objectRef"]["name"]), (&json!("Metadata"), &json!("s")));
    event(&dir, "secret", "RequestReceived").await;
    cluster.exchange("GET", "/api/v1/nodes/nowhere", &headers("missing"), "").await;
    let missing = event(&dir, "missing", "ResponseComplete").await;
    let status = &missing["responseStatus"];
    assert_eq!((&status["reason"], &status["code"]), (&json!("NotFound"), &json!(404)));
    let log = lines(&dir, |_| true).await;
    assert!(!log.iter().any(|line| line.contains("do-not-write-this")));
}

#[tokio::test]
async fn stages_left_out_by_the_policy_are_left_out_of_every_rule() {
    let policy = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Request
  resources: [{group: "", resources: ["configmaps"]}]
- level: Metadata
"#;
    let (cluster, dir) = start_with(policy, AuditFormat::Json).await;
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"a": "b"}});
    let headers = |id| [("audit-id", id), ("content-type", "application/json")];
    cluster.exchange("POST", MAPS, &headers("create"), map.to_string()).await;
    let created = event(&dir, "create", "ResponseComplete").await;
    assert_eq!((&created["level"], &created["requestObject"]), (&json!("Request"), &map));
    assert!(created.get("responseObject").is_none(), "{created}");
    cluster.exchange("GET", "/api/v1/namespaces/default", &headers("get"), "").await;
    let got = event(&dir, "get", "ResponseComplete").await;
    assert_eq!((&got["level"], got.get("requestObject")), (&json!("Metadata"), None));
    let log = lines(&dir, |_| true).await;
    assert!(!log.iter().any(|line| line.contains(r#""stage":"RequestReceived""#)), "{log:?}");
}

#[tokio::test]
async fn what_webhooks_and_policies_note_is_in_the_event() {
    let (cluster, dir) = start(AuditFormat::Json).await;
    let group = "/apis/admissionregistration.k8s.io/v1";
    let hook = Hook::start(|review| {
        let response = json!({"uid": review["request"]["uid"], "allowed": true, "auditAnnotations": {"seen": "by me"}});
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
    })
    .await;
    let rules = json!([{"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}]);
    let webhook = json!({
        "name": "notes.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"], "rules": rules,
        "clientConfig": {"url": hook.url, "caBundle": hook.ca_bundle},
    });
    let configuration = json!({"metadata": {"name": "w"}, "webhooks": [webhook]});
    cluster.post(&format!("{group}/validatingwebhookconfigurations"), configuration).await.expect(201);
    let policy = json!({
        "metadata": {"name": "p"},
        "spec": {
            "matchConstraints": {"resourceRules": rules},
            "validations": [{"expression": "has(object.data.a)", "message": "no a"}],
            "auditAnnotations": [{"key": "keys", "valueExpression": "string(object.data.size())"}],
        },
    });
    cluster.post(&format!("{group}/validatingadmissionpolicies"), policy).await.expect(201);
    let binding = json!({"metadata": {"name": "b"}, "spec": {"policyName": "p", "validationActions": ["Audit"]}});
    cluster.post(&format!("{group}/validatingadmissionpolicybindings"), binding).await.expect(201);
    // Whoever reads them back knows that the server has them.
    for plural in ["validatingwebhookconfigurations", "validatingadmissionpolicybindings"] {
        cluster.get(&format!("{group}/{plural}")).await.expect(200);
    }

    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"b": "", "c": ""}});
    let headers = [("audit-id", "noted"), ("content-type", "application/json")];
    let (status, ..) = cluster.exchange("POST", MAPS, &headers, map.to_string()).await;
    assert_eq!(status, 201);
    let event = event(&dir, "noted", "ResponseComplete").await;
    let annotations = &event["annotations"];
    assert_eq!(annotations["notes.example.com/seen"], "by me");
    assert_eq!(annotations["p/keys"], "2");
    let failure = annotations["validation.policy.admission.k8s.io/validation_failure"].as_str().expect("a failure");
    let failure: Value = serde_json::from_str(failure).expect("JSON");
    let expected = json!([{
        "message": "no a", "policy": "p", "binding": "b", "expressionIndex": 0, "validationActions": ["Audit"],
    }]);
    assert_eq!(failure, expected);
}

#[tokio::test]
async fn a_webhook_that_is_away_has_failed_open_only_where_it_may_be_missed() {
    let (cluster, dir) = start(AuditFormat::Json).await;
    let webhook = |name: &str, policy: &str| {
        json!({
            "name": format!("{name}.example.com"), "failurePolicy": policy, "sideEffects": "None",
            // Nobody has this port.
            "clientConfig": {"url": "https://127.0.0.1:1"}, "admissionReviewVersions": ["v1"],
            "rules": [{"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}],
        })
    };
    let configuration = |kind: &str, webhooks: Value| {
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
            "metadata": {"name": "w"}, "webhooks": webhooks})
    };
    // Whoever reads them back knows that the server has them.
    let configure = async |plural: &str, configuration: Value| {
        let path = format!("/apis/admissionregistration.k8s.io/v1/{plural}");
        cluster.post(&path, configuration).await.expect(201);
        cluster.get(&format!("{path}/w")).await.expect(200);
    };
    let mutating = configuration("MutatingWebhookConfiguration", json!([webhook("m", "Ignore")]));
    configure("mutatingwebhookconfigurations", mutating).await;
    let both = json!([webhook("closed", "Fail"), webhook("open", "Ignore")]);
    let validating = configuration("ValidatingWebhookConfiguration", both);
    configure("validatingwebhookconfigurations", validating).await;

    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}});
    let headers = [("audit-id", "hooked"), ("content-type", "application/json")];
    let response = cluster.request("POST", MAPS, &headers, map.to_string()).await;
    assert_eq!(response.status(), 500);
    let event = event(&dir, "hooked", "ResponseComplete").await;
    let annotations = event["annotations"].as_object().expect("annotations");
    // The keys of a JSON object are in their order.
    let open = annotations.iter().filter(|(key, _)| key.starts_with("failed-open."));
    let wanted = [
        ("failed-open.mutation.webhook.admission.k8s.io/round_0_index_0", "m.example.com"),
        ("failed-open.validating.webhook.admission.k8s.io/round_0_index_1", "open.example.com"),
    ];
    let open: Vec<_> = open.map(|(key, name)| (key.as_str(), name.as_str().expect("a name"))).collect();
    assert_eq!(open, wanted);
}

#[tokio::test]
async fn patches_of_webhooks_are_kept_with_bodies() {
    let hook = Hook::start(|review| {
        let patch = json!([{"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}]).to_string();
        let response = json!({"uid": review["request"]["uid"], "allowed": true, "patchType": "JSONPatch",
            "patch": BASE64_STANDARD.encode(patch)});
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
    })
    .await;
    let (cluster, dir) = start(AuditFormat::Json).await;
    let webhook = json!({
        "name": "m.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "clientConfig": {"url": hook.url, "caBundle": hook.ca_bundle},
        "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"],
            "resources": ["configmaps", "secrets"]}],
    });
    let configuration = json!({"metadata": {"name": "w"}, "webhooks": [webhook]});
    let path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
    cluster.post(path, configuration).await.expect(201);
    cluster.get(path).await.expect(200);
    let mutation = r#"{"configuration":"w","webhook":"m.example.com","mutated":true}"#;
    let patch = r#"{"configuration":"w","webhook":"m.example.com","patch":[{"op":"add","path":"/metadata/labels","value":{"a":"b"}}],"patchType":"JSONPatch"}"#;
    for (plural, patch) in [("configmaps", json!(patch)), ("secrets", Value::Null)] {
        let headers = [("audit-id", plural), ("content-type", "application/json")];
        let path = format!("/api/v1/namespaces/default/{plural}");
        let response = cluster.request("POST", &path, &headers, json!({"metadata": {"name": "m"}}).to_string()).await;
        assert_eq!(response.status(), 201);
        let annotations = &event(&dir, plural, "ResponseComplete").await["annotations"];
        let of = |prefix: &str| &annotations[format!("{prefix}.webhook.admission.k8s.io/round_0_index_0")];
        assert_eq!((of("mutation"), of("patch")), (&json!(mutation), &patch), "{annotations}");
    }
}

#[tokio::test]
async fn watches_refusals_and_other_identities_are_kept() {
    let (cluster, dir) = start(AuditFormat::Json).await;
    let watch = cluster.request("GET", "/api/v1/namespaces?watch=1", &[("audit-id", "watch")], "").await;
    let started = event(&dir, "watch", "ResponseStarted").await;
    assert_eq!((&started["verb"], &started["responseStatus"]["code"]), (&json!("watch"), &json!(200)));
    drop(watch);
    event(&dir, "watch", "ResponseComplete").await;

    let headers = [("audit-id", "other"), ("impersonate-user", "anna"), ("x-forwarded-for", "192.0.2.7, nonsense")];
    cluster.exchange("GET", "/api/v1/namespaces/default/pods", &headers, "").await;
    let other = event(&dir, "other", "ResponseComplete").await;
    assert_eq!(other["impersonatedUser"]["username"], "anna");
    assert_eq!(other["sourceIPs"], json!(["192.0.2.7"]));
    assert_eq!(other["annotations"]["authorization.k8s.io/decision"], "forbid");
    assert_eq!(other["responseObject"]["reason"], "Forbidden");

    let request = "GET /api HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\naudit-id: refused\r\n\
                   authorization: Bearer nonsense\r\n\r\n";
    cluster.raw(cluster.connect_anonymous().await, request).await.expect(401);
    let refused = event(&dir, "refused", "ResponseStarted").await;
    assert_eq!((&refused["responseStatus"]["code"], &refused["sourceIPs"]), (&json!(401), &json!(["127.0.0.1"])));
}

#[tokio::test]
async fn pods_that_break_a_standard_are_noted() {
    let (cluster, dir) = start(AuditFormat::Json).await;
    let labels = json!({"metadata": {"labels": {"pod-security.kubernetes.io/audit": "baseline"}}});
    cluster.patch("/api/v1/namespaces/default", "application/merge-patch+json", labels).await.expect(200);
    let account = json!({"metadata": {"name": "default"}});
    cluster.post("/api/v1/namespaces/default/serviceaccounts", account).await.expect(201);
    let pod =
        json!({"metadata": {"name": "p"}, "spec": {"hostNetwork": true, "containers": [{"name": "c", "image": "i"}]}});
    let headers = [("audit-id", "pod"), ("content-type", "application/json")];
    let answer = cluster.exchange("POST", "/api/v1/namespaces/default/pods", &headers, pod.to_string()).await;
    assert_eq!(answer.0, 201, "{:?}", answer.2);
    let annotations = &event(&dir, "pod", "ResponseComplete").await["annotations"];
    assert_eq!(annotations["pod-security.kubernetes.io/enforce-policy"], "privileged:latest");
    let violations = annotations["pod-security.kubernetes.io/audit-violations"].as_str().expect("violations");
    assert!(violations.starts_with("would violate PodSecurity \"baseline:latest\": host namespaces"), "{violations}");
}

#[tokio::test]
async fn the_first_format_is_text() {
    let (cluster, dir) = start(AuditFormat::Legacy).await;
    cluster.exchange("GET", MAPS, &[("audit-id", "list")], "").await;
    let is_wanted = |line: &str| line.contains("id=\"list\" stage=\"ResponseComplete\"");
    let lines = lines(&dir, is_wanted).await;
    let line = lines.iter().find(|line| is_wanted(line)).expect("it is there");
    let part = "method=\"list\" user=\"system:admin\" groups=\"system:masters\",\"system:authenticated\" as=\"<self>\" \
                asgroups=\"<lookup>\"";
    assert!(line.contains(part) && line.ends_with("response=\"200\""), "{line}");
}

/// A kubeconfig that leads to a webhook.
fn kubeconfig(dir: &tempfile::TempDir, hook: &Hook) -> std::path::PathBuf {
    let file = dir.path().join("kubeconfig");
    let cluster = json!({"server": hook.url, "certificate-authority-data": hook.ca_bundle});
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c", "users": [],
        "clusters": [{"name": "hook", "cluster": cluster}], "contexts": [{"name": "c", "context": {"cluster": "hook"}}],
    });
    std::fs::write(&file, config.to_string()).expect("written");
    file
}

/// The events that a server was sent, once all of these are among them; and in how many lists.
async fn sent(hook: &Hook, ids: &[&str]) -> (Vec<Value>, usize) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        let lists = hook.seen();
        let events: Vec<Value> =
            lists.iter().flat_map(|list| list["items"].as_array().cloned().unwrap_or_default()).collect();
        let is_there =
            |id: &&str| events.iter().any(|event| event["auditID"] == **id && event["stage"] == "ResponseComplete");
        if ids.iter().all(is_there) {
            assert!(lists.iter().all(|list| list["kind"] == "EventList" && list["apiVersion"] == "audit.k8s.io/v1"));
            return (events, lists.len());
        }
        assert!(tokio::time::Instant::now() < deadline, "not sent: {lists:?}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn events_are_sent_to_a_server_many_at_a_time() {
    let dir = tempfile::tempdir().expect("a directory");
    // A server that fails is asked again.
    let failures = std::sync::atomic::AtomicUsize::new(0);
    let hook = Hook::start_with(Ipv4Addr::LOCALHOST.into(), move |_| {
        let is_first = failures.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
        Box::pin(std::future::ready((if is_first { 500 } else { 200 }, Bytes::new())))
    })
    .await;
    let webhook = AuditWebhook {
        initial_backoff: Duration::from_millis(10),
        batch_max_size: 4,
        batch_max_wait: Duration::from_millis(50),
        throttle: Some((1000.0, 1)),
        truncate: Some(Truncation { max_event_size: 4096, max_batch_size: 6000 }),
        ..AuditWebhook::new(kubeconfig(&dir, &hook))
    };
    let audit = AuditConfig { policy: POLICY.parse().expect("a policy"), log: None, webhook: Some(webhook) };
    let cluster = Cluster::start_with(|config| config.audit = Some(audit)).await;
    let headers = |id| [("audit-id", id), ("content-type", "application/json")];
    let map =
        |name: &str, size: usize| json!({"metadata": {"name": name}, "data": {"a": "x".repeat(size)}}).to_string();
    let create = async |id, body: String| {
        assert_eq!(cluster.exchange("POST", MAPS, &headers(id), body).await.0, 201);
    };
    create("small", map("small", 10)).await;
    create("large", map("large", 5000)).await;
    let names: Vec<String> = (0..6).map(|index| format!("many{index}")).collect();
    for name in &names {
        cluster.exchange("GET", MAPS, &[("audit-id", name.as_str())], "").await;
    }
    let mut ids: Vec<&str> = names.iter().map(String::as_str).collect();
    ids.extend(["small", "large"]);
    let (events, lists) = sent(&hook, &ids).await;
    assert!(lists < events.len(), "{lists} lists of {} events", events.len());
    let of = |id: &str| events.iter().find(|event| event["auditID"] == id).expect("it was sent");
    assert_eq!(of("small")["requestObject"]["metadata"]["name"], "small");
    let large = of("large");
    assert!(large["requestObject"].is_null() && large["responseObject"].is_null(), "{large}");
    assert_eq!(large["annotations"]["audit.k8s.io/truncated"], "true");
    assert!(hook.seen().iter().all(|list| list["items"].as_array().is_some_and(|items| items.len() <= 4)));
}
