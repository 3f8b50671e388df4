//! Cluster roles that are made of others.

use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;

use crate::support::TestCluster;

fn role(value: serde_json::Value) -> ClusterRole {
    serde_json::from_value(value).expect("a cluster role")
}

#[tokio::test(start_paused = true)]
async fn an_aggregated_role_follows_its_parts() {
    let cluster = TestCluster::start(&[]).await;
    let roles = cluster.api_all::<ClusterRole>();
    let rule = json!({"verbs": ["get"], "apiGroups": ["example.com"], "resources": ["things"]});
    let part = role(json!({"metadata": {"name": "part", "labels": {"part-of": "whole"}}, "rules": [rule]}));
    let selector = json!({"matchLabels": {"part-of": "whole"}});
    let whole = role(json!({
        "metadata": {"name": "whole"}, "aggregationRule": {"clusterRoleSelectors": [selector]}, "rules": [],
    }));
    roles.create(&PostParams::default(), &whole).await.expect("created");
    roles.create(&PostParams::default(), &part).await.expect("created");
    let has = |count: usize| {
        let roles = roles.clone();
        async move {
            let whole = roles.get("whole").await.expect("it is there");
            (whole.rules.unwrap_or_default().len() == count).then_some(())
        }
    };
    cluster.eventually("the part's rule", || has(1)).await;
    roles.delete("part", &DeleteParams::default()).await.expect("deleted");
    cluster.eventually("no rule", || has(0)).await;
    let view = roles.get("view").await.expect("every cluster has it");
    assert!(view.rules.is_some_and(|rules| !rules.is_empty()));
}
