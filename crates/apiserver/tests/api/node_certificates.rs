//! Certificates that a kubelet asks for in the names of its pods, and what it may read of them and of trust bundles.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::support::{Answer, Client, Cluster};

const NAMESPACE: &str = "/api/v1/namespaces/default";
const GROUP: &str = "/apis/certificates.k8s.io/v1beta1";
const REQUESTS: &str = "/apis/certificates.k8s.io/v1beta1/namespaces/default/podcertificaterequests";

struct Stage {
    cluster: Cluster,
    /// What a kubelet asks for, for a pod of its node.
    spec: Value,
}

impl Stage {
    async fn start() -> Self {
        let cluster = Cluster::start_with(|config| {
            config.runtime_config = "certificates.k8s.io/v1beta1=true".parse().expect("settings");
        })
        .await;
        let account = json!({"metadata": {"name": "default"}});
        let account = cluster.post(&format!("{NAMESPACE}/serviceaccounts"), account).await.expect(201);
        let node = cluster.post("/api/v1/nodes", json!({"metadata": {"name": "n1"}})).await.expect(201);
        let spec = json!({"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]});
        let pod = json!({"metadata": {"name": "p"}, "spec": spec});
        let pod = cluster.post(&format!("{NAMESPACE}/pods"), pod).await.expect(201);
        let uid = pod["metadata"]["uid"].as_str().expect("a UID");
        let key = pki::PodKey::generate("ECDSAP384", uid).expect("a key");
        let spec = json!({
            "signerName": "example.com/s", "maxExpirationSeconds": 3600,
            "podName": "p", "podUID": uid,
            "serviceAccountName": "default", "serviceAccountUID": account["metadata"]["uid"],
            "nodeName": "n1", "nodeUID": node["metadata"]["uid"],
            "pkixPublicKey": BASE64_STANDARD.encode(key.public),
            "proofOfPossession": BASE64_STANDARD.encode(key.proof),
        });
        Self { cluster, spec }
    }

    fn kubelet(&self, node: &str) -> Client {
        self.cluster.as_user(&format!("system:node:{node}"), &["system:nodes"])
    }

    async fn ask(&self, node: &str, change: Value) -> Answer {
        let mut spec = self.spec.clone();
        spec.as_object_mut().expect("an object").extend(change.as_object().expect("an object").clone());
        self.kubelet(node).post(REQUESTS, json!({"metadata": {"generateName": "req-"}, "spec": spec})).await
    }

    /// What a request that differs from a right one in `change` is refused for.
    async fn check(&self, node: &str, change: Value, why: &str) {
        let refused = self.ask(node, change).await.expect(403);
        let message = refused["message"].as_str().unwrap_or_default();
        assert!(message.contains(why), "{message}");
    }
}

#[tokio::test]
async fn a_kubelet_asks_for_certificates_of_the_pods_of_its_node_as_they_are() {
    let stage = Stage::start().await;
    stage.ask("n1", json!({})).await.expect(201);
    let why = "PodCertificateRequest.Spec.NodeName=\"n1\", which is not the requesting node \"n2\"";
    stage.check("n2", json!({}), why).await;
    stage.check("n2", json!({"nodeName": "n2"}), "pod \"p\" is not running on node \"n2\"").await;
    stage.check("n1", json!({"podName": "q"}), "pod \"q\" not found").await;
    stage.check("n1", json!({"podUID": "other"}), "which differs from running version").await;
    stage.check("n1", json!({"serviceAccountName": "root"}), "is not running as service account \"root\"").await;
    stage.check("n1", json!({"serviceAccountUID": "other"}), "serviceaccounts \"default\" has another UID").await;
    stage.check("n1", json!({"nodeUID": "other"}), "nodes \"n1\" has another UID").await;
}

#[tokio::test]
async fn a_kubelet_reads_the_requests_of_its_node_and_all_bundles() {
    let stage = Stage::start().await;
    let made = stage.ask("n1", json!({})).await.expect(201);
    let one = format!("{REQUESTS}/{}", made["metadata"]["name"].as_str().expect("a name"));
    let own = format!("{REQUESTS}?fieldSelector=spec.nodeName%3Dn1");
    for (node, path, status) in [
        ("n1", &*one, 200),
        ("n2", &*one, 403),
        ("n1", &*own, 200),
        ("n2", &*own, 403),
        ("n1", REQUESTS, 403),
        ("n1", &format!("{GROUP}/clustertrustbundles"), 200),
    ] {
        let answer = stage.kubelet(node).get(path).await;
        assert_eq!(answer.status(), status, "{node} {path}: {}", answer.body());
    }
    let list = stage.kubelet("n1").get(&own).await.expect(200);
    assert_eq!(list["items"].as_array().map(Vec::len), Some(1), "{list}");
    stage.kubelet("n1").delete(&one).await.expect(403);
    let role = "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:node";
    let rules = stage.cluster.get(role).await.expect(200)["rules"].to_string();
    assert!(rules.contains("clustertrustbundles") && rules.contains("podcertificaterequests"), "{rules}");
    // A cluster without them says nothing of them.
    let rules = Cluster::start().await.get(role).await.expect(200)["rules"].to_string();
    assert!(!rules.contains("clustertrustbundles") && !rules.contains("podcertificaterequests"), "{rules}");
}
