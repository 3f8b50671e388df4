//! `/metrics`: who may read it, and what it counts.

use serde_json::json;

use crate::hooks::Hook;
use crate::support::{Client, Cluster};

const WATCH: &str = r#"group="",resource="configmaps",scope="cluster",subresource="",verb="WATCH",version="v1""#;

/// The value of a metric with these labels, in the order of the text.
pub async fn metric(client: &Client, name: &str, labels: &str) -> Option<f64> {
    let answer = client.fetch("/metrics", &[]).await;
    assert_eq!(
        (answer.status().as_u16(), answer.headers()["content-type"].as_bytes().starts_with(b"text/plain")),
        (200, true)
    );
    let text = String::from_utf8(answer.body().to_vec()).expect("text");
    let start = if labels.is_empty() { format!("{name} ") } else { format!("{name}{{{labels}}} ") };
    text.lines().find_map(|line| line.strip_prefix(&start)).map(|value| value.parse().expect("a number"))
}

/// Waits for a metric to have a value.
pub async fn until(client: &Client, name: &str, labels: &str, wanted: f64) {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    while metric(client, name, labels).await != Some(wanted) {
        assert!(tokio::time::Instant::now() < deadline, "{name}{{{labels}}} is never {wanted}");
        tokio::task::yield_now().await;
    }
}

/// Waits until the server has counted that it took a changed configuration of a part.
pub async fn until_reloaded(client: &Client, part: &str) {
    let name = format!("apiserver_{part}_config_controller_automatic_reload");
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        let text = client.fetch("/metrics", &[]).await.into_body();
        let text = String::from_utf8(text.to_vec()).expect("text");
        let of = |suffix: &str| {
            let start = format!("{name}{suffix}{{apiserver_id_hash=\"sha256:");
            let mut lines = text.lines().filter(|line| line.starts_with(&start) && line.contains("status=\"success\""));
            lines.next().and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).unwrap_or_default()
        };
        if of("s_total") >= 1.0 && of("_last_timestamp_seconds") > 0.0 {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{name} was never counted: {text}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn requests_objects_and_watches_are_counted() {
    let cluster = Cluster::start().await;
    let path = "/api/v1/namespaces/default/configmaps";
    let mut watch = cluster.watch("/api/v1/configmaps?watch=1&labelSelector=a").await;
    for name in ["a", "b"] {
        cluster.post(path, json!({"metadata": {"name": name, "labels": {"a": "b"}}})).await.expect(201);
    }
    cluster.post(path, json!({"metadata": {"name": "a"}})).await.expect(409);
    watch.take(2).await;
    let created = |code: &str| {
        format!(
            r#"code="{code}",component="apiserver",dry_run="",group="",resource="configmaps",scope="resource",subresource="",verb="POST",version="v1""#
        )
    };
    assert_eq!(metric(&cluster, "apiserver_request_total", &created("201")).await, Some(2.0));
    assert_eq!(metric(&cluster, "apiserver_request_total", &created("409")).await, Some(1.0));
    let labels = created("201").replace(r#"code="201","#, "");
    assert_eq!(metric(&cluster, "apiserver_request_duration_seconds_count", &labels).await, Some(3.0));
    let watched = r#"group="",resource="configmaps",version="v1""#;
    assert_eq!(metric(&cluster, "apiserver_watch_events_total", watched).await, Some(2.0));
    let open = format!(r#"component="apiserver",{WATCH}"#);
    assert_eq!(metric(&cluster, "apiserver_longrunning_requests", &open).await, Some(1.0));
    drop(watch);
    assert_eq!(metric(&cluster, "apiserver_longrunning_requests", &open).await, Some(0.0));
    let own = metric(&cluster, "apiserver_current_inflight_requests", r#"request_kind="readOnly""#).await;
    assert!(own.is_some_and(|requests| requests >= 1.0), "the request itself: {own:?}");
    until(&cluster, "apiserver_resource_objects", r#"group="apps",resource="deployments""#, 0.0).await;
    assert_eq!(metric(&cluster, "apiserver_storage_objects", r#"resource="deployments.apps""#).await, Some(0.0));
    assert!(metric(&cluster, "process_start_time_seconds", "").await.is_some_and(|start| start > 0.0));
}

#[tokio::test]
async fn metrics_are_for_those_who_monitor() {
    let cluster = Cluster::start().await;
    cluster.as_user("jane", &[]).get("/metrics").await.expect(403);
    cluster.as_user("prometheus", &["system:monitoring"]).eventually_answers("/metrics", 200).await;
    let paths = cluster.get("/").await.expect(200);
    assert!(paths["paths"].as_array().expect("paths").contains(&json!("/metrics")));
}

#[tokio::test]
async fn findings_of_policies_are_counted() {
    let cluster = Cluster::start().await;
    let group = "/apis/admissionregistration.k8s.io/v1";
    let rules =
        json!([{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE"]}]);
    let spec = json!({"matchConstraints": {"resourceRules": rules}, "validations": [
        {"expression": "object.metadata.name != 'a'"}, {"expression": "object.metadata.name != 'b' || object.no == 1"}]});
    cluster
        .post(&format!("{group}/validatingadmissionpolicies"), json!({"metadata": {"name": "p"}, "spec": spec}))
        .await
        .expect(201);
    let bound = json!({"metadata": {"name": "b"}, "spec": {"policyName": "p", "validationActions": ["Deny", "Audit"]}});
    cluster.post(&format!("{group}/validatingadmissionpolicybindings"), bound).await.expect(201);
    cluster.get(&format!("{group}/validatingadmissionpolicybindings")).await.expect(200);
    for (name, code) in [("a", 422), ("b", 422), ("c", 201)] {
        cluster.post("/api/v1/namespaces/default/configmaps", json!({"metadata": {"name": name}})).await.expect(code);
    }
    for (action, error) in [("deny", "no_error"), ("audit", "no_error"), ("deny", "invalid_error")] {
        let labels = format!(r#"enforcement_action="{action}",error_type="{error}",policy="p",policy_binding="b""#);
        let count = metric(&cluster, "apiserver_validating_admission_policy_check_total", &labels).await;
        assert_eq!(count, Some(1.0), "{labels}");
    }
}

#[tokio::test]
async fn who_asks_and_whether_he_may_is_counted() {
    let cluster = Cluster::start().await;
    let count = async |name: &str, labels: &str| metric(&cluster, name, labels).await.unwrap_or_default();
    let rbac = r#"decision="allowed",name="rbac",type="RBAC""#;
    let before = count("apiserver_authorization_decisions_total", rbac).await;
    cluster.as_user("somebody@example.com", &["system:authenticated"]).eventually_answers("/api", 200).await;
    cluster.as_user("somebody@example.com", &[]).get("/api/v1/nodes").await.expect(403);
    assert!(count("apiserver_authorization_decisions_total", rbac).await > before);
    assert!(count("authenticated_user_requests", r#"username="email_id""#).await >= 2.0);
    assert!(count("authentication_attempts", r#"result="success""#).await >= 2.0);
    assert!(count("authorization_attempts_total", r#"result="allowed""#).await >= 1.0);
    assert!(count("authorization_attempts_total", r#"result="no-opinion""#).await >= 1.0);
    assert!(count("authorization_duration_seconds_count", r#"result="allowed""#).await >= 1.0);
    assert_eq!(count("authentication_attempts", r#"result="error""#).await, 0.0);
    let bad = crate::credentials::get("/version", "authorization: Bearer nonsense\r\n");
    cluster.raw(cluster.connect_anonymous().await, &bad).await.expect(401);
    assert_eq!(count("authentication_attempts", r#"result="error""#).await, 1.0);
    assert_eq!(count("authentication_duration_seconds_count", r#"result="error""#).await, 1.0);
}

#[tokio::test]
async fn admission_is_timed_and_its_refusals_counted() {
    let hook = Hook::start(|review| {
        let is_allowed = review["request"]["name"] != "bad";
        let response = json!({"uid": review["request"]["uid"], "allowed": is_allowed, "status": {"code": 418}});
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
    })
    .await;
    let cluster = Cluster::start().await;
    let webhook = |name: &str, url: &str, policy: &str| {
        json!({
            "name": format!("{name}.example.com"), "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "failurePolicy": policy, "clientConfig": {"url": url, "caBundle": hook.ca_bundle},
            "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}],
        })
    };
    // Nobody has the second's port.
    let webhooks = json!([webhook("asked", &hook.url, "Fail"), webhook("away", "https://127.0.0.1:1", "Ignore")]);
    let path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
    cluster.post(path, json!({"metadata": {"name": "w"}, "webhooks": webhooks})).await.expect(201);
    cluster.get(path).await.expect(200);
    let maps = "/api/v1/namespaces/default/configmaps";
    cluster.post(maps, json!({"metadata": {"name": "good"}})).await.expect(201);
    cluster.post(maps, json!({"metadata": {"name": "bad"}})).await.expect(418);
    let count = async |name: &str, labels: &str| {
        metric(&cluster, &format!("apiserver_admission_{name}"), labels).await.unwrap_or_default()
    };
    let asked = r#"name="asked.example.com",operation="CREATE""#;
    for (code, rejected) in [("200", "false"), ("418", "true")] {
        let labels = format!(r#"code="{code}",{asked},rejected="{rejected}",type="validating""#);
        assert_eq!(count("webhook_request_total", &labels).await, 1.0, "{labels}");
        let labels = format!(r#"{asked},rejected="{rejected}",type="validating""#);
        assert_eq!(count("webhook_admission_duration_seconds_count", &labels).await, 1.0, "{labels}");
    }
    let refusal = format!(r#"error_type="no_error",{asked},rejection_code="418",type="validating""#);
    assert_eq!(count("webhook_rejection_count", &refusal).await, 1.0);
    assert_eq!(count("webhook_fail_open_count", r#"name="away.example.com",type="validating""#).await, 2.0);
    let plugin = r#"name="ValidatingAdmissionWebhook",operation="CREATE",rejected="true",type="validate""#;
    assert_eq!(count("controller_admission_duration_seconds_count", plugin).await, 1.0);
    let step = r#"operation="CREATE",rejected="true",type="validate""#;
    assert_eq!(count("step_admission_duration_seconds_count", step).await, 1.0);
}
