//! Encryption with keys of a key management plugin: what lies in the datastore, and what the plugin's absence does.

use encryption::Source;
use serde_json::json;
use skiff_apiserver::Config;
use testkit::KmsPlugin;

use crate::encryption::{check_begins, stored};
use crate::metrics::metric;
use crate::support::Cluster;

const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const SECRET: &str = "/api/v1/namespaces/default/secrets/s";
const KEY: &str = "/registry/core/secrets/default/s";

/// A configuration that names a plugin, taken as it changes or only at the start.
fn used(dir: &std::path::Path, plugin: &KmsPlugin, automatic_reload: bool) -> impl FnOnce(&mut Config) + use<> {
    let path = dir.join("encryption.yaml");
    let kms = json!({"apiVersion": "v2", "name": "vault", "endpoint": plugin.endpoint()});
    let configuration = json!({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration",
        "resources": [{"resources": ["secrets"], "providers": [{"kms": kms}, {"identity": {}}]}],
    });
    std::fs::write(&path, configuration.to_string()).expect("it can be written");
    move |config| config.encryption = Some(Source { path, automatic_reload })
}

#[tokio::test]
async fn secrets_are_encrypted_with_keys_of_the_plugin() {
    let dir = tempfile::tempdir().expect("a directory");
    let plugin = KmsPlugin::start(dir.path());
    let cluster = Cluster::start_with(used(dir.path(), &plugin, true)).await;
    let created = cluster.post(SECRETS, json!({"metadata": {"name": "s"}, "stringData": {"a": "b"}})).await.expect(201);
    let before = stored(&cluster, KEY).await;
    check_begins(&before, "k8s:enc:kms:v2:vault:");
    assert_eq!(cluster.get(SECRET).await.expect(200), created);
    // Nothing changes, and it would be written as it is.
    cluster.patch(SECRET, "application/merge-patch+json", json!({})).await.expect(200);
    assert_eq!(stored(&cluster, KEY).await, before);

    plugin.say(|said| said.key_id = "2".to_owned());
    let cluster = cluster.restart_with(used(dir.path(), &plugin, true)).await;
    assert_eq!(cluster.get(SECRET).await.expect(200), created);
    // The server asks the plugin at its start; until then nothing counts as stale.
    cluster.until_status("/readyz/kms-providers", 200).await;
    cluster.patch(SECRET, "application/merge-patch+json", json!({})).await.expect(200);
    let after = stored(&cluster, KEY).await;
    check_begins(&after, "k8s:enc:kms:v2:vault:");
    assert_ne!(after, before);
    let used = r#"key_id_hash="sha256:d4735e3a265e16eee03f59718b9b5d03019c07d8b6c51f90da3a666eec13ab35",provider_name="vault",transformation_type="to_storage""#;
    assert_eq!(metric(&cluster, "apiserver_envelope_encryption_key_id_hash_total", used).await, Some(1.0));
}

#[tokio::test]
async fn a_plugin_that_is_away_is_named_and_waited_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut plugin = KmsPlugin::start(dir.path());
    let cluster = Cluster::start_with(used(dir.path(), &plugin, true)).await;
    let created = cluster.post(SECRETS, json!({"metadata": {"name": "s"}})).await.expect(201);
    plugin.stop().await;
    let cluster = cluster.restart_with(used(dir.path(), &plugin, true)).await;
    for answer in [
        cluster.get(SECRET).await,
        cluster.get(SECRETS).await,
        cluster.post(SECRETS, json!({"metadata": {"name": "other"}})).await,
    ] {
        let answer = answer.expect(500);
        let message = answer["message"].as_str().unwrap_or_default();
        assert!(message.contains("key management plugin \"vault\""), "{message}");
    }
    cluster.get("/api/v1/namespaces/default/configmaps").await.expect(200);
    cluster.get("/livez").await.expect(200);
    let report = cluster.get("/readyz").await;
    assert!(report.body().to_string().contains("[-]kms-providers failed"), "{}", report.body());
    report.expect(500);
    cluster.get("/healthz/kms-providers").await.expect(500);
    cluster.get("/readyz?exclude=kms-providers").await.expect(200);

    plugin.resume();
    cluster.until_status("/readyz/kms-providers", 200).await;
    cluster.until_status(SECRET, 200).await;
    assert_eq!(cluster.get(SECRET).await.expect(200), created);
    cluster.post(SECRETS, json!({"metadata": {"name": "other"}})).await.expect(201);
}

#[tokio::test]
async fn every_plugin_of_a_fixed_configuration_has_a_check() {
    let dir = tempfile::tempdir().expect("a directory");
    let plugin = KmsPlugin::start(dir.path());
    let cluster = Cluster::start_with(used(dir.path(), &plugin, false)).await;
    cluster.get("/readyz/kms-provider-0").await.expect(200);
    cluster.get("/healthz/kms-provider-0").await.expect(200);
    for absent in ["/livez/kms-provider-0", "/readyz/kms-provider-1", "/readyz/kms-providers"] {
        cluster.get(absent).await.expect(404);
    }
}
