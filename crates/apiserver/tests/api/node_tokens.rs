//! What tokens a kubelet gets: for the audiences of its pods, and those that roles open to it.

use serde_json::{Value, json};

use crate::support::{Answer, Cluster};

const NAMESPACE: &str = "/api/v1/namespaces/default";

/// A node with a pod that has volumes.
struct Node {
    cluster: Cluster,
    pod: Value,
}

impl Node {
    /// `volumes` beside the one that every pod has.
    async fn start(volumes: Value) -> Self {
        let cluster = Cluster::start().await;
        let account = json!({"metadata": {"name": "default"}});
        cluster.post(&format!("{NAMESPACE}/serviceaccounts"), account).await.expect(201);
        let spec = json!({"nodeName": "n1", "containers": [{"name": "c", "image": "i"}], "volumes": volumes});
        let pod = json!({"metadata": {"name": "p"}, "spec": spec});
        let pod = cluster.post(&format!("{NAMESPACE}/pods"), pod).await.expect(201);
        Self { cluster, pod: json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": pod["metadata"]["uid"]}) }
    }

    async fn ask(&self, audiences: &Value) -> Answer {
        let spec = json!({"boundObjectRef": self.pod, "audiences": audiences});
        let kubelet = self.cluster.as_user("system:node:n1", &["system:nodes"]);
        kubelet.post(&format!("{NAMESPACE}/serviceaccounts/default/token"), json!({"spec": spec})).await
    }

    /// What the kubelet is answered when it asks for a token for these audiences.
    async fn check(&self, audiences: Value, status: u16) {
        let answer = self.ask(&audiences).await;
        assert_eq!(answer.status(), status, "{audiences}: {}", answer.body());
    }
}

#[tokio::test]
async fn a_kubelet_gets_tokens_for_the_audiences_of_its_pods() {
    let vault = json!({"sources": [{"serviceAccountToken": {"path": "token", "audience": "vault"}}]});
    let node = Node::start(json!([{"name": "v", "projected": vault}])).await;
    node.check(json!([]), 201).await;
    node.check(json!(["vault"]), 201).await;
    node.check(json!(["other"]), 403).await;
    node.check(json!(["vault", "other"]), 403).await;
    node.check(json!(["vault", "vault"]), 403).await;
    let refused = node.ask(&json!(["other"])).await.expect(403);
    assert_eq!(
        refused["message"],
        "serviceaccounts \"default\" is forbidden: audience \"other\" not found in pod spec volume, system:node:n1 is not \
         authorized to request tokens for this audience"
    );
    // Others than kubelets ask for what they like.
    let spec = json!({"spec": {"audiences": ["other"]}});
    node.cluster.post(&format!("{NAMESPACE}/serviceaccounts/default/token"), spec).await.expect(201);
}

#[tokio::test]
async fn a_kubelet_gets_the_tokens_that_drivers_of_volumes_ask_for() {
    let template = json!({"spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "",
    }});
    let node = Node::start(json!([
        {"name": "inline", "csi": {"driver": "inline.example.com"}},
        {"name": "claimed", "persistentVolumeClaim": {"claimName": "c"}},
        {"name": "own", "ephemeral": {"volumeClaimTemplate": template}},
    ]))
    .await;
    let drivers = ["inline.example.com", "claimed.example.com", "own.example.com", "ebs.csi.aws.com", "no.example.com"];
    for driver in drivers {
        let spec = json!({"tokenRequests": [{"audience": format!("for-{driver}")}]});
        let driver = json!({"metadata": {"name": driver}, "spec": spec});
        node.cluster.post("/apis/storage.k8s.io/v1/csidrivers", driver).await.expect(201);
    }
    let [inline, claimed, own, migrated, none] = drivers.map(|driver| json!([format!("for-{driver}")]));
    node.check(inline, 201).await;
    // A claim says nothing before it has a volume.
    node.check(claimed.clone(), 403).await;
    for (claim, source) in [
        ("c", json!({"csi": {"driver": "claimed.example.com", "volumeHandle": "1"}})),
        ("p-own", json!({"csi": {"driver": "own.example.com", "volumeHandle": "2"}})),
    ] {
        bound(&node.cluster, claim, source).await;
    }
    node.check(claimed, 201).await;
    node.check(own, 201).await;
    node.check(migrated.clone(), 403).await;
    node.check(none, 403).await;
    node.check(json!(["elsewhere"]), 403).await;
    let node = Node::start(json!([{"name": "disk", "persistentVolumeClaim": {"claimName": "disk"}}])).await;
    let spec = json!({"tokenRequests": [{"audience": "for-ebs.csi.aws.com"}]});
    let driver = json!({"metadata": {"name": "ebs.csi.aws.com"}, "spec": spec});
    node.cluster.post("/apis/storage.k8s.io/v1/csidrivers", driver).await.expect(201);
    bound(&node.cluster, "disk", json!({"awsElasticBlockStore": {"volumeID": "vol-1"}})).await;
    node.check(migrated, 201).await;
}

/// A claim and its volume.
async fn bound(cluster: &Cluster, name: &str, source: Value) {
    let mut spec = json!({"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}});
    for (field, value) in source.as_object().into_iter().flatten() {
        spec[field] = value.clone();
    }
    let volume = json!({"metadata": {"name": format!("pv-{name}")}, "spec": spec});
    cluster.post("/api/v1/persistentvolumes", volume).await.expect(201);
    let claim = json!({"metadata": {"name": name}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "",
        "volumeName": format!("pv-{name}"),
    }});
    cluster.post(&format!("{NAMESPACE}/persistentvolumeclaims"), claim).await.expect(201);
}

#[tokio::test]
async fn roles_open_further_audiences_to_kubelets() {
    let node = Node::start(json!([])).await;
    node.check(json!(["registry"]), 403).await;
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let rule = |audience: &str, accounts: Value| {
        json!({"verbs": ["request-serviceaccounts-token-audience"], "apiGroups": [""], "resources": [audience],
            "resourceNames": accounts})
    };
    let rules =
        json!([rule("registry", json!([])), rule("limited", json!(["default"])), rule("not", json!(["other"]))]);
    let role = json!({"metadata": {"name": "audiences"}, "rules": rules});
    node.cluster.post(&format!("{rbac}/clusterroles"), role).await.expect(201);
    let binding = json!({
        "metadata": {"name": "audiences"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "audiences"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:nodes"}],
    });
    node.cluster.post(&format!("{rbac}/clusterrolebindings"), binding).await.expect(201);
    node.check(json!(["registry"]), 201).await;
    node.check(json!(["limited"]), 201).await;
    node.check(json!(["not"]), 403).await;
    node.check(json!(["elsewhere"]), 403).await;
}
