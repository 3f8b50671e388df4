//! Keys of a real API server, over what it has stored: changed, and changed half.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use encryption::{EncryptionConfiguration, Source};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{ListParams, ObjectMeta, PostParams};
use store::RangeRequest;
use testkit::{Cluster, KmsPlugin};

use super::*;

const SECRETS: usize = 30;
const TEXT: &str = "nobody-may-read-this";

/// A cluster whose server follows a file of keys.
struct Setup {
    dir: tempfile::TempDir,
    cluster: Cluster,
}

impl Setup {
    async fn start(configuration: &EncryptionConfiguration) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        pki::write_private(&dir.path().join("keys.json"), &configuration.to_json()).expect("written");
        let source = Source { path: dir.path().join("keys.json"), automatic_reload: true };
        let cluster = Cluster::start_with(Env::system(), |config| config.encryption = Some(source)).await;
        let setup = Self { dir, cluster };
        for number in 0..SECRETS {
            let metadata = ObjectMeta { name: Some(format!("s{number}")), ..ObjectMeta::default() };
            let string_data = [("text".to_owned(), TEXT.to_owned())].into();
            let secret = Secret { metadata, string_data: Some(string_data), ..Secret::default() };
            setup.secrets().create(&PostParams::default(), &secret).await.expect("created");
        }
        setup
    }

    /// The server is killed and started again.
    async fn restart(self) -> Self {
        let source = Source { path: self.dir.path().join("keys.json"), automatic_reload: true };
        let cluster = self.cluster.restart_with(|config| config.encryption = Some(source)).await;
        Self { dir: self.dir, cluster }
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.cluster.client.clone(), "default")
    }

    fn keys(&self) -> Keys {
        let file = File::at(self.dir.path().join("keys.json"));
        Keys { file, client: self.cluster.client.clone(), env: Env::system(), say: |_| {} }
    }

    /// How many secrets are stored under which key.
    async fn stored(&self) -> Vec<(String, usize)> {
        let range = RangeRequest::prefix("/registry/core/secrets/default/");
        let page = self.cluster.store().range(range).await.expect("readable");
        let mut counts = std::collections::BTreeMap::new();
        for kv in page.kvs {
            *counts.entry(KeyName::of(&kv.value).to_string()).or_default() += 1;
        }
        counts.into_iter().collect()
    }

    /// All secrets can be read, as they were written.
    async fn check_readable(&self) {
        let list = async || self.secrets().list(&ListParams::default()).await.ok();
        let list = testkit::poll_async(PATIENCE, list).await.expect("they can be listed");
        let is_whole = |secret: &Secret| {
            secret.data.as_ref().is_some_and(|data| data.get("text").is_some_and(|text| text.0 == TEXT.as_bytes()))
        };
        assert_eq!(list.items.iter().filter(|secret| is_whole(secret)).count(), SECRETS);
    }

    /// The names of the keys in the file.
    fn names(&self) -> Vec<String> {
        let (configuration, _) = self.keys().file.read().expect("the file is whole");
        let keys = configuration.resources[0].providers.iter().flat_map(|provider| &provider.secretbox);
        keys.flat_map(|keys| keys.keys.iter().map(|key| format!("secretbox/{}", key.name))).collect()
    }
}

#[tokio::test]
async fn keys_are_rotated_and_the_one_before_goes_with_the_next() {
    let setup = Setup::start(&EncryptionConfiguration::secrets(&Env::system())).await;
    let first = setup.names();
    assert_eq!(setup.stored().await, [(first[0].clone(), SECRETS)]);
    let table = setup.keys().status().await.expect("a server");
    assert!(table.contains("keys.json: in use"), "{table}");
    let line = |table: &str, key: &str| {
        let line = table.lines().find(|line| line.contains(key)).unwrap_or_default();
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(line(&table, &first[0]), ["secrets", &first[0], "writes", &SECRETS.to_string()]);
    assert_eq!(line(&table, "identity"), ["secrets", "identity", "reads", "0"]);

    setup.keys().rotate().await.expect("rotated");
    let second = setup.names();
    assert_eq!((second.len(), &second[1]), (2, &first[0]));
    assert_eq!(setup.stored().await, [(second[0].clone(), SECRETS)]);
    setup.check_readable().await;
    setup.keys().rotate().await.expect("rotated");
    let third = setup.names();
    assert_eq!((third.len(), &third[1]), (2, &second[0]), "the first is dropped");
    setup.keys().prune().await.expect("pruned");
    assert_eq!(setup.names(), third[..1]);
    setup.restart().await.check_readable().await;
}

/// Polls a future so often, and then no more: as if its process was killed.
async fn killed_after<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let left = AtomicUsize::new(polls);
    std::future::poll_fn(|context| {
        if left.load(Ordering::Relaxed) == 0 {
            return Poll::Ready(None);
        }
        left.fetch_sub(1, Ordering::Relaxed);
        future.as_mut().poll(context).map(Some)
    })
    .await
}

#[tokio::test]
async fn whoever_is_killed_leaves_everything_readable() {
    let mut setup = Setup::start(&EncryptionConfiguration::secrets(&Env::system())).await;
    let mut polls = 1;
    loop {
        let outcome = killed_after(polls, setup.keys().rotate()).await;
        let is_through = outcome.is_some_and(|rotated| rotated.is_ok());
        // What lies in the datastore can be read with what lies in the file, now and by the next server.
        let names = setup.names();
        for (key, _) in setup.stored().await {
            assert!(names.contains(&key), "{key} of {names:?} after {polls} polls");
        }
        setup.check_readable().await;
        setup = setup.restart().await;
        setup.check_readable().await;
        if is_through {
            break;
        }
        polls += polls / 2 + 1;
    }
    assert_eq!(setup.stored().await, [(setup.names()[0].clone(), SECRETS)]);
}

#[tokio::test]
async fn what_was_plain_is_encrypted_and_what_a_plugin_wrote_is_too() {
    let configuration = EncryptionConfiguration::secrets(&Env::system());
    let mut plain = configuration.clone();
    plain.resources[0].providers.reverse();
    let setup = Setup::start(&plain).await;
    assert_eq!(setup.stored().await, [("identity".to_owned(), SECRETS)]);
    let refused = setup.keys().rotate().await.map_err(|err| err.to_string());
    assert!(refused.is_err_and(|why| why.contains("no key in")));

    setup.keys().put(&configuration).await.expect("taken");
    let table = setup.keys().status().await.expect("a server");
    assert!(table.contains("30 objects are not stored under the key that writes"), "{table}");
    setup.keys().reencrypt().await.expect("encrypted");
    let key = setup.names()[0].clone();
    assert_eq!(setup.stored().await, [(key.clone(), SECRETS)]);

    let plugin = KmsPlugin::start(setup.dir.path());
    let mut kms = configuration.clone();
    let provider = serde_json::json!({"kms": {"apiVersion": "v2", "name": "vault", "endpoint": plugin.endpoint()}});
    kms.resources[0].providers.insert(0, serde_json::from_value(provider).expect("a provider"));
    setup.keys().put(&kms).await.expect("taken");
    setup.keys().reencrypt().await.expect("encrypted");
    assert_eq!(setup.stored().await, [("kms:vault/1".to_owned(), SECRETS)]);
    setup.check_readable().await;
    setup.keys().prune().await.expect("pruned");
    assert_eq!(setup.names(), Vec::<String>::new(), "nothing is stored under {key}");
}

#[tokio::test]
async fn a_server_that_has_other_keys_is_left_alone() {
    let setup = Setup::start(&EncryptionConfiguration::secrets(&Env::system())).await;
    let other = setup.dir.path().join("other.json");
    let text = EncryptionConfiguration::secrets(&Env::system()).to_json();
    pki::write_private(&other, &text).expect("written");
    let keys = Keys { file: File::at(other.clone()), ..setup.keys() };
    assert!(keys.status().await.expect("a server").contains("not in use"));
    let waiting = keys.rotate();
    tokio::time::pause();
    let refused = waiting.await.map_err(|err| err.to_string());
    assert!(refused.is_err_and(|why| why.contains("the server does not use")));
    assert_eq!(std::fs::read_to_string(&other).expect("it is there"), text);
}
