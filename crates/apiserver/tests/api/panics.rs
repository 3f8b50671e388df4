//! A handler that panics: who asked is told, the audit log says so, and the server goes on.

use std::sync::Arc;

use serde_json::json;
use skiff_apiserver::AuditFormat;
use store::Store;

use crate::audit::{self, event};
use crate::before::Before;
use crate::metrics::{metric, until};
use crate::support::Cluster;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// A datastore in which one key is a fault of the program.
fn faulty() -> impl Store + 'static {
    Before::new(|txn| {
        let key = String::from_utf8_lossy(&txn.key).into_owned();
        assert!(!key.ends_with("/configmaps/default/fault"), "{key} is a fault");
        None
    })
}

fn post(name: &str, id: &str) -> String {
    let body = json!({"metadata": {"name": name}}).to_string();
    let length = body.len();
    format!(
        "POST {MAPS} HTTP/1.1\r\nhost: x\r\nconnection: close\r\naudit-id: {id}\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
}

#[tokio::test]
async fn what_panics_is_told_and_noted_and_breaks_nothing() {
    let (config, dir) = audit::log(AuditFormat::Json);
    let keys = tempfile::tempdir().expect("a directory");
    let store = Arc::new(faulty());
    let cluster = Cluster::start_on(store, keys, |changed| changed.audit = Some(config)).await;
    let binding = json!({
        "metadata": {"name": "jane"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane"}],
    });
    cluster.post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding).await.expect(201);

    for attempt in 0..3 {
        let id = format!("fault-{attempt}");
        let answer = cluster.raw(cluster.connect("jane", &[]).await, &post("fault", &id)).await.expect(500);
        let answer = answer.as_str().unwrap_or_default();
        let text = "This request caused apiserver to panic. Look in the logs for details.\n";
        assert!(answer.ends_with(text) && answer.contains("x-content-type-options: nosniff\r\n"), "{answer}");
        let noted = event(&dir, &id, "Panic").await;
        assert_eq!((&noted["user"]["username"], &noted["verb"]), (&json!("jane"), &json!("create")));
        let status = json!({
            "metadata": {}, "status": "Failure", "reason": "InternalError", "code": 500,
            "message": "APIServer panic'd: /registry/core/configmaps/default/fault is a fault",
        });
        assert_eq!(noted["responseStatus"], status);
    }

    cluster.raw(cluster.connect("jane", &[]).await, &post("good", "good")).await.expect(201);
    event(&dir, "good", "ResponseComplete").await;
    cluster.get(&format!("{MAPS}/good")).await.expect(200);
    cluster.get(&format!("{MAPS}/fault")).await.expect(404);
    // Nothing of them is left: neither their seats nor a place among those that are being answered.
    let level = r#"flow_schema="global-default",priority_level="global-default""#;
    until(&cluster, "apiserver_flowcontrol_current_executing_seats", level, 0.0).await;
    assert_eq!(metric(&cluster, "apiserver_current_inflight_requests", r#"request_kind="mutating""#).await, Some(0.0));
}
