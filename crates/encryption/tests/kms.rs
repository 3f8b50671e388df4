//! Key management plugins over their real boundary: gRPC on a unix socket.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base::Env;
use bytes::Bytes;
use prometheus::proto::MetricType;
use skiff_encryption::{Encryption, Opened, Resource, Source};
use testkit::{KmsPlugin, Said};
use tokio::time::advance;

const SECRETS: Resource<'_> = Resource { group: "", plural: "secrets" };
const KEY: &[u8] = b"/registry/core/secrets/default/s";
const CHECK: &str = "kms-providers";
const PLAIN: &[u8] = b"{\"kind\":\"Secret\"}";
/// No answer of a plugin is believed for longer.
const LATER: Duration = Duration::from_secs(21);
const DEADLINE: Duration = Duration::from_secs(60);

/// A plugin, and a configuration that names it.
struct Setup {
    dir: tempfile::TempDir,
    plugin: KmsPlugin,
    env: Env,
}

impl Setup {
    fn new(env: Env) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let plugin = KmsPlugin::start(dir.path());
        let setup = Self { dir, plugin, env };
        setup.configure(&setup.kms(""));
        setup
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("encryption.yaml")
    }

    fn kms(&self, fields: &str) -> String {
        format!("{{kms: {{apiVersion: v2, name: vault, endpoint: '{}'{fields}}}}}", self.plugin.endpoint())
    }

    fn configure(&self, providers: &str) {
        let text = format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\n\
             resources: [{{resources: [secrets], providers: [{providers}, {{identity: {{}}}}]}}]\n"
        );
        let new = self.dir.path().join("new");
        std::fs::write(&new, text).expect("it can be written");
        std::fs::rename(new, self.path()).expect("it can be replaced");
    }

    /// A server's view that knows nothing yet.
    fn load(&self) -> Encryption {
        let source = Source { path: self.path(), automatic_reload: true };
        Encryption::load(source, self.env.clone()).expect("it is right")
    }
}

async fn seal(by: &Encryption) -> Result<Bytes, String> {
    let sealed = by.current().seal(SECRETS, KEY, Bytes::from_static(PLAIN)).await;
    sealed.map_err(|err| err.to_string())
}

async fn sealed(by: &Encryption) -> Bytes {
    seal(by).await.expect("it can be encrypted")
}

async fn open(by: &Encryption, stored: &Bytes) -> Result<bool, String> {
    let opened = by.current().open(SECRETS, KEY, stored.clone()).await;
    opened.map_err(|err| err.to_string()).map(|Opened { value, is_stale }| {
        assert_eq!(value, PLAIN);
        is_stale
    })
}

#[track_caller]
fn check_error<T: std::fmt::Debug>(result: Result<T, String>, expected: &str) {
    let err = result.expect_err("it fails");
    assert!(err.contains(expected) && err.contains("plugin \"vault\""), "{err:?} should contain {expected:?}");
}

/// The value of a metric whose labels contain a text.
fn metric(by: &Encryption, name: &str, label: &str) -> Option<f64> {
    let families = by.metrics();
    let family = families.iter().find(|family| family.name() == name)?;
    let has = |metric: &&prometheus::proto::Metric| {
        let labels = metric.get_label();
        labels.iter().any(|pair| pair.value() == label) || (label.is_empty() && labels.is_empty())
    };
    let metric = family.get_metric().iter().find(has)?;
    Some(match family.get_field_type() {
        MetricType::COUNTER => metric.get_counter().get_value(),
        MetricType::GAUGE => metric.get_gauge().get_value(),
        _ => f64::from(u32::try_from(metric.get_histogram().get_sample_count()).expect("few")),
    })
}

/// A clock that only [`advance`] moves, though others are waited for.
async fn stopped_clock() -> (Env, std::sync::mpsc::Sender<()>) {
    let (held, holding) = std::sync::mpsc::channel::<()>();
    // Tokio's paused clock does not run ahead while there is blocking work.
    tokio::task::spawn_blocking(move || holding.recv());
    tokio::time::pause();
    (Env::simulated(testkit::epoch(), 1), held)
}

#[tokio::test]
async fn values_hold_a_seed_that_is_decrypted_once() {
    let setup = Setup::new(Env::system());
    let writer = setup.load();
    assert!(writer.check(CHECK).await);
    let (first, second) = (sealed(&writer).await, sealed(&writer).await);
    assert!(first.starts_with(b"k8s:enc:kms:v2:vault:") && first != second, "{first:?}");
    assert!(!first.windows(PLAIN.len()).any(|window| window == PLAIN));
    assert_eq!((open(&writer, &first).await, setup.plugin.calls()), (Ok(false), (1, 0)));

    // Another start, another seed; that of the first is asked for once.
    let reader = setup.load();
    assert!(reader.check(CHECK).await);
    for stored in [&first, &second, &first] {
        assert_eq!(open(&reader, stored).await, Ok(false));
    }
    assert_eq!(setup.plugin.calls(), (2, 1));
    let hash = "sha256:6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b";
    let name = |rest: &str| format!("apiserver_envelope_encryption_{rest}");
    assert_eq!(metric(&reader, &name("key_id_hash_total"), hash), Some(3.0));
    assert_eq!(metric(&reader, &name("dek_source_cache_size"), "vault"), Some(2.0));
    assert_eq!(metric(&reader, &name("kms_operations_latency_seconds"), "Decrypt"), Some(1.0));

    let storage = |rest: &str| format!("apiserver_storage_{rest}");
    assert_eq!(metric(&reader, &storage("envelope_transformation_cache_misses_total"), ""), Some(1.0));
    assert_eq!(metric(&reader, &storage("data_key_generation_duration_seconds"), ""), Some(1.0));
    assert_eq!(metric(&reader, &storage("transformation_operations_total"), "k8s:enc:kms:v2:vault:"), Some(3.0));

    let moved = reader.current().open(SECRETS, b"/registry/core/secrets/default/other", first.clone()).await;
    check_error(moved.map_err(|err| err.to_string()), "does not decrypt it");
    assert_eq!(open(&reader, &Bytes::from_static(PLAIN)).await, Ok(true), "what is plain is to be written anew");
    check_error(open(&reader, &first.slice(..40)).await, "damaged");
}

#[tokio::test]
async fn another_key_of_the_plugin_is_noticed_and_old_values_become_stale() {
    let (env, _held) = stopped_clock().await;
    let setup = Setup::new(env);
    let by = setup.load();
    let old = sealed(&by).await;
    setup.plugin.say(|said| said.key_id = "2".to_owned());
    assert!(by.check(CHECK).await);
    assert_eq!(open(&by, &old).await, Ok(false), "what it said a moment ago is believed");
    advance(LATER).await;
    assert!(by.check(CHECK).await);
    assert_eq!(open(&by, &old).await, Ok(true));
    let new = sealed(&by).await;
    assert_eq!((open(&by, &new).await, setup.plugin.calls()), (Ok(false), (2, 0)));

    // Status is ahead of Encrypt: the seed in use writes on, and the check says why.
    setup.plugin.say(|said| (said.key_id, said.encrypts_with) = ("3".to_owned(), Some("2".to_owned())));
    advance(LATER).await;
    assert!(!by.check(CHECK).await);
    assert_eq!(open(&by, &sealed(&by).await).await, Ok(false));
}

#[tokio::test]
async fn a_plugin_is_asked_without_anybody_waiting_for_it() {
    let (env, _held) = stopped_clock().await;
    let setup = Setup::new(env);
    setup.configure(&setup.kms(", timeout: 1h"));
    let by = Arc::new(setup.load());
    let old = sealed(&by).await;
    let (trigger, drain) = base::drain();
    let following = tokio::spawn({
        let by = by.clone();
        async move { by.run(drain).await }
    });
    setup.plugin.say(|said| said.key_id = "2".to_owned());
    until(async || {
        let is_stale = open(&by, &old).await == Ok(true);
        advance(Duration::from_secs(1)).await;
        is_stale
    })
    .await;
    trigger.drain();
    following.await.expect("it ends");
}

/// Tries until something is so.
async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    let started = std::time::Instant::now();
    while !is_so().await {
        assert!(started.elapsed() < DEADLINE, "it is never so");
        // What listens and asks has its turns before the clock moves again.
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_plugin_that_is_away_stops_only_what_needs_it() {
    let (env, _held) = stopped_clock().await;
    let mut setup = Setup::new(env);
    let by = setup.load();
    let stored = sealed(&by).await;
    setup.plugin.stop().await;
    advance(LATER).await;
    assert!(!by.check(CHECK).await);
    assert_eq!(open(&by, &sealed(&by).await).await, Ok(false), "the seed writes on for a while");
    advance(Duration::from_secs(180)).await;
    check_error(seal(&by).await, "Status failed: Unavailable");
    assert_eq!(open(&by, &stored).await, Ok(false));
    let unread = setup.load();
    check_error(open(&unread, &stored).await, "Decrypt failed: Unavailable");
    check_error(seal(&unread).await, "Status failed: Unavailable");

    let mut waiting = unread.subscribe();
    setup.plugin.resume();
    advance(LATER).await;
    assert!(unread.check(CHECK).await && by.check(CHECK).await);
    assert_eq!((open(&by, &sealed(&by).await).await, open(&unread, &stored).await), (Ok(false), Ok(false)));
    // Who could not read is told.
    let unread = Arc::new(unread);
    let (trigger, drain) = base::drain();
    let following = tokio::spawn({
        let unread = unread.clone();
        async move { unread.run(drain).await }
    });
    waiting.changed().await.expect("it lives");
    trigger.drain();
    following.await.expect("it ends");
}

#[tokio::test]
async fn a_plugin_that_does_not_answer_is_not_waited_for_long() {
    let setup = Setup::new(Env::system());
    let stored = sealed(&setup.load()).await;
    setup.plugin.say(|said| said.is_stuck = true);
    setup.configure(&setup.kms(", timeout: 20ms"));
    let by = setup.load();
    check_error(open(&by, &stored).await, "Decrypt failed: DeadlineExceeded: it did not answer within 20 ms");
    check_error(seal(&by).await, "Status failed: DeadlineExceeded");
    let calls = metric(&by, "apiserver_envelope_encryption_kms_operations_latency_seconds", "DeadlineExceeded");
    assert_eq!(calls, Some(1.0));
}

#[tokio::test]
async fn what_a_plugin_must_not_say_is_not_believed() {
    async fn check(change: impl FnOnce(&mut Said), expected: &str) {
        let setup = Setup::new(Env::system());
        setup.plugin.say(change);
        let by = setup.load();
        assert_eq!(by.check(CHECK).await, expected.is_empty(), "{expected}");
        match expected {
            "" => drop(sealed(&by).await),
            _ => check_error(seal(&by).await, expected),
        }
    }
    check(|said| said.key_id = "k".repeat(1024), "").await;
    check(|said| said.key_id = "k".repeat(1025), "has 1025 bytes, more than 1024").await;
    check(|said| said.key_id.clear(), "names no key").await;
    check(|said| said.encrypts_with = Some("2".to_owned()), "Encrypt used \"2\"").await;
    check(|said| said.ciphertext = Some(vec![]), "encrypted seed is empty").await;
    check(|said| said.ciphertext = Some(vec![0; 1025]), "encrypted seed has 1025 bytes").await;
    check(|said| drop(said.annotations.insert("panda".to_owned(), vec![1])), "named after a domain").await;
    check(|said| drop(said.annotations.insert("a.b".to_owned(), vec![0; 32 * 1024])), "more than 32768").await;
    check(|said| said.failure = Some(tonic::Code::PermissionDenied), "Status failed: PermissionDenied").await;

    // A plugin that says that it is ill or of another version may still encrypt.
    for change in
        [|said: &mut Said| said.healthz = "tired".to_owned(), |said: &mut Said| said.version = "v3".to_owned()]
    {
        let setup = Setup::new(Env::system());
        setup.plugin.say(change);
        let by = setup.load();
        assert!(!by.check(CHECK).await);
        assert_eq!(open(&by, &sealed(&by).await).await, Ok(false));
    }
}

#[tokio::test]
async fn garbage_is_not_taken_for_values() {
    let setup = Setup::new(Env::system());
    let stored = sealed(&setup.load()).await;
    let decrypts_to = async |plaintext: Vec<u8>, expected: &str| {
        setup.plugin.say(|said| said.plaintext = Some(plaintext));
        check_error(open(&setup.load(), &stored).await, expected);
    };
    decrypts_to(vec![1; 32], "does not decrypt it").await;
    decrypts_to(vec![1; 31], "has 31 bytes and is no seed").await;
    setup.plugin.say(|said| said.plaintext = None);
    setup.plugin.say(|said| said.annotations.clear());
    check_error(open(&setup.load(), &stored).await, "InvalidArgument: these are not the annotations");

    // What listens speaks something else.
    let dir = tempfile::tempdir().expect("a directory");
    let listener = tokio::net::UnixListener::bind(dir.path().join("kms.sock")).expect("a socket");
    let talking = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let other =
        format!("{{kms: {{apiVersion: v2, name: vault, endpoint: 'unix://{}/kms.sock'}}}}", dir.path().display());
    setup.configure(&other);
    check_error(open(&setup.load(), &stored).await, "Decrypt failed");
    talking.abort();
}

#[tokio::test]
async fn a_configuration_is_taken_once_its_plugin_is_there() {
    let (env, _held) = stopped_clock().await;
    let mut setup = Setup::new(env);
    let secret = "{secretbox: {keys: [{name: k, secret: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}]}}";
    setup.configure(secret);
    let by = Arc::new(setup.load());
    let (trigger, drain) = base::drain();
    let following = tokio::spawn({
        let by = by.clone();
        async move { by.run(drain).await }
    });
    setup.plugin.stop().await;
    setup.configure(&setup.kms(", timeout: 1h"));
    let reloads = "apiserver_encryption_config_controller_automatic_reloads_total";
    until(async || metric(&by, reloads, "failure").is_some_and(|failures| failures >= 1.0)).await;
    assert!(sealed(&by).await.starts_with(b"k8s:enc:secretbox:v1:k:"));
    setup.plugin.resume();
    until(async || {
        let is_taken = metric(&by, reloads, "success") == Some(1.0);
        advance(Duration::from_secs(1)).await;
        is_taken
    })
    .await;
    assert!(sealed(&by).await.starts_with(b"k8s:enc:kms:v2:vault:"));
    trigger.drain();
    following.await.expect("it ends");
}
