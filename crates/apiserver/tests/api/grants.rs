//! Rights that let their holder pass on, or act with, more than his own: each opens what it names and nothing beside it.

use crate::support::{Client, Cluster};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const RBAC_GROUP: &str = "rbac.authorization.k8s.io";
const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";
const OWN_SIGNER: &str = "example.com/own";

fn rule(verbs: &[&str], group: &str, resources: &[&str], names: &[&str]) -> Value {
    json!({"verbs": verbs, "apiGroups": [group], "resources": resources, "resourceNames": names})
}

/// Gives a user a ClusterRole of these rules.
async fn grant(cluster: &Cluster, user: &str, rules: Value) -> Client {
    let role = json!({"metadata": {"name": user}, "rules": rules});
    cluster.post(&format!("{RBAC}/clusterroles"), role).await.expect(201);
    let binding = binding(user, user, user);
    cluster.post(&format!("{RBAC}/clusterrolebindings"), binding).await.expect(201);
    cluster.as_user(user, &[])
}

fn binding(name: &str, role: &str, user: &str) -> Value {
    json!({
        "metadata": {"name": name}, "roleRef": {"apiGroup": RBAC_GROUP, "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": RBAC_GROUP, "kind": "User", "name": user}],
    })
}

#[tokio::test]
async fn escalate_and_bind_open_the_roles_that_they_name() {
    let cluster = Cluster::start().await;
    let rules = json!([
        rule(&["create", "update"], RBAC_GROUP, &["clusterroles", "clusterrolebindings"], &[]),
        rule(&["escalate"], RBAC_GROUP, &["clusterroles"], &["grown"]),
        rule(&["bind"], RBAC_GROUP, &["clusterroles"], &["edit"]),
    ]);
    let user = grant(&cluster, "maker", rules).await;
    let secrets = json!([rule(&["get"], "", &["secrets"], &[])]);
    let role = |name: &str, rules: &Value| json!({"metadata": {"name": name}, "rules": rules});
    let path = format!("{RBAC}/clusterroles");
    for name in ["grown", "other"] {
        user.post(&path, role(name, &json!([]))).await.expect(201);
    }
    user.put(&format!("{path}/other"), role("other", &secrets)).await.expect(403);
    user.put(&format!("{path}/grown"), role("grown", &secrets)).await.expect(200);
    // Whoever creates names nothing yet, so a right that names a role is none to create it.
    user.post(&path, role("third", &secrets)).await.expect(403);

    let path = format!("{RBAC}/clusterrolebindings");
    user.post(&path, binding("a", "admin", "maker")).await.expect(403);
    // Escalating a role is not binding it.
    user.post(&path, binding("g", "grown", "friend")).await.expect(403);
    user.post(&path, binding("e", "edit", "maker")).await.expect(201);
}

/// What somebody is told who says that he is alice of devs, 42, with a scope, and whom he is taken for.
async fn act(user: &Client, changed: Option<(&'static str, &'static str)>) -> (u16, Value) {
    let mut headers = vec![
        ("content-type", "application/json"),
        ("impersonate-user", "alice"),
        ("impersonate-group", "devs"),
        ("impersonate-uid", "42"),
        ("impersonate-extra-scopes", "view"),
    ];
    if let Some((name, value)) = changed {
        headers.retain(|(each, _)| *each != name);
        headers.push((name, value));
    }
    let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}).to_string();
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let (status, _, body) = user.exchange("POST", path, &headers, body).await;
    (status, serde_json::from_slice(&body).expect("JSON"))
}

#[tokio::test]
async fn each_part_of_another_identity_needs_its_right() {
    let cluster = Cluster::start().await;
    let authentication = "authentication.k8s.io";
    let rules = json!([
        rule(&["impersonate"], "", &["users"], &["alice"]),
        rule(&["impersonate"], "", &["groups"], &["devs"]),
        rule(&["impersonate"], authentication, &["uids"], &["42"]),
        rule(&["impersonate"], authentication, &["userextras/scopes"], &["view"]),
    ]);
    let user = grant(&cluster, "actor", rules).await;
    let (status, review) = act(&user, None).await;
    let expected = json!({
        "username": "alice", "uid": "42", "groups": ["devs", "system:authenticated"], "extra": {"scopes": ["view"]},
    });
    assert_eq!((status, &review["status"]["userInfo"]), (201, &expected));
    for (changed, refusal) in [
        (("impersonate-user", "bob"), r#"cannot impersonate resource "users" in API group """#),
        (("impersonate-user", "system:serviceaccount:default:a"), r#"cannot impersonate resource "serviceaccounts""#),
        (("impersonate-group", "system:masters"), r#"cannot impersonate resource "groups" in API group """#),
        (("impersonate-uid", "43"), r#"cannot impersonate resource "uids" in API group "authentication.k8s.io""#),
        (("impersonate-extra-scopes", "all"), r#"resource "userextras/scopes" in API group "authentication.k8s.io""#),
        (("impersonate-extra-role", "view"), r#"resource "userextras/role" in API group "authentication.k8s.io""#),
    ] {
        let (status, refused) = act(&user, Some(changed)).await;
        assert_eq!(status, 403, "{changed:?}");
        assert!(refused["message"].as_str().is_some_and(|message| message.contains(refusal)), "{refused}");
    }
}

fn request(name: &str, signer: &str, organizations: &[&str]) -> Value {
    let organizations: Vec<_> = organizations.iter().map(|organization| (*organization).to_owned()).collect();
    let request = pki::SigningRequest::new("mallory", &organizations).expect("a request");
    json!({
        "metadata": {"name": name},
        "spec": {
            "signerName": signer, "usages": ["client auth"], "request": BASE64_STANDARD.encode(request.request),
        },
    })
}

#[tokio::test]
async fn requests_for_certificates_are_decided_by_whom_the_signer_trusts() {
    let cluster = Cluster::start().await;
    let group = "certificates.k8s.io";
    let rules = json!([
        rule(&["create", "get"], group, &["certificatesigningrequests"], &[]),
        rule(&["update"], group, &["certificatesigningrequests/approval", "certificatesigningrequests/status"], &[]),
        rule(&["approve"], group, &["signers"], &["example.com/*"]),
    ]);
    let user = grant(&cluster, "mallory", rules).await;
    let masters = user.post(REQUESTS, request("masters", CLIENT_SIGNER, &["system:masters"])).await.expect(403);
    let why = "use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed";
    assert!(masters["message"].as_str().is_some_and(|message| message.ends_with(why)), "{masters}");
    // That other signers give it is their matter.
    user.post(REQUESTS, request("elsewhere", OWN_SIGNER, &["system:masters"])).await.expect(201);

    let approved = async |name: &str| {
        let mut object = user.get(&format!("{REQUESTS}/{name}")).await.expect(200);
        object["status"]["conditions"] = json!([{"type": "Approved", "status": "True", "reason": "R", "message": "m"}]);
        user.put(&format!("{REQUESTS}/{name}/approval"), object).await
    };
    user.post(REQUESTS, request("client", CLIENT_SIGNER, &[])).await.expect(201);
    user.post(REQUESTS, request("own", OWN_SIGNER, &[])).await.expect(201);
    let refused = approved("client").await.expect(403);
    let why = "user not permitted to approve requests with signerName \"kubernetes.io/kube-apiserver-client\"";
    assert!(refused["message"].as_str().is_some_and(|message| message.ends_with(why)), "{refused}");
    let mut own = approved("own").await.expect(200);

    // Who approves does not sign.
    let authority = pki::Authority::load_or_create(cluster.dir(), "ca", &base::Env::system()).expect("an authority");
    own["status"]["certificate"] = BASE64_STANDARD.encode(authority.certificate_pem()).into();
    let refused = user.put(&format!("{REQUESTS}/own/status"), own.clone()).await.expect(403);
    let why = "user not permitted to sign requests with signerName \"example.com/own\"";
    assert!(refused["message"].as_str().is_some_and(|message| message.ends_with(why)), "{refused}");
    let signer = grant(
        &cluster,
        "signer",
        json!([
            rule(&["update"], group, &["certificatesigningrequests/status"], &[]),
            rule(&["sign"], group, &["signers"], &[OWN_SIGNER]),
        ]),
    );
    signer.await.put(&format!("{REQUESTS}/own/status"), own).await.expect(200);
}
