//! Volumes that say whom a pod may believe and who it is: trust bundles and certificates.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use base::Env;
use k8s_openapi::api::certificates::v1beta1::{ClusterTrustBundle, PodCertificateRequest};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::super::Stage;
use super::with_volume;

impl Stage {
    /// A file of the volume `v` of a pod.
    fn file(&self, pod: &str, name: &str) -> PathBuf {
        let volume = format!("pods/uid-{pod}/volumes/kubernetes.io~projected/v/{name}");
        self.dir.path().join("data/kubelet").join(volume)
    }

    async fn until_file(&self, pod: &str, name: &str, is_it: impl Fn(&str) -> bool) -> String {
        let file = self.file(pod, name);
        let read = async || std::fs::read_to_string(&file).ok().filter(|text| is_it(text));
        self.until(&format!("{}", file.display()), read).await
    }

    fn requests(&self) -> Api<PodCertificateRequest> {
        Api::namespaced(self.client.clone(), "default")
    }

    /// The next request that nobody has answered.
    async fn asked(&self) -> PodCertificateRequest {
        let unanswered = async || {
            let list = self.requests().list(&Default::default()).await.expect("a list");
            list.items.into_iter().find(|request| request.status.is_none())
        };
        self.until("a request", unanswered).await
    }

    async fn answer(&self, request: &PodCertificateRequest, condition: &str, mut status: Value) {
        status["conditions"] = json!([{
            "type": condition, "status": "True", "reason": "Because", "message": "it is so",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }]);
        let name = request.metadata.name.as_deref().expect("a name");
        let patch = Patch::Merge(json!({"status": status}));
        self.requests().patch_status(name, &PatchParams::default(), &patch).await.expect("patched");
    }

    /// Issues a certificate of the stage's authority; `refresh` is how long it may be used, in seconds.
    async fn issue(&self, request: &PodCertificateRequest, refresh: i64) -> String {
        let chain = self.authority.certificate_pem();
        let now = Env::system().now();
        let times = |seconds: i64| (now + Duration::from_secs(seconds.unsigned_abs())).to_string();
        let status = json!({
            "certificateChain": format!("a remark\n{chain}"),
            "notBefore": now.to_string(), "beginRefreshAt": times(refresh), "notAfter": times(refresh),
        });
        self.answer(request, "Issued", status).await;
        chain
    }

    async fn account(&self) {
        let account = json!({"metadata": {"name": "default", "namespace": "default", "uid": "uid-account"}});
        self.make::<ServiceAccount>(account).await;
    }
}

fn certificate() -> String {
    let dir = tempfile::tempdir().expect("a directory");
    pki::Authority::load_or_create(dir.path(), "ca", &Env::system()).expect("an authority").certificate_pem()
}

#[tokio::test]
async fn trust_bundles_are_joined_without_doubles_and_kept_up_to_date() {
    let stage = Stage::new(&["image:1"]).await;
    let (first, second, third) = (certificate(), certificate(), certificate());
    let bundle = async |name: &str, label: &str, text: String| {
        stage
            .make::<ClusterTrustBundle>(json!({
                "metadata": {"name": name, "labels": {"stage": label}},
                "spec": {"signerName": "example.com/s", "trustBundle": text},
            }))
            .await;
    };
    bundle("example.com:s:1", "live", format!("a remark\n{first}{second}")).await;
    bundle("example.com:s:2", "old", third.clone()).await;
    let selector = json!({"matchLabels": {"stage": "live"}});
    stage
        .create(with_volume("web", json!({"projected": {"sources": [
            {"clusterTrustBundle": {"path": "signer.pem", "signerName": "example.com/s", "labelSelector": selector}},
            {"clusterTrustBundle": {"path": "name.pem", "name": "example.com:s:2"}},
            {"clusterTrustBundle": {"path": "none.pem", "name": "none", "optional": true}},
        ]}})))
        .await;
    stage.until_phase("web", "Running").await;
    let parts = |text: &str| pki::read_certificates(text).into_iter().collect::<BTreeSet<_>>();
    let read = |name: &str| std::fs::read_to_string(stage.file("web", name)).expect("a file");
    let joined = read("signer.pem");
    assert!(!joined.contains("remark") && parts(&joined) == parts(&format!("{first}{second}")), "{joined}");
    assert_eq!((read("name.pem"), read("none.pem")), (third.clone(), String::new()));
    bundle("example.com:s:3", "live", format!("{second}{third}")).await;
    let joined = stage.until_file("web", "signer.pem", |text| parts(text).len() == 3).await;
    assert_eq!(joined.matches("BEGIN CERTIFICATE").count(), 3, "each once");
    let bundles: Api<ClusterTrustBundle> = Api::all(stage.client.clone());
    for name in ["example.com:s:1", "example.com:s:3"] {
        bundles.delete(name, &DeleteParams::default()).await.expect("deleted");
    }
    // What a pod was once given stays while there is nothing else.
    stage.events_say("combination of signerName and labelSelector matched zero ClusterTrustBundles").await;
    assert!(!read("signer.pem").is_empty());
}

#[tokio::test]
async fn a_pod_waits_for_the_bundle_that_it_names() {
    let stage = Stage::new(&["image:1"]).await;
    let source = json!({"clusterTrustBundle": {"path": "ca.pem", "name": "late"}});
    stage.create(with_volume("web", json!({"projected": {"sources": [source]}}))).await;
    stage.events_say("ClusterTrustBundle \"late\" not found").await;
    let text = certificate();
    stage.make::<ClusterTrustBundle>(json!({"metadata": {"name": "late"}, "spec": {"trustBundle": text}})).await;
    stage.until_phase("web", "Running").await;
}

fn certified(key_type: &str) -> Value {
    json!({"projected": {"sources": [{"podCertificate": {
        "signerName": "example.com/s", "keyType": key_type, "maxExpirationSeconds": 3600,
        "credentialBundlePath": "all.pem", "keyPath": "key.pem", "certificateChainPath": "chain.pem",
        "userAnnotations": {"example.com/a": "b"},
    }}]}})
}

#[tokio::test]
async fn a_pod_gets_a_certificate_for_a_key_that_only_it_has_and_another_in_time() {
    let stage = Stage::new(&["image:1"]).await;
    stage.account().await;
    let as_user = with_volume("web", certified("ECDSAP256")).with(|pod| {
        let security = &mut pod.spec.as_mut().expect("a specification").security_context;
        security.get_or_insert_default().run_as_user = Some(1234);
    });
    stage.create(as_user).await;
    stage.events_say("credential bundle is not issued yet").await;
    let request = stage.asked().await;
    let spec = &request.spec;
    assert_eq!((spec.pod_name.as_str(), spec.pod_uid.as_str(), spec.node_name.as_str()), ("web", "uid-web", "n1"));
    assert_eq!((spec.service_account_name.as_str(), spec.service_account_uid.as_str()), ("default", "uid-account"));
    assert_eq!(spec.unverified_user_annotations.as_ref().expect("annotations")["example.com/a"], "b");
    let chain = stage.issue(&request, 1).await;
    stage.until_phase("web", "Running").await;
    let key = stage.until_file("web", "key.pem", |text| text.starts_with("-----BEGIN PRIVATE KEY-----")).await;
    let mode = std::fs::metadata(stage.file("web", "key.pem")).expect("a file");
    assert_eq!((mode.mode() & 0o777, mode.uid()), (0o600, 1234));
    assert_eq!(std::fs::read_to_string(stage.file("web", "chain.pem")).expect("a file"), chain);
    assert_eq!(std::fs::read_to_string(stage.file("web", "all.pem")).expect("a file"), format!("{key}{chain}"));
    let renewal = stage.asked().await;
    assert_ne!(renewal.spec.pkix_public_key, spec.pkix_public_key);
    assert_eq!(std::fs::read_to_string(stage.file("web", "key.pem")).expect("a file"), key, "until it is answered");
    stage.issue(&renewal, 3600).await;
    stage.until_file("web", "key.pem", |text| text != key).await;
}

#[tokio::test]
async fn a_request_that_is_denied_or_fails_leaves_the_pod_waiting_and_says_why() {
    let stage = Stage::new(&["image:1"]).await;
    stage.account().await;
    for (pod, condition, event, message) in [
        (
            "web",
            "Denied",
            "was denied, reason=\"Because\"",
            "permanently denied: reason=\"Because\" message=\"it is so\"",
        ),
        ("api", "Failed", "failed, reason=\"Because\"", "permanently failed: reason=\"Because\" message=\"it is so\""),
    ] {
        stage.create(with_volume(pod, certified("ED25519"))).await;
        let request = stage.asked().await;
        stage.answer(&request, condition, json!({})).await;
        stage.events_say(event).await;
        stage.events_say(message).await;
        assert_eq!(stage.status(pod).await.phase.as_deref(), Some("Pending"));
    }
}

#[tokio::test]
async fn a_deleted_request_is_made_again() {
    let stage = Stage::new(&["image:1"]).await;
    stage.account().await;
    stage.create(with_volume("web", certified("ECDSAP521"))).await;
    let request = stage.asked().await;
    let name = request.metadata.name.expect("a name");
    stage.requests().delete(&name, &DeleteParams::default()).await.expect("deleted");
    let again = stage.asked().await;
    stage.issue(&again, 3600).await;
    stage.until_phase("web", "Running").await;
}

/// Whether the API server takes what is asked for with keys of all types.
#[test]
fn the_proofs_of_all_keys_are_good() {
    let kind = api::kinds::find_kind("certificates.k8s.io", "v1beta1", "PodCertificateRequest").expect("a kind");
    for key_type in ["RSA3072", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"] {
        let key = pki::PodKey::generate(key_type, "uid-web").expect("a key");
        let request = PodCertificateRequest {
            spec: k8s_openapi::api::certificates::v1beta1::PodCertificateRequestSpec {
                pkix_public_key: k8s_openapi::ByteString(key.public),
                proof_of_possession: k8s_openapi::ByteString(key.proof),
                pod_uid: "uid-web".to_owned(),
                ..Default::default()
            },
            ..PodCertificateRequest::default()
        };
        let errors = api::validation::create(kind, &serde_json::to_value(&request).expect("JSON"));
        let of_keys =
            errors.iter().map(ToString::to_string).filter(|error| error.contains("pkix") || error.contains("proof"));
        assert_eq!(of_keys.collect::<Vec<_>>(), [""; 0], "{key_type}");
    }
}
