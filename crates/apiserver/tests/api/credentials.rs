//! Who shows what and is believed to be whom: tokens of service accounts, of secrets and of files, front proxies.

use crate::support::{Cluster, Secured};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
const WHO: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

/// A request for who one is, with further lines in its head.
pub fn who(headers: &str) -> String {
    let body = r#"{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}"#;
    let length = body.len();
    format!(
        "POST {WHO} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n{headers}content-length: \
         {length}\r\n\r\n{body}"
    )
}

/// A request for a path, with further lines in its head.
pub fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n")
}

/// Who a connection with these headers is.
async fn check_user(cluster: &Cluster, connection: Secured, headers: &str, user: &str, groups: &[&str]) {
    let said = cluster.raw(connection, &who(headers)).await.expect(201);
    let info = &said["status"]["userInfo"];
    assert_eq!((&info["username"], &info["groups"]), (&json!(user), &json!(groups)), "{said}");
}

/// A token for an account, as its subresource issues it.
pub async fn token(cluster: &Cluster, namespace: &str, account: &str, spec: Value) -> String {
    let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
    let issued = cluster.post(&path, json!({"spec": spec})).await.expect(201);
    issued["status"]["token"].as_str().expect("a token").to_owned()
}

fn claims(token: &str) -> Value {
    let part = token.split('.').nth(1).expect("claims");
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).expect("base64")).expect("JSON")
}

async fn review(cluster: &Cluster, token: &str, audiences: Value) -> Value {
    let spec = json!({"token": token, "audiences": audiences});
    cluster.post(REVIEWS, json!({"spec": spec})).await.expect(201)["status"].clone()
}

#[tokio::test]
async fn a_token_is_signed_as_verifiers_elsewhere_expect() {
    let cluster = Cluster::start().await;
    cluster.post("/api/v1/namespaces/default/serviceaccounts", json!({"metadata": {"name": "a"}})).await.expect(201);
    let token = token(&cluster, "default", "a", json!({})).await;
    let discovery = cluster.get("/.well-known/openid-configuration").await.expect(200);
    assert_eq!(discovery["id_token_signing_alg_values_supported"], json!(["RS256"]));
    assert_eq!(discovery["issuer"], claims(&token)["iss"]);
    let keys = cluster.get("/openid/v1/jwks").await.expect(200);
    let keys = keys["keys"].as_array().expect("keys").iter().filter_map(pki::jwt::PublicKey::from_jwk);
    let keys: Vec<_> = keys.collect();
    let parsed = pki::jwt::parse(&token).expect("a token");
    assert!(parsed.is_signed_by(&keys) && parsed.key_id == keys[0].key_id());
}

#[tokio::test]
async fn a_review_says_for_which_of_the_audiences_a_token_is() {
    let cluster = Cluster::start().await;
    cluster.post("/api/v1/namespaces/default/serviceaccounts", json!({"metadata": {"name": "a"}})).await.expect(201);
    let token = token(&cluster, "default", "a", json!({"audiences": ["one", "two"]})).await;
    let known = review(&cluster, &token, json!(["two", "three"])).await;
    assert_eq!((&known["authenticated"], &known["audiences"]), (&json!(true), &json!(["two"])), "{known}");
    let refused = review(&cluster, &token, json!([])).await;
    assert!(refused["authenticated"].is_null(), "{refused}");
    let error = refused["error"].as_str().unwrap_or_default();
    assert!(error.starts_with("[invalid bearer token, token audiences"), "{error}");
    // The server itself is none of the audiences.
    let headers = format!("authorization: Bearer {token}\r\n");
    cluster.raw(cluster.connect_anonymous().await, &get("/version", &headers)).await.expect(401);
}

#[tokio::test]
async fn a_token_in_a_secret_is_good_while_the_secret_holds_it() {
    let cluster = Cluster::start().await;
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    let account = cluster.post(accounts, json!({"metadata": {"name": "a"}})).await.expect(201);
    let uid = account["metadata"]["uid"].as_str().expect("a UID");
    let token = cluster.keys().sign_legacy(&pki::LegacyClaims::new("default", "a", uid, "t"));
    let headers = format!("authorization: Bearer {token}\r\n");
    let status = async |expected: u16| {
        cluster.raw(cluster.connect_anonymous().await, &get("/version", &headers)).await.expect(expected)
    };
    status(401).await;
    let secrets = "/api/v1/namespaces/default/secrets";
    let secret = json!({
        "metadata": {"name": "t", "annotations": {"kubernetes.io/service-account.name": "a"}},
        "type": "kubernetes.io/service-account-token", "data": {"token": BASE64_STANDARD.encode(&token)},
    });
    cluster.post(secrets, secret).await.expect(201);
    let groups = ["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"];
    let anonymous = cluster.connect_anonymous().await;
    check_user(&cluster, anonymous, &headers, "system:serviceaccount:default:a", &groups).await;
    let noted = cluster.get(&format!("{secrets}/t")).await.expect(200);
    let used = noted["metadata"]["labels"]["kubernetes.io/legacy-token-last-used"].as_str().expect("a date");
    assert_eq!(used.len(), "2026-01-01".len());
    let invalid = json!({"metadata": {"labels": {"kubernetes.io/legacy-token-invalid-since": "2026-01-01"}}});
    cluster.patch(&format!("{secrets}/t"), "application/merge-patch+json", invalid).await.expect(200);
    status(401).await;
}

#[tokio::test]
async fn a_token_of_the_file_is_its_user() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "letmein,jane,u1,\"dev,ops\"\n").expect("written");
    let cluster = Cluster::start_with(|config| config.token_auth_file = Some(file.path().to_owned())).await;
    let anonymous = cluster.connect_anonymous().await;
    let groups = ["dev", "ops", "system:authenticated"];
    check_user(&cluster, anonymous, "authorization: Bearer letmein\r\n", "jane", &groups).await;
    let refused = get("/version", "authorization: Bearer letmeout\r\n");
    cluster.raw(cluster.connect_anonymous().await, &refused).await.expect(401);
    assert_eq!(review(&cluster, "letmein", json!([])).await["user"]["uid"], "u1");
}

#[tokio::test]
async fn a_bootstrap_token_is_a_joining_machine() {
    let cluster = Cluster::start().await;
    let secret = json!({
        "metadata": {"name": "bootstrap-token-abcdef"}, "type": "bootstrap.kubernetes.io/token",
        "stringData": {
            "token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true",
            "auth-extra-groups": "system:bootstrappers:workers",
        },
    });
    cluster.post("/api/v1/namespaces/kube-system/secrets", secret).await.expect(201);
    let headers = "authorization: Bearer abcdef.0123456789abcdef\r\n";
    let groups = ["system:bootstrappers", "system:bootstrappers:workers", "system:authenticated"];
    check_user(&cluster, cluster.connect_anonymous().await, headers, "system:bootstrap:abcdef", &groups).await;
    cluster.delete("/api/v1/namespaces/kube-system/secrets/bootstrap-token-abcdef").await.expect(200);
    let gone = get("/version", headers);
    cluster.raw(cluster.connect_anonymous().await, &gone).await.expect(401);
}

#[tokio::test]
async fn a_front_proxy_says_who_asks() {
    let cluster = Cluster::start().await;
    let headers = "x-remote-user: jane\r\nx-remote-group: dev\r\nx-remote-group: ops\r\nx-remote-extra-a%2fb: c\r\n";
    let proxy = cluster.connect_front_proxy("front-proxy-client").await;
    let said = cluster.raw(proxy, &who(headers)).await.expect(201)["status"]["userInfo"].clone();
    assert_eq!(said["username"], "jane");
    assert_eq!(said["groups"], json!(["dev", "ops", "system:authenticated"]));
    assert_eq!(said["extra"], json!({"a/b": ["c"]}));
    // It is nobody itself, and another of the same authority is no front proxy.
    let proxy = cluster.connect_front_proxy("front-proxy-client").await;
    cluster.raw(proxy, &get("/version", "")).await.expect(401);
    let other = cluster.connect_front_proxy("somebody").await;
    cluster.raw(other, &who(headers)).await.expect(401);
}

/// A token bound to an object ends with the object, and with its account; no other object of the name revives it.
#[track_caller]
fn check_bound(kind: &'static str, path: &'static str, body: Value) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let cluster = Cluster::start().await;
        let accounts = "/api/v1/namespaces/default/serviceaccounts";
        cluster.post(accounts, json!({"metadata": {"name": "a"}})).await.expect(201);
        cluster.post(path, body.clone()).await.expect(201);
        let bound = json!({"boundObjectRef": {"apiVersion": "v1", "kind": kind, "name": "bound"}});
        let (first, second) = (token(&cluster, "default", "a", bound.clone()).await, json!({}));
        let free = token(&cluster, "default", "a", second).await;
        let ask = async |token: &str, status: u16| {
            let request = get("/version", &format!("authorization: Bearer {token}\r\n"));
            cluster.raw(cluster.connect_anonymous().await, &request).await.expect(status);
        };
        ask(&first, 200).await;
        cluster.delete(&format!("{path}/bound")).await.expect(200);
        ask(&first, 401).await;
        cluster.post(path, body).await.expect(201);
        ask(&first, 401).await;
        let second = token(&cluster, "default", "a", bound).await;
        ask(&second, 200).await;
        cluster.delete(&format!("{accounts}/a")).await.expect(200);
        cluster.post(accounts, json!({"metadata": {"name": "a"}})).await.expect(201);
        for token in [&second, &free] {
            ask(token, 401).await;
        }
    });
}

#[test]
fn a_token_ends_with_what_it_is_bound_to() {
    let object = json!({"metadata": {"name": "bound"}});
    check_bound("Secret", "/api/v1/namespaces/default/secrets", object.clone());
    check_bound("Node", "/api/v1/nodes", object);
}

#[tokio::test]
async fn a_token_ends_with_its_time() {
    let cluster = Cluster::start().await;
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    let account = cluster.post(accounts, json!({"metadata": {"name": "a"}})).await.expect(201);
    let issued: pki::Claims =
        serde_json::from_value(claims(&token(&cluster, "default", "a", json!({})).await)).expect("claims");
    assert_eq!(issued.kubernetes.serviceaccount.uid.as_deref(), account["metadata"]["uid"].as_str());
    for (shift, status) in [(0, 200), (-2 * 86_400, 401), (2 * 86_400, 401)] {
        let mut claims = issued.clone();
        for time in [&mut claims.exp, &mut claims.iat, &mut claims.nbf] {
            *time += shift;
        }
        let token = cluster.keys().sign(&claims);
        let request = get("/version", &format!("authorization: Bearer {token}\r\n"));
        let answer = cluster.raw(cluster.connect_anonymous().await, &request).await;
        assert_eq!(answer.status(), status, "{shift} seconds");
    }
}
