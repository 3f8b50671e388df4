//! What somebody tries who wants more than is his: all of it is refused, with the status that says why.

use crate::credentials::{get, token, who};
use crate::support::{Answer, Cluster};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

/// A namespace with an account and a pod of it on a node.
async fn pod_in(cluster: &Cluster, namespace: &str, node: &str) {
    cluster.post("/api/v1/namespaces", json!({"metadata": {"name": namespace}})).await.expect(201);
    let account = json!({"metadata": {"name": "app"}});
    cluster.post(&format!("/api/v1/namespaces/{namespace}/serviceaccounts"), account).await.expect(201);
    let pod = json!({
        "metadata": {"name": "app"},
        "spec": {
            "serviceAccountName": "app", "nodeName": node, "automountServiceAccountToken": false,
            "containers": [{"name": "c", "image": "i"}],
        },
    });
    cluster.post(&format!("/api/v1/namespaces/{namespace}/pods"), pod).await.expect(201);
}

/// What a bearer of a token gets.
async fn ask(cluster: &Cluster, token: &str, path: &str) -> Answer {
    let headers = format!("authorization: Bearer {token}\r\n");
    cluster.raw(cluster.connect_anonymous().await, &get(path, &headers)).await
}

/// Somebody with a certificate, whose requests come over TLS.
struct Wire<'a> {
    cluster: &'a Cluster,
    user: &'a str,
    groups: &'a [&'a str],
}

impl<'a> Wire<'a> {
    fn new(cluster: &'a Cluster, user: &'a str, groups: &'a [&'a str]) -> Self {
        Self { cluster, user, groups }
    }

    async fn send(&self, method: &str, path: &str, content_type: &str, body: &str) -> Answer {
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: {content_type}\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        self.cluster.raw(self.cluster.connect(self.user, self.groups).await, &request).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, "application/json", "").await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.send("POST", path, "application/json", &body.to_string()).await
    }

    async fn patch(&self, path: &str, content_type: &str, body: Value) -> Answer {
        self.send("PATCH", path, content_type, &body.to_string()).await
    }

    async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, "application/json", "").await
    }

    /// What a GET with further lines in its head is answered.
    async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> u16 {
        let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let connection = self.cluster.connect(self.user, self.groups).await;
        self.cluster.raw(connection, &get(path, &lines)).await.status()
    }
}

fn bound_to_pod() -> Value {
    json!({"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "app"}})
}

#[tokio::test]
async fn a_pods_token_reaches_into_no_other_namespace() {
    let cluster = Cluster::start().await;
    pod_in(&cluster, "mine", "n1").await;
    cluster.post("/api/v1/namespaces", json!({"metadata": {"name": "other"}})).await.expect(201);
    let binding = json!({
        "metadata": {"name": "view"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin"},
        "subjects": [{"kind": "ServiceAccount", "namespace": "mine", "name": "app"}],
    });
    cluster.post(&format!("{RBAC}/namespaces/mine/rolebindings"), binding).await.expect(201);
    let token = token(&cluster, "mine", "app", bound_to_pod()).await;
    ask(&cluster, &token, "/api/v1/namespaces/mine/secrets").await.expect(200);
    for path in [
        "/api/v1/namespaces/other/secrets",
        "/api/v1/namespaces/other/configmaps/kube-root-ca.crt",
        "/api/v1/secrets",
        "/api/v1/namespaces/kube-system/secrets",
        "/api/v1/nodes",
    ] {
        ask(&cluster, &token, path).await.expect(403);
    }
}

#[tokio::test]
async fn a_token_ends_with_its_pod() {
    let cluster = Cluster::start().await;
    pod_in(&cluster, "mine", "n1").await;
    let token = token(&cluster, "mine", "app", bound_to_pod()).await;
    ask(&cluster, &token, "/version").await.expect(200);
    let now = json!({"gracePeriodSeconds": 0});
    cluster.delete_with("/api/v1/namespaces/mine/pods/app", now).await.expect(200);
    ask(&cluster, &token, "/version").await.expect(401);
    // Another pod of that name is another pod.
    let pod = json!({
        "metadata": {"name": "app"},
        "spec": {
            "serviceAccountName": "app", "automountServiceAccountToken": false,
            "containers": [{"name": "c", "image": "i"}],
        },
    });
    cluster.post("/api/v1/namespaces/mine/pods", pod).await.expect(201);
    ask(&cluster, &token, "/version").await.expect(401);
    let review = json!({"spec": {"token": token}});
    let review = cluster.post("/apis/authentication.k8s.io/v1/tokenreviews", review).await.expect(201);
    assert!(review["status"]["authenticated"].is_null(), "{review}");
}

#[tokio::test]
async fn a_node_is_no_other_node() {
    let cluster = Cluster::start().await;
    pod_in(&cluster, "mine", "n1").await;
    let secret = |name: &str| json!({"metadata": {"name": name}, "stringData": {"key": "value"}});
    for namespace in ["mine", "kube-system"] {
        cluster.post(&format!("/api/v1/namespaces/{namespace}/secrets"), secret("s")).await.expect(201);
    }
    let node = |name: &str| json!({"metadata": {"name": name}});
    cluster.post("/api/v1/nodes", node("n1")).await.expect(201);
    let other = Wire::new(&cluster, "system:node:n2", &["system:nodes"]);
    other.post("/api/v1/nodes", node("n3")).await.expect(403);
    other.post("/api/v1/nodes", node("n2")).await.expect(201);
    let merge = "application/merge-patch+json";
    let ready = json!({"status": {"phase": "Running"}});
    other.patch("/api/v1/nodes/n1/status", merge, ready.clone()).await.expect(403);
    other.patch("/api/v1/nodes/n1", merge, json!({"metadata": {"labels": {"a": "b"}}})).await.expect(403);
    other.delete("/api/v1/nodes/n1").await.expect(403);
    other.patch("/api/v1/namespaces/mine/pods/app/status", merge, ready).await.expect(403);
    other.delete("/api/v1/namespaces/mine/pods/app").await.expect(403);
    for path in [
        "/api/v1/namespaces/mine/pods/app",
        "/api/v1/namespaces/mine/secrets/s",
        "/api/v1/namespaces/kube-system/secrets/s",
        "/api/v1/namespaces/mine/secrets",
        "/api/v1/secrets",
        "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1",
    ] {
        other.get(path).await.expect(403);
    }
    // It gets no token for the account of a pod that runs elsewhere, and makes no pod that could have one.
    let path = "/api/v1/namespaces/mine/serviceaccounts/app/token";
    other.post(path, json!({"spec": bound_to_pod()})).await.expect(403);
    let mirror = json!({
        "metadata": {"name": "m", "annotations": {"kubernetes.io/config.mirror": "m"}},
        "spec": {"serviceAccountName": "app", "nodeName": "n2", "containers": [{"name": "c", "image": "i"}]},
    });
    other.post("/api/v1/namespaces/mine/pods", mirror).await.expect(403);
    // It acts as nobody but the parts of its own machine, and neither gets nor decides about another's certificate.
    for user in ["system:node:n1", "system:admin", "system:serviceaccount:mine:app", "system:kube-controller-manager"] {
        let secrets = other.get_with("/api/v1/namespaces/mine/secrets", &[("impersonate-user", user)]).await;
        assert_eq!(secrets, 403, "{user}");
    }
    let requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let asked = pki::SigningRequest::new("system:node:n1", &["system:nodes".to_owned()]).expect("a request");
    let spec = json!({
        "request": BASE64_STANDARD.encode(asked.request), "usages": ["digital signature", "client auth"],
        "signerName": "kubernetes.io/kube-apiserver-client-kubelet",
    });
    let asked = json!({"metadata": {"name": "as-n1"}, "spec": spec});
    other.post(requests, asked.clone()).await.expect(403);
    cluster.post(requests, asked).await.expect(201);
    let approved = json!({"status": {"conditions": [{"type": "Approved", "status": "True", "reason": "r"}]}});
    other.patch(&format!("{requests}/as-n1/approval"), merge, approved).await.expect(403);
    // The group alone makes no kubelet, and the name alone none either.
    let pod = "/api/v1/namespaces/mine/pods/app";
    Wire::new(&cluster, "system:node:n1", &["system:nodes"]).get(pod).await.expect(200);
    Wire::new(&cluster, "n1", &["system:nodes"]).get(pod).await.expect(403);
    Wire::new(&cluster, "system:node:n1", &[]).get(pod).await.expect(403);
}

#[tokio::test]
async fn nobody_makes_himself_more_than_he_is() {
    let cluster = Cluster::start().await;
    let everything = json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]);
    // He may write roles and secrets, which is not the same as having what they give.
    let rules = json!([
        {"verbs": ["create", "update", "patch"], "apiGroups": ["rbac.authorization.k8s.io"],
         "resources": ["roles", "clusterroles", "rolebindings", "clusterrolebindings"]},
        {"verbs": ["create"], "apiGroups": [""], "resources": ["secrets"]},
    ]);
    cluster
        .post(&format!("{RBAC}/clusterroles"), json!({"metadata": {"name": "maker"}, "rules": rules}))
        .await
        .expect(201);
    let binding = |name: &str, role: &str, subject: Value| {
        json!({
            "metadata": {"name": name}, "subjects": [subject],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        })
    };
    let mallory = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "mallory"});
    let bindings = format!("{RBAC}/clusterrolebindings");
    cluster.post(&bindings, binding("maker", "maker", mallory.clone())).await.expect(201);
    let user = Wire::new(&cluster, "mallory", &[]);
    user.post(&format!("{RBAC}/clusterroles"), json!({"metadata": {"name": "all"}, "rules": everything.clone()}))
        .await
        .expect(403);
    let merge = "application/merge-patch+json";
    user.patch(&format!("{RBAC}/clusterroles/maker"), merge, json!({"rules": everything})).await.expect(403);
    // A role that gathers others would gather what is not his.
    let gathering = json!({
        "metadata": {"name": "gather"}, "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]},
    });
    user.post(&format!("{RBAC}/clusterroles"), gathering).await.expect(403);
    user.post(&bindings, binding("me", "cluster-admin", mallory.clone())).await.expect(403);
    user.post(&format!("{RBAC}/namespaces/default/rolebindings"), binding("me", "edit", mallory)).await.expect(403);
    for headers in [
        [("impersonate-user", "system:admin"), ("impersonate-group", "system:masters")],
        [("impersonate-user", "mallory"), ("impersonate-group", "system:masters")],
        [("impersonate-user", "mallory"), ("impersonate-uid", "1")],
        [("impersonate-user", "mallory"), ("impersonate-extra-scopes", "all")],
    ] {
        let status = user.get_with("/api/v1/namespaces/kube-system/secrets", &headers).await;
        assert_eq!(status, 403, "{headers:?}");
    }
}

#[tokio::test]
async fn a_path_is_what_it_says_and_nothing_else() {
    let cluster = Cluster::start().await;
    let secret = json!({"metadata": {"name": "s"}, "stringData": {"key": "value"}});
    cluster.post("/api/v1/namespaces/kube-system/secrets", secret).await.expect(201);
    let rules = json!([{"verbs": ["*"], "apiGroups": [""], "resources": ["*"]}]);
    cluster
        .post(&format!("{RBAC}/namespaces/default/roles"), json!({"metadata": {"name": "all"}, "rules": rules}))
        .await
        .expect(201);
    let paths = json!([{"verbs": ["get"], "nonResourceURLs": ["/open", "/open/*"]}]);
    cluster
        .post(&format!("{RBAC}/clusterroles"), json!({"metadata": {"name": "open"}, "rules": paths}))
        .await
        .expect(201);
    let subject = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "mallory"});
    let role = |kind: &str, name: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name});
    let own = json!({"metadata": {"name": "all"}, "roleRef": role("Role", "all"), "subjects": [subject.clone()]});
    cluster.post(&format!("{RBAC}/namespaces/default/rolebindings"), own).await.expect(201);
    let open = json!({"metadata": {"name": "open"}, "roleRef": role("ClusterRole", "open"), "subjects": [subject]});
    cluster.post(&format!("{RBAC}/clusterrolebindings"), open).await.expect(201);
    for path in [
        "//api/v1/namespaces/kube-system/secrets/s",
        "/api/v1//namespaces/kube-system/secrets/s",
        "/api//v1/namespaces/kube-system/secrets/s",
        "/api/v1/namespaces//kube-system/secrets/s",
        "/api/v1/namespaces/default/../kube-system/secrets/s",
        "/api/v1/namespaces/default/secrets/../../kube-system/secrets/s",
        "/api/v1/namespaces/default/secrets/..%2f..%2fkube-system%2fsecrets%2fs",
        "/api/v1/namespaces/default%2f..%2fkube-system/secrets/s",
        "/api/v1/namespaces/default/secrets/%2e%2e/%2e%2e/kube-system/secrets/s",
        "/api/v1/namespaces/kube-system%2fsecrets%2fs",
        "/api%2fv1%2fnamespaces/kube-system/secrets/s",
        "/API/v1/namespaces/kube-system/secrets/s",
        "/api/v1/namespaces/default/secrets/s%00",
        "/open/../api/v1/namespaces/kube-system/secrets/s",
        "/open/%2e%2e/api/v1/namespaces/kube-system/secrets/s",
        "/open//api/v1/namespaces/kube-system/secrets/s",
        "/healthz/../api/v1/namespaces/kube-system/secrets/s",
        "/api/v1/watch/namespaces/kube-system/secrets/s",
        "/api/v1/namespaces/kube-system/secrets/s?namespace=default",
        "http://elsewhere/api/v1/namespaces/kube-system/secrets/s",
    ] {
        let answer = cluster.raw(cluster.connect("mallory", &[]).await, &get(path, "")).await;
        let (status, body) = (answer.status(), answer.body().to_string());
        assert!([400, 403, 404].contains(&status), "{path}: {status} {body}");
        assert!(!body.contains("dmFsdWU"), "{path}: {body}");
    }
    for path in ["/healthz/../metrics", "/livez/%2e%2e/metrics", "/version/../api", "//version", "/healthz%2f..%2fapi"]
    {
        let answer = cluster.raw(cluster.connect_anonymous().await, &get(path, "")).await;
        assert!([400, 403, 404].contains(&answer.status()), "{path}: {}", answer.status());
    }
}

#[tokio::test]
async fn headers_make_nobody_somebody_else() {
    let cluster = Cluster::start().await;
    let claims = "x-remote-user: system:admin\r\nx-remote-group: system:masters\r\nx-remote-extra-scopes: all\r\n";
    let path = "/api/v1/namespaces/kube-system/secrets";
    cluster.raw(cluster.connect_anonymous().await, &get(path, claims)).await.expect(403);
    cluster.raw(cluster.connect("mallory", &[]).await, &get(path, claims)).await.expect(403);
    let said = cluster.raw(cluster.connect("mallory", &[]).await, &who(claims)).await.expect(201);
    assert_eq!(said["status"]["userInfo"]["username"], "mallory");
    assert_eq!(said["status"]["userInfo"]["groups"], json!(["system:authenticated"]));
    // A certificate of the clients' authority with the proxy's name is no front proxy.
    let named = cluster.connect("front-proxy-client", &[]).await;
    cluster.raw(named, &get(path, claims)).await.expect(403);
    // Nor do the usual ways to hide a header from whoever looks for it help.
    for smuggled in [
        "X-Remote-User : system:admin\r\nX-Remote-Group: system:masters\r\n",
        "X_Remote_User: system:admin\r\nX_Remote_Group: system:masters\r\n",
        " x-remote-user: system:admin\r\n",
        "connection: x-remote-user\r\nx-remote-user: system:admin\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 3\r\nx-remote-user: system:admin\r\n",
        "impersonate-user: system:admin\r\nimpersonate-group: system:masters\r\n",
        "authorization: Basic c3lzdGVtOmFkbWlu\r\n",
    ] {
        let answer = cluster.raw(cluster.connect("mallory", &[]).await, &get(path, smuggled)).await;
        assert!([400, 403].contains(&answer.status()), "{smuggled:?}: {}", answer.status());
    }
    // What is bad is not made good by what is missing.
    let bad = "authorization: Bearer nonsense\r\n";
    cluster.raw(cluster.connect_anonymous().await, &get("/version", bad)).await.expect(401);
}

#[tokio::test]
async fn a_second_request_in_a_body_is_part_of_the_body() {
    let cluster = Cluster::start().await;
    let path = "/api/v1/namespaces/default/configmaps";
    let hidden = get("/api/v1/namespaces/kube-system/secrets", "");
    for framing in ["transfer-encoding: chunked\r\ncontent-length: 5\r\n", "content-length: 5\r\ncontent-length: 6\r\n"]
    {
        let request = format!("POST {path} HTTP/1.1\r\nhost: x\r\n{framing}\r\n0\r\n\r\n{hidden}");
        let answer = cluster.raw(cluster.connect("admin", &["system:masters"]).await, &request).await;
        assert_eq!(answer.status(), 400, "{framing:?}");
        assert!(!answer.body().to_string().contains("SecretList"), "{framing:?}");
    }
}

#[tokio::test]
async fn bodies_that_grow_when_they_are_read_are_refused() {
    let cluster = Cluster::start().await;
    let admin = Wire::new(&cluster, "admin", &["system:masters"]);
    let path = "/api/v1/namespaces/default/configmaps";
    let level = |depth: usize| {
        let aliases = vec![format!("*a{}", depth - 1); 9].join(", ");
        format!("a{depth}: &a{depth} [{aliases}]\n")
    };
    let laughs: String = (1..=9).map(level).collect();
    let laughs = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: lol}}\na0: &a0 lol\n{laughs}");
    let deep = 100_000;
    let nested = |open: &str, close: &str| {
        format!(r#"{{"metadata":{{"name":"deep"}},"data":{}{}}}"#, open.repeat(deep), close.repeat(deep))
    };
    let large = format!(r#"{{"metadata":{{"name":"large"}},"data":{{"a":"{}"}}}}"#, "x".repeat(4 * 1024 * 1024));
    for (what, content_type, body, expected) in [
        ("aliases of aliases", "application/yaml", laughs, 400),
        ("deep YAML", "application/yaml", format!("metadata: {{name: deep}}\ndata: {}", "[".repeat(deep)), 400),
        ("deep flow YAML", "application/yaml", nested("[", "]"), 400),
        ("deep JSON arrays", "application/json", nested("[", "]"), 400),
        ("deep JSON objects", "application/json", nested(r#"{"a":"#, "}").replace(":}", ":1}"), 400),
        ("a protobuf that names no kind", "application/vnd.kubernetes.protobuf", "k8s\0\u{1}\u{1}".to_owned(), 400),
    ] {
        let answer = admin.send("POST", path, content_type, &body).await;
        assert_eq!(answer.status(), expected, "{what}: {}", answer.body());
    }
    // A connection that ends before all was sent may take the answer with it.
    let (status, ..) = cluster.exchange("POST", path, &[("content-type", "application/json")], large.clone()).await;
    assert_eq!(status, 413);
    let status = admin.send("POST", path, "application/json", &large).await.status();
    assert!([413, 0].contains(&status), "{status}");
    cluster.get(path).await.expect(200);
}

#[tokio::test]
async fn heads_that_are_too_large_are_refused() {
    let cluster = Cluster::start().await;
    let large = format!("x-large: {}\r\n", "x".repeat(2 * 1024 * 1024));
    let answer = cluster.raw(cluster.connect_anonymous().await, &get("/version", &large)).await;
    assert_eq!(answer.status(), 431);
    let many: String = (0..2000).map(|index| format!("x-{index}: 1\r\n")).collect();
    let answer = cluster.raw(cluster.connect_anonymous().await, &get("/version", &many)).await;
    assert_eq!(answer.status(), 431);
    let long = format!("/version?{}", "x".repeat(2 * 1024 * 1024));
    let answer = cluster.raw(cluster.connect_anonymous().await, &get(&long, "")).await;
    assert!([414, 431].contains(&answer.status()), "{}", answer.status());
    cluster.raw(cluster.connect_anonymous().await, &get("/version", "")).await.expect(200);
}

#[tokio::test]
async fn a_stranger_reads_where_the_cluster_is_and_no_more() {
    let cluster = Cluster::start().await;
    let maps = "/api/v1/namespaces/kube-public/configmaps";
    let info = format!("{maps}/cluster-info");
    cluster.eventually(&info).await;
    let told = cluster.raw(cluster.connect_anonymous().await, &get(&info, "")).await.expect(200);
    let told = told["data"]["kubeconfig"].as_str().unwrap_or_default().to_owned();
    assert!(told.contains("certificate-authority-data") && !told.contains("client"), "{told}");

    // Whatever is bound to strangers: by mistake, or by somebody who wants a way back in.
    let binding = json!({
        "metadata": {"name": "open"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "system:anonymous"}],
    });
    cluster.post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding).await.expect(201);
    for path in [maps.to_owned(), format!("{maps}?fieldSelector=metadata.name=cluster-info"), format!("{info}/status")]
    {
        let status = cluster.raw(cluster.connect_anonymous().await, &get(&path, "")).await.status();
        assert!([403, 404].contains(&status), "{path}: {status}");
    }
    let write = format!("DELETE {info} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    cluster.raw(cluster.connect_anonymous().await, &write).await.expect(403);

    // Who wants the door closed closes it.
    cluster.delete("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/open").await.expect(200);
    let role = "/apis/rbac.authorization.k8s.io/v1/namespaces/kube-public/rolebindings";
    cluster.delete(&format!("{role}/kubeadm:bootstrap-signer-clusterinfo")).await.expect(200);
    cluster.raw(cluster.connect_anonymous().await, &get(&info, "")).await.expect(403);
}
