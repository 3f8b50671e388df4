//! Who may do what, through the chain of authorizers and the plugins of admission that look at the user.

use crate::support::Cluster;
use serde_json::{Value, json};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

fn role(name: &str, rules: Value) -> Value {
    json!({"metadata": {"name": name}, "rules": rules})
}

fn binding(name: &str, kind: &str, role: &str, user: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    })
}

#[tokio::test]
async fn a_binding_gives_and_its_deletion_takes() {
    let cluster = Cluster::start().await;
    let alice = cluster.as_user("alice", &[]);
    let path = "/api/v1/namespaces/default/configmaps";
    let refused = alice.get(path).await.expect(403);
    assert_eq!(
        refused["message"],
        "configmaps is forbidden: User \"alice\" cannot list resource \"configmaps\" in API group \"\" in the namespace \
         \"default\""
    );
    let local = format!("{RBAC}/namespaces/default");
    cluster.post(&format!("{local}/rolebindings"), binding("b", "Role", "reader", "alice")).await.expect(201);
    let missing = alice.get(path).await.expect(403);
    assert!(
        missing["message"]
            .as_str()
            .is_some_and(|m| m.ends_with("RBAC: role.rbac.authorization.k8s.io \"reader\" not found")),
        "{missing}"
    );
    let rules = json!([{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["configmaps"]}]);
    cluster.post(&format!("{local}/roles"), role("reader", rules)).await.expect(201);
    alice.get(path).await.expect(200);
    alice.get("/api/v1/namespaces/kube-system/configmaps").await.expect(403);
    cluster.delete(&format!("{local}/rolebindings/b")).await.expect(200);
    alice.eventually_answers(path, 403).await;
}

#[tokio::test]
async fn nobody_grants_what_he_does_not_hold() {
    let cluster = Cluster::start().await;
    let carl = cluster.as_user("carl", &[]);
    let local = format!("{RBAC}/namespaces/default");
    let rules = json!([{
        "verbs": ["create", "update"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"],
    }]);
    cluster.post(&format!("{local}/roles"), role("maker", rules.clone())).await.expect(201);
    cluster.post(&format!("{local}/rolebindings"), binding("maker", "Role", "maker", "carl")).await.expect(201);
    carl.post(&format!("{local}/roles"), role("same", rules)).await.expect(201);
    let secrets = json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"]}]);
    let refused = carl.post(&format!("{local}/roles"), role("more", secrets)).await.expect(403);
    let expected = "{APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\"]}";
    assert!(refused["message"].as_str().is_some_and(|message| message.ends_with(expected)), "{refused}");
    carl.post(&format!("{local}/rolebindings"), binding("a", "ClusterRole", "cluster-admin", "carl")).await.expect(403);
    carl.post(&format!("{local}/rolebindings"), binding("a", "Role", "none", "carl")).await.expect(404);
}

#[tokio::test]
async fn a_kubelet_reads_and_changes_what_belongs_to_its_node() {
    let cluster = Cluster::start().await;
    let kubelet = cluster.as_user("system:node:n1", &["system:nodes"]);
    let node = |name: &str| json!({"metadata": {"name": name}});
    kubelet.post("/api/v1/nodes", node("n1")).await.expect(201);
    kubelet.post("/api/v1/nodes", node("n2")).await.expect(403);
    cluster.post("/api/v1/nodes", node("n2")).await.expect(201);

    for (path, status) in [
        ("/api/v1/nodes/n1", 200),
        ("/api/v1/nodes?fieldSelector=metadata.name%3Dn1", 200),
        ("/api/v1/nodes?fieldSelector=metadata.name%3Dn2", 403),
        ("/api/v1/nodes/n2", 403),
        ("/api/v1/nodes", 403),
        ("/api/v1/nodes/n1/status", 403),
        ("/api/v1/services", 200),
        ("/api/v1/namespaces", 403),
        ("/apis/discovery.k8s.io/v1/endpointslices", 403),
    ] {
        assert_eq!(kubelet.get(path).await.status(), status, "{path}");
    }

    let (pods, secrets) = ("/api/v1/namespaces/default/pods", "/api/v1/namespaces/default/secrets");
    let account = json!({"metadata": {"name": "default"}});
    cluster.post("/api/v1/namespaces/default/serviceaccounts", account).await.expect(201);
    for name in ["used", "unused"] {
        cluster.post(secrets, json!({"metadata": {"name": name}})).await.expect(201);
    }
    kubelet.get(&format!("{secrets}/used")).await.expect(403);
    let pod = |name: &str, node: &str| {
        let container = json!({"name": "c", "image": "i", "envFrom": [{"secretRef": {"name": "used"}}]});
        json!({"metadata": {"name": name}, "spec": {"nodeName": node, "containers": [container]}})
    };
    cluster.post(pods, pod("mine", "n1")).await.expect(201);
    cluster.post(pods, pod("theirs", "n2")).await.expect(201);
    kubelet.get(&format!("{secrets}/used")).await.expect(200);
    kubelet.get(&format!("{secrets}?fieldSelector=metadata.name%3Dused")).await.expect(200);
    kubelet.get(&format!("{secrets}/unused")).await.expect(403);
    kubelet.get(secrets).await.expect(403);
    kubelet.get("/api/v1/pods?fieldSelector=spec.nodeName%3Dn1").await.expect(200);
    kubelet.get("/api/v1/pods").await.expect(403);
    kubelet.delete(&format!("{pods}/theirs")).await.expect(403);
    let status = json!({"status": {"phase": "Running"}});
    let merge = "application/merge-patch+json";
    kubelet.patch(&format!("{pods}/theirs/status"), merge, status.clone()).await.expect(403);
    kubelet.patch(&format!("{pods}/mine/status"), merge, status).await.expect(200);
    let token = "/api/v1/namespaces/default/serviceaccounts/default/token";
    kubelet.post(token, json!({"spec": {}})).await.expect(403);
    let uid = cluster.get(&format!("{pods}/mine")).await.expect(200)["metadata"]["uid"].clone();
    let bound = json!({"apiVersion": "v1", "kind": "Pod", "name": "mine", "uid": uid});
    kubelet.post(token, json!({"spec": {"boundObjectRef": bound}})).await.expect(201);
    kubelet.delete(&format!("{pods}/mine?gracePeriodSeconds=0")).await.expect(200);
    kubelet.eventually_answers(&format!("{secrets}/used"), 403).await;
}

#[tokio::test]
async fn proxy_and_dns_of_an_agent_act_as_users_who_may_read_what_they_need() {
    let cluster = Cluster::start().await;
    let kubelet = cluster.as_user("system:node:n1", &["system:nodes"]);
    let slices = "/apis/discovery.k8s.io/v1/endpointslices";
    for (user, path, status) in [
        ("system:kube-proxy", "/api/v1/nodes", 200),
        ("system:kube-proxy", slices, 200),
        ("system:kube-proxy", "/api/v1/namespaces", 403),
        ("system:coredns", "/api/v1/namespaces", 200),
        ("system:coredns", slices, 200),
        ("system:coredns", "/api/v1/nodes", 403),
        ("system:kube-scheduler", "/api/v1/nodes", 403),
        ("system:serviceaccount:kube-system:kube-dns", slices, 403),
    ] {
        let answer = kubelet.fetch(path, &[("impersonate-user", user)]).await;
        assert_eq!(answer.status().as_u16(), status, "{user} {path}");
    }
}

#[tokio::test]
async fn the_first_roles_are_there_for_the_first_request() {
    let cluster = Cluster::start().await;
    cluster.as_user("system:kube-scheduler", &[]).get("/api/v1/nodes").await.expect(200);
    cluster.as_user("somebody", &[]).get("/apis").await.expect(200);
    cluster.as_user("somebody", &[]).get("/metrics").await.expect(403);
    let view = cluster.get(&format!("{RBAC}/clusterroles/view")).await.expect(200);
    assert!(view["aggregationRule"].is_object() && view["rules"].as_array().is_some_and(|rules| !rules.is_empty()));
}

#[tokio::test]
async fn rules_that_an_older_version_needed_go_when_this_one_starts() {
    let (own, upstream) =
        (format!("{RBAC}/clusterroles/skiff:agent"), format!("{RBAC}/clusterroles/system:monitoring"));
    let cluster = Cluster::start().await;
    let mut before = Vec::new();
    for path in [&own, &upstream] {
        let mut found = cluster.eventually(path).await;
        before.push(found["rules"].clone());
        let more = json!({"verbs": ["list"], "apiGroups": [""], "resources": ["secrets"]});
        found["rules"].as_array_mut().expect("rules").push(more);
        cluster.put(path, found).await.expect(200);
    }
    let cluster = cluster.restart().await;
    cluster.eventually_with(&own, |role| role["rules"] == before[0]).await;
    // Upstream leaves what was added to its own roles.
    assert_ne!(cluster.get(&upstream).await.expect(200)["rules"], before[1]);
    let mut left = cluster.get(&own).await.expect(200);
    left["metadata"]["annotations"]["rbac.authorization.kubernetes.io/autoupdate"] = "false".into();
    left["rules"] = json!([]);
    cluster.put(&own, left).await.expect(200);
    let cluster = cluster.restart().await;
    // By the time that its binding is there again the roles have been looked at.
    cluster.delete(&format!("{RBAC}/clusterrolebindings/skiff:agent")).await.expect(200);
    let cluster = cluster.restart().await;
    cluster.eventually(&format!("{RBAC}/clusterrolebindings/skiff:agent")).await;
    let rules = cluster.get(&own).await.expect(200)["rules"].clone();
    assert!(rules.as_array().is_none_or(Vec::is_empty), "{rules}");
}
