//! As whom the API server asks admission webhooks.

use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use skiff_apiserver::load_admission_configuration;

use crate::hooks::{Credentials, Hook};
use crate::support::Cluster;

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";

/// A file that names a kubeconfig for the webhooks of a plugin.
fn configured(dir: &Path, plugin: &str, version: &str, users: &Value) -> std::path::PathBuf {
    let kubeconfig = dir.join(format!("{plugin}.kubeconfig"));
    let config = json!({"apiVersion": "v1", "kind": "Config", "users": users});
    std::fs::write(&kubeconfig, config.to_string()).expect("written");
    let kind = if version == "v1" { "WebhookAdmissionConfiguration" } else { "WebhookAdmission" };
    let file = dir.join("admission.json");
    let configuration = json!({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration",
        "plugins": [{"name": plugin, "configuration": {
            "apiVersion": format!("apiserver.config.k8s.io/{version}"), "kind": kind, "kubeConfigFile": kubeconfig,
        }}],
    });
    std::fs::write(&file, configuration.to_string()).expect("written");
    file
}

/// As whom a validating and a mutating webhook are asked when users are configured for the validating ones.
async fn check(version: &str, users: impl Fn(&Hook, &Path) -> Value, expected: Credentials) {
    let hook = Hook::start(|review| {
        let response = json!({"uid": review["request"]["uid"], "allowed": true});
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
    })
    .await;
    let dir = tempfile::tempdir().expect("a directory");
    let file = configured(dir.path(), "ValidatingAdmissionWebhook", version, &users(&hook, dir.path()));
    let admission = load_admission_configuration(&file).expect("a configuration");
    let cluster = Cluster::start_with(|config| config.admission = admission).await;
    for plural in ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"] {
        let webhook = json!({
            "name": "hook.example.com", "clientConfig": {"url": hook.url, "caBundle": hook.ca_bundle},
            "rules": [{"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}],
            "sideEffects": "None", "admissionReviewVersions": ["v1"], "timeoutSeconds": 30,
        });
        let configuration = json!({"metadata": {"name": "hook"}, "webhooks": [webhook]});
        cluster.post(&format!("{GROUP}/{plural}"), configuration).await.expect(201);
        cluster.get(&format!("{GROUP}/{plural}/hook")).await.expect(200);
    }
    let map = json!({"metadata": {"name": "a"}});
    cluster.post("/api/v1/namespaces/default/configmaps", map).await.expect(201);
    assert_eq!(hook.callers(), [(None, None), expected]);
}

#[tokio::test]
async fn webhooks_are_asked_with_the_token_of_their_host() {
    let users = |hook: &Hook, _: &Path| {
        json!([
            {"name": "hooks.elsewhere", "user": {"token": "theirs"}},
            {"name": hook.address.to_string(), "user": {"token": "secret"}},
            {"name": "*", "user": {"token": "for-anybody"}},
        ])
    };
    check("v1", users, (Some("Bearer secret".to_owned()), None)).await;
    let users = |_: &Hook, dir: &Path| {
        std::fs::write(dir.join("token"), "kept\n").expect("written");
        json!([{"name": "127.0.0.1", "user": {"token": "of another port"}}, {"name": "*", "user": {"tokenFile": "token"}}])
    };
    check("v1alpha1", users, (Some("Bearer kept".to_owned()), None)).await;
}

#[tokio::test]
async fn webhooks_are_asked_with_a_password_or_a_certificate() {
    let users = |_: &Hook, _: &Path| json!([{"name": "*", "user": {"username": "jane", "password": "x"}}]);
    let basic = format!("Basic {}", BASE64_STANDARD.encode("jane:x"));
    check("v1", users, (Some(basic), None)).await;
    let users = |_: &Hook, dir: &Path| {
        let authority = pki::Authority::load_or_create(dir, "of-callers", &base::Env::system()).expect("an authority");
        let request = pki::IssueRequest {
            common_name: "the-api-server".to_owned(),
            organizations: Vec::new(),
            dns_names: Vec::new(),
            ips: Vec::new(),
            usage: pki::Usage::Client,
            validity: std::time::Duration::from_secs(3600),
        };
        let pair = authority.issue(&request).expect("a certificate");
        std::fs::write(dir.join("caller.key"), pair.key).expect("written");
        let certificate = BASE64_STANDARD.encode(pair.certificate);
        json!([{"name": "*", "user": {"client-certificate-data": certificate, "client-key": "caller.key"}}])
    };
    check("v1", users, (None, Some("the-api-server".to_owned()))).await;
}

#[tokio::test]
async fn what_cannot_be_shown_is_not_taken() {
    let dir = tempfile::tempdir().expect("a directory");
    for (users, expected) in [
        (json!([{"name": "*", "user": {"exec": {"command": "token"}}}]), "exec is not supported"),
        (json!([{"name": "*", "user": {"client-key-data": "eA=="}}]), "go together"),
        (json!([{"user": {}}]), "a user has no name"),
    ] {
        let file = configured(dir.path(), "MutatingAdmissionWebhook", "v1", &users);
        let why = load_admission_configuration(&file).map(drop).map_err(|err| err.to_string());
        assert!(why.as_ref().is_err_and(|why| why.contains(expected)), "{users}: {why:?}");
    }
    let configuration = r#"{"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration", "plugins": [
        {"name": "MutatingAdmissionWebhook", "configuration": {"apiVersion": "apiserver.config.k8s.io/v1",
         "kind": "WebhookAdmissionConfiguration", "kubeConfigFile": "beside.kubeconfig"}}]}"#;
    let file = dir.path().join("relative.json");
    std::fs::write(&file, configuration).expect("written");
    let why = load_admission_configuration(&file).map(drop).map_err(|err| err.to_string());
    assert!(why.is_err_and(|why| why.contains("must be an absolute file path")));
}
