//! How much memory the watch cache has for an object: `cargo bench -p skiff-apiserver --bench cache`.
//!
//! A server starts on a datastore in memory, without pods and with many. What is allocated more in the second case is the
//! cache's, beside the encoded objects themselves, which datastore and cache have in common.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::{DrainTrigger, Env, Tasks};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use peak_alloc::PeakAlloc;
use serde_json::{Value, json};
use skiff_apiserver::{ApiServer, Config, Identity, InProcess};
use store::{KeyValue, Memory, RangeRequest, Store, Txn};
use tower::Service;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const PODS: usize = 20_000;
/// How long a text each carries so that it has about 2 KB.
const FILLING: usize = 36;

const DEADLINE: Duration = Duration::from_secs(300);

const DEFAULT: &str = "/api/v1/namespaces/default";

/// A running server.
struct Running {
    service: InProcess,
    tasks: Tasks,
    trigger: DrainTrigger,
}

impl Running {
    async fn start(dir: &Path, store: &Arc<Memory>) -> Self {
        let mut config = Config::new(dir);
        config.bind_address = [127, 0, 0, 1].into();
        config.secure_port = 0;
        let server = ApiServer::build(config, store.clone(), Env::system()).expect("a server");
        let service = server.service(Identity::admin());
        let (trigger, drain) = base::drain();
        let mut tasks = Tasks::new();
        tasks.spawn_fallible("API server", server.run(drain));
        let running = Self { service, tasks, trigger };
        running.ready().await;
        running
    }

    async fn call(&self, method: &str, path: &str, body: &Value) -> (bool, Value) {
        let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        let request = request.body(Full::new(Bytes::from(body.to_string()))).expect("a request");
        let answer = self.service.clone().call(request).await.unwrap_or_else(|never| match never {});
        let is_done = answer.status().is_success();
        let body = answer.into_body().collect().await.expect("a body").to_bytes();
        (is_done, serde_json::from_slice(&body).unwrap_or_default())
    }

    /// Waits until it has loaded everything: a list by labels is never read from the datastore.
    async fn ready(&self) {
        let began = Instant::now();
        for path in ["/readyz", DEFAULT, "/api/v1/pods?labelSelector=none"] {
            while !self.call("GET", path, &Value::Null).await.0 {
                assert!(began.elapsed() < DEADLINE, "{path} is never answered");
                tokio::task::yield_now().await;
            }
        }
    }

    async fn stop(self) {
        self.trigger.drain();
        self.tasks.shutdown(DEADLINE).await;
    }
}

/// What a server has allocated that has just loaded everything.
async fn loaded(dir: &Path, store: &Arc<Memory>) -> usize {
    let before = MEMORY.current_usage();
    let running = Running::start(dir, store).await;
    let grown = MEMORY.current_usage().saturating_sub(before);
    running.stop().await;
    grown
}

/// A pod as a server stores it.
async fn stored(dir: &Path, store: &Arc<Memory>) -> KeyValue {
    let running = Running::start(dir, store).await;
    running.call("POST", &format!("{DEFAULT}/serviceaccounts"), &json!({"metadata": {"name": "default"}})).await;
    let pod = json!({
        "metadata": {
            "name": "pod-00000", "labels": {"app": "app-1"}, "annotations": {"example.com/filling": "x".repeat(FILLING)},
        },
        "spec": {
            "nodeName": "node-1", "serviceAccountName": "default", "automountServiceAccountToken": false,
            "containers": [{"name": "main", "image": "example.com/app:1", "ports": [{"containerPort": 80}]}],
        },
    });
    let (is_made, made) = running.call("POST", &format!("{DEFAULT}/pods"), &pod).await;
    assert!(is_made, "{made}");
    running.stop().await;
    let found = store.range(RangeRequest::prefix("/registry/core/pods/")).await.expect("it reads");
    found.kvs.into_iter().next().expect("it is stored")
}

/// The pod under another name.
fn named(pod: &KeyValue, number: usize) -> (String, String) {
    let name = format!("pod-{number:05}");
    let replaced = |bytes: &[u8]| std::str::from_utf8(bytes).expect("JSON").replace("pod-00000", &name);
    (replaced(&pod.key), replaced(&pod.value))
}

async fn put(store: &Memory, pod: &KeyValue, number: usize) {
    let (key, value) = named(pod, number);
    store.txn(Txn::put(key, value)).await.expect("it writes");
}

#[tokio::main]
async fn main() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Arc::new(Memory::new());
    let pod = stored(dir.path(), &store).await;
    // What is made once for all servers of a process is there from now on.
    loaded(dir.path(), &store).await;
    let empty = loaded(dir.path(), &store).await;
    for number in 1..PODS {
        put(&store, &pod, number).await;
    }
    let full = loaded(dir.path(), &store).await;
    let encoded = pod.value.len() as f64;
    let object = encoded + (full as f64 - empty as f64) / PODS as f64;
    println!("bench: cache.encoded {:.2} kB", encoded / 1e3);
    println!("bench: cache.object {:.2} kB", object / 1e3);
    // At most half as much again, and half a kilobyte.
    println!("bench: cache.object_aim {:.2} kB", (encoded * 1.5 + 500.0) / 1e3);
}
