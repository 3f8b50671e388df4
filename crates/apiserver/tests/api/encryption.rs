//! Encryption at rest: what lies in the datastore, what other keys do to it, and what writes it anew.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use encryption::{EncryptionConfiguration, Provider, ResourceConfiguration, Source};
use serde_json::{Value, json};
use skiff_apiserver::Config;
use store::{RangeRequest, Store};

use crate::support::Cluster;

const SECRET: &str = "/api/v1/namespaces/default/secrets/s";
const TEXT: &str = "nobody-may-read-this";

/// A file with a configuration, outside of the server's own directory.
struct File {
    dir: tempfile::TempDir,
}

impl File {
    fn new(providers: Vec<Provider>) -> Self {
        let file = Self { dir: tempfile::tempdir().expect("a directory") };
        file.write(providers);
        file
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("encryption.yaml")
    }

    fn write(&self, providers: Vec<Provider>) {
        let resources = ["secrets", "widgets.example.com"].map(str::to_owned).to_vec();
        let configuration = EncryptionConfiguration::new(vec![ResourceConfiguration { resources, providers }]);
        // As editors do: another file takes the place.
        let new = self.dir.path().join("new");
        std::fs::write(&new, serde_json::to_vec(&configuration).expect("it is JSON")).expect("it can be written");
        std::fs::rename(new, self.path()).expect("it can be replaced");
    }

    fn used(&self) -> impl FnOnce(&mut Config) + use<> {
        let source = Source { path: self.path(), automatic_reload: true };
        move |config| config.encryption = Some(source)
    }
}

fn by(kind: &str, name: &str, byte: u8) -> Provider {
    use base64::Engine;
    let secret = base64::prelude::BASE64_STANDARD.encode([byte; 32]);
    serde_json::from_value(json!({kind: {"keys": [{"name": name, "secret": secret}]}})).expect("a provider")
}

fn secret() -> Value {
    json!({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "s"}, "stringData": {"password": TEXT}})
}

/// The bytes under a key of the datastore.
pub async fn stored(cluster: &Cluster, key: &str) -> Vec<u8> {
    let range = cluster.store().range(RangeRequest::key(key.to_owned())).await.expect("readable");
    range.kvs.first().unwrap_or_else(|| panic!("nothing is at {key}")).value.to_vec()
}

#[track_caller]
pub fn check_begins(stored: &[u8], prefix: &str) {
    assert!(stored.starts_with(prefix.as_bytes()), "{:?}", String::from_utf8_lossy(&stored[..prefix.len()]));
}

const KEY: &str = "/registry/core/secrets/default/s";

#[tokio::test]
async fn secrets_are_encrypted_and_other_objects_are_not() {
    for kind in ["aescbc", "aesgcm", "secretbox"] {
        let file = File::new(vec![by(kind, "k1", 1), Provider::identity()]);
        let cluster = Cluster::start_with(file.used()).await;
        let created = cluster.post("/api/v1/namespaces/default/secrets", secret()).await.expect(201);
        check_begins(&stored(&cluster, KEY).await, &format!("k8s:enc:{kind}:v1:k1:"));
        check_begins(&stored(&cluster, "/registry/core/namespaces/default").await, "{\"apiVersion\":\"v1\"");
        assert_eq!(cluster.get(SECRET).await.expect(200), created);
        check_counted(&cluster, "to_storage", kind).await;
        let cluster = cluster.restart_with(file.used()).await;
        assert_eq!(cluster.get(SECRET).await.expect(200), created);
        check_counted(&cluster, "from_storage", kind).await;
    }
}

/// That the metrics tell of secrets that went a way.
async fn check_counted(cluster: &Cluster, way: &str, kind: &str) {
    let labels = |status: &str| {
        format!(r#"resource="secrets",{status}transformation_type="{way}",transformer_prefix="k8s:enc:{kind}:v1:""#)
    };
    for (name, status) in [("operations_total", r#"status="OK","#), ("duration_seconds_count", "")] {
        let name = format!("apiserver_storage_transformation_{name}");
        let count = crate::metrics::metric(cluster, &name, &labels(status)).await;
        assert!(count.is_some_and(|count| count >= 1.0), "{name} {way} {kind}: {count:?}");
    }
}

#[tokio::test]
async fn a_change_of_nothing_encrypts_anew_once() {
    let file = File::new(vec![Provider::identity()]);
    let cluster = Cluster::start_with(file.used()).await;
    let created = cluster.post("/api/v1/namespaces/default/secrets", secret()).await.expect(201);
    check_begins(&stored(&cluster, KEY).await, "{");

    file.write(vec![by("aesgcm", "k1", 1), Provider::identity()]);
    let cluster = cluster.restart_with(file.used()).await;
    let written = cluster.put(SECRET, created.clone()).await.expect(200);
    check_begins(&stored(&cluster, KEY).await, "k8s:enc:aesgcm:v1:k1:");
    assert_ne!(written["metadata"]["resourceVersion"], created["metadata"]["resourceVersion"]);
    let again = cluster.put(SECRET, written.clone()).await.expect(200);
    assert_eq!(again, written);

    // The same by a new first key that is taken without a restart.
    file.write(vec![by("secretbox", "k2", 2), by("aesgcm", "k1", 1)]);
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    while !stored(&cluster, KEY).await.starts_with(b"k8s:enc:secretbox:v1:k2:") {
        let patch = cluster.patch(SECRET, "application/merge-patch+json", json!({})).await;
        patch.expect(200);
        assert!(tokio::time::Instant::now() < deadline, "the new key is not used");
        tokio::task::yield_now().await;
    }
    assert_eq!(cluster.get(SECRET).await.expect(200)["data"], created["data"]);
}

#[tokio::test]
async fn what_no_key_reads_is_named_kept_and_read_again_when_the_key_is_back() {
    let file = File::new(vec![by("secretbox", "k1", 1), Provider::identity()]);
    let cluster = Cluster::start_with(file.used()).await;
    let created = cluster.post("/api/v1/namespaces/default/secrets", secret()).await.expect(201);
    let before = stored(&cluster, KEY).await;

    file.write(vec![by("secretbox", "k2", 2), Provider::identity()]);
    let cluster = cluster.restart_with(file.used()).await;
    let expect_named = |answer: Value| {
        let message = answer["message"].as_str().unwrap_or_default().to_owned();
        assert!(message.contains(KEY) && message.contains("key \"k1\" of provider secretbox"), "{message}");
        assert!(!message.contains(TEXT));
    };
    expect_named(cluster.get(SECRET).await.expect(500));
    expect_named(cluster.get("/api/v1/secrets").await.expect(500));
    expect_named(cluster.get("/api/v1/namespaces/default/secrets?resourceVersion=0").await.expect(500));
    expect_named(cluster.get("/api/v1/secrets?watch=true&timeoutSeconds=1").await.expect(500));
    expect_named(cluster.put(SECRET, secret()).await.expect(500));
    expect_named(cluster.post("/api/v1/namespaces/default/secrets", secret()).await.expect(500));
    expect_named(cluster.delete(SECRET).await.expect(500));
    // Others are served.
    cluster.get("/api/v1/namespaces/kube-system/secrets").await.expect(200);
    cluster.get("/api/v1/configmaps").await.expect(200);
    assert_eq!(stored(&cluster, KEY).await, before);

    file.write(vec![by("secretbox", "k2", 2), by("secretbox", "k1", 1)]);
    cluster.until_status(SECRET, 200).await;
    assert_eq!(cluster.get(SECRET).await.expect(200), created);
    let listed = cluster.get("/api/v1/secrets").await.expect(200);
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(1));
    cluster.delete(SECRET).await.expect(200);
}

#[tokio::test]
async fn a_wrong_key_of_a_cipher_that_does_not_notice_is_noticed() {
    let file = File::new(vec![by("aescbc", "k1", 1)]);
    let cluster = Cluster::start_with(file.used()).await;
    for number in 0..40 {
        let mut secret = secret();
        secret["metadata"]["name"] = format!("s{number}").into();
        cluster.post("/api/v1/namespaces/default/secrets", secret).await.expect(201);
    }
    file.write(vec![by("aescbc", "k1", 9)]);
    let cluster = cluster.restart_with(file.used()).await;
    for number in 0..40 {
        cluster.get(&format!("{SECRET}{number}")).await.expect(500);
    }
}

#[tokio::test]
async fn it_is_told_what_is_stored_under_which_key() {
    let file = File::new(vec![by("secretbox", "k1", 1), Provider::identity()]);
    let cluster = Cluster::start_with(file.used()).await;
    cluster.post("/api/v1/namespaces/default/secrets", secret()).await.expect(201);
    let told = cluster.get("/debug/encryption").await.expect(200);
    let [k1, identity] = [json!({"provider": "secretbox", "key": "k1"}), json!({"provider": "identity"})];
    let secrets =
        |stored: Value, keys: Value| json!({"group": "", "resource": "secrets", "keys": keys, "stored": stored});
    let stored = json!([{"provider": "secretbox", "key": "k1", "objects": 1, "isStale": false}]);
    assert_eq!(told["resources"][0], secrets(stored, json!([k1, identity])));
    assert_eq!(told["resources"][1]["resource"], "widgets");

    file.write(vec![by("aesgcm", "k2", 2), by("secretbox", "k1", 1)]);
    let hash = told["configHash"].clone();
    let told = cluster.until("/debug/encryption", "another configuration", |told| told["configHash"] != hash).await;
    let stored = json!([{"provider": "secretbox", "key": "k1", "objects": 1, "isStale": true}]);
    assert_eq!(told["resources"][0], secrets(stored, json!([{"provider": "aesgcm", "key": "k2"}, k1])));
    // A configuration that does not name what it once named.
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("none.yaml");
    let entry = ResourceConfiguration { resources: vec!["pods".to_owned()], providers: vec![Provider::identity()] };
    let text = serde_json::to_vec(&EncryptionConfiguration::new(vec![entry])).expect("it is JSON");
    std::fs::write(&path, text).expect("it can be written");
    let none = Source { path, automatic_reload: false };
    let cluster = cluster.restart_with(|config| config.encryption = Some(none)).await;
    let told = cluster.get("/debug/encryption").await.expect(200);
    let of = |told: &Value| {
        told["resources"].as_array().into_iter().flatten().map(|of| of["resource"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(of(&told), ["pods", "secrets"]);
    assert_eq!(told["resources"][1]["stored"][0]["isStale"], true);
    cluster.as_user("jane", &[]).get("/debug/encryption").await.expect(403);
}

/// Whether a file below a directory holds a text.
fn holds(dir: &Path, text: &str) -> bool {
    let entries = std::fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").path());
    entries.into_iter().any(|path| {
        if path.is_dir() {
            return holds(&path, text);
        }
        let bytes = std::fs::read(&path).expect("a file");
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    })
}

#[tokio::test]
async fn the_disk_holds_no_plain_secret() {
    use base64::Engine;
    let data = base64::prelude::BASE64_STANDARD.encode(TEXT);
    for (is_encrypted, providers) in
        [(false, vec![Provider::identity()]), (true, vec![by("secretbox", "k", 1), Provider::identity()])]
    {
        let db = tempfile::tempdir().expect("a directory");
        let config = store::EmbeddedConfig::new(db.path(), base::Env::system());
        let store: Arc<dyn Store> = Arc::new(store::Embedded::open(config).expect("it opens"));
        let file = File::new(providers);
        let cluster = Cluster::start_on(store, tempfile::tempdir().expect("a directory"), file.used()).await;
        cluster.post("/api/v1/namespaces/default/secrets", secret()).await.expect(201);
        let mut changed = secret();
        changed["metadata"]["labels"] = json!({"visible": "no-label-either"});
        cluster.put(SECRET, changed).await.expect(200);
        for text in [&*data, TEXT, "no-label-either"] {
            let expected = !is_encrypted && text != TEXT;
            assert_eq!(holds(db.path(), text), expected, "{text} with encryption {is_encrypted}");
        }
    }
}
