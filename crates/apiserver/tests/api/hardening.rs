//! What is safe without being asked for: TLS, headers of answers, files, logs.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tracing_subscriber::filter::LevelFilter;

use crate::credentials::{get, token, who};
use crate::support::{Cluster, DEADLINE};

/// The elliptic curves x25519 and P-256, their uncompressed points, and signatures by ECDSA and RSA over SHA-256.
const EXTENSIONS: &[u8] = &[0, 10, 0, 6, 0, 4, 0, 29, 0, 23, 0, 11, 0, 2, 1, 0, 0, 13, 0, 8, 0, 6, 4, 3, 8, 4, 4, 1];

/// The record and the byte behind it with which the server answers a client that speaks no more than a version of TLS
/// and one cipher suite.
async fn greet(cluster: &Cluster, version: [u8; 2], suite: [u8; 2]) -> Vec<u8> {
    let length = |bytes: &[u8]| u8::try_from(bytes.len()).expect("it is short");
    let body = [&version[..], &[7; 32], &[0, 0, 2], &suite, &[1, 0, 0, length(EXTENSIONS)], EXTENSIONS].concat();
    let handshake = [&[1, 0, 0, length(&body)], &body[..]].concat();
    let hello = [&[22, 3, 1, 0, length(&handshake)], &handshake[..]].concat();
    let mut connection = TcpStream::connect(cluster.address()).await.expect("it listens");
    connection.write_all(&hello).await.expect("it is open");
    let mut answer = vec![0; 7];
    tokio::time::timeout(DEADLINE, connection.read_exact(&mut answer)).await.expect("in time").expect("an answer");
    answer
}

/// The record of a fatal alert.
fn alert(description: u8) -> Vec<u8> {
    vec![21, 3, 3, 0, 2, 2, description]
}

#[tokio::test]
async fn old_tls_and_weak_suites_are_refused() {
    const PROTOCOL_VERSION: u8 = 70;
    const HANDSHAKE_FAILURE: u8 = 40;
    let cluster = Cluster::start().await;
    // ECDHE-ECDSA-AES128-GCM-SHA256, or the same by RSA, is good.
    let (ecdsa, rsa) = (greet(&cluster, [3, 3], [0xc0, 0x2b]).await, greet(&cluster, [3, 3], [0xc0, 0x2f]).await);
    assert!([ecdsa, rsa].iter().any(|answer| answer.starts_with(&[22, 3, 3])));
    // What old versions had as well, ECDHE-ECDSA-AES128-SHA and the same by RSA.
    for suite in [[0xc0, 0x09], [0xc0, 0x13]] {
        for version in [[3, 0], [3, 1], [3, 2]] {
            assert_eq!(greet(&cluster, version, suite).await, alert(PROTOCOL_VERSION), "{version:?}");
        }
    }
    // RSA-AES128-SHA, RSA-3DES-SHA, RSA-RC4-SHA, RSA-NULL-SHA, ECDHE-ECDSA-AES128-SHA, ECDHE-RSA-AES128-SHA,
    // DHE-RSA-AES128-GCM-SHA256.
    for suite in [[0, 0x2f], [0, 0x0a], [0, 5], [0, 2], [0xc0, 0x09], [0xc0, 0x13], [0, 0x9e]] {
        assert_eq!(greet(&cluster, [3, 3], suite).await, alert(HANDSHAKE_FAILURE), "{suite:02x?}");
    }
}

#[tokio::test]
async fn answers_are_for_nobody_else_and_what_they_say_they_are() {
    let cluster = Cluster::start().await;
    let jane = cluster.as_user("jane", &[]);
    for (client, path, status, cached, sniffed) in [
        (&*cluster, "/api/v1/namespaces/default", 200, "no-cache, private", None),
        (&cluster, "/api/v1/namespaces/nowhere", 404, "no-cache, private", None),
        (&jane, "/api/v1/namespaces/default", 403, "no-cache, private", Some("nosniff")),
        (&jane, "/<script>", 403, "no-cache, private", Some("nosniff")),
        (&cluster, "/<script>", 404, "no-cache, private", Some("nosniff")),
        (&cluster, "/healthz", 200, "no-cache, private", Some("nosniff")),
    ] {
        let answer = client.fetch(&path.replace('<', "%3C").replace('>', "%3E"), &[]).await;
        let header = |name: &str| answer.headers().get(name).map(|value| value.to_str().expect("text"));
        assert_eq!(answer.status(), status, "{path}");
        assert_eq!((header("cache-control"), header("x-content-type-options")), (Some(cached), sniffed), "{path}");
        assert_eq!(header("strict-transport-security"), None, "{path}");
    }
}

#[tokio::test]
async fn nobody_looks_into_the_process() {
    let cluster = Cluster::start().await;
    for path in ["/debug/pprof", "/debug/pprof/heap", "/debug/pprof/profile?seconds=1", "/debug/flags/v", "/configz"] {
        assert_eq!(cluster.fetch(path, &[]).await.status(), 404, "{path}");
    }
}

#[tokio::test]
async fn keys_are_for_their_owner_alone() {
    let cluster = Cluster::start().await;
    let mut keys = 0;
    for entry in std::fs::read_dir(cluster.dir()).expect("it is there") {
        let path = entry.expect("it can be read").path();
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        if text.contains("PRIVATE KEY") {
            let mode = std::fs::metadata(&path).expect("it is there").permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{}", path.display());
            keys += 1;
        }
    }
    assert!(keys >= 4, "the authorities' keys, the server's and that of tokens: {keys}");
}

/// Where a test's log lines go.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("nothing panicked").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn secrets_are_in_no_log() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_max_level(LevelFilter::DEBUG).with_writer(move || writer.clone());
    // With one subscriber, the first thread that comes to a line decides whether it is written, and other tests' threads
    // have none. With two it is all subscribers that decide.
    let _second = tracing::Dispatch::new(tracing_subscriber::fmt().with_max_level(LevelFilter::DEBUG).finish());
    // All tasks of this test run in this thread.
    let guard = tracing::subscriber::set_default(subscriber.finish());
    let cluster = Cluster::start().await;
    cluster.post("/api/v1/namespaces/default/serviceaccounts", json!({"metadata": {"name": "a"}})).await.expect(201);
    let token = token(&cluster, "default", "a", json!({})).await;
    let path = "/api/v1/namespaces/default/secrets";
    let secret = json!({"metadata": {"name": "s"}, "stringData": {"key": "hunter2-in-a-secret"}});
    cluster.post(path, secret).await.expect(201);
    // What is refused on its way is not told either.
    let broken = Bytes::from_static(br#"{"metadata":{"name":"t"},"stringData":{"key":"hunter2-in-a-secret""#);
    assert_eq!(cluster.request("POST", path, &[("content-type", "application/json")], broken).await.status(), 400);
    let wrong = json!({"metadata": {"name": "?"}, "stringData": {"key": "hunter2-in-a-secret"}});
    cluster.post(path, wrong).await.expect(422);
    for credentials in [token.as_str(), "hunter2-as-a-token", "hunter.2-as-a.token"] {
        let header = format!("authorization: Bearer {credentials}\r\n");
        cluster.raw(cluster.connect_anonymous().await, &who(&header)).await;
        let review = json!({"spec": {"token": credentials}});
        cluster.post("/apis/authentication.k8s.io/v1/tokenreviews", review).await.expect(201);
    }
    let asked = get("/api/v1/namespaces/default/secrets/s", "authorization: Basic aHVudGVyMi1hcy1hLXBhc3N3b3Jk\r\n");
    cluster.raw(cluster.connect("admin", &["system:masters"]).await, &asked).await;
    drop(guard);
    let lines = lines.0.lock().expect("nothing panicked");
    let lines = String::from_utf8_lossy(&lines);
    assert!(lines.contains("API server is serving") && lines.contains("credentials refused"), "{lines}");
    for secret in [token.as_str(), "hunter", "aHVudGVy", "BEGIN"] {
        let line = lines.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret}");
    }
}
