//! `/metrics`: who may read it, and what it counts.

use serde_json::json;

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
