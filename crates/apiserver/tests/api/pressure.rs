//! Reads while the cache is being filled, of what has been forgotten, and of what is yet to come.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use serde_json::{Value, json};
use store::{
    CompactError, KeyRange, Memory, RangeError, RangeRequest, RangeResponse, Revision, StatusError, Store, StoreStatus,
    Txn, TxnError, TxnResponse, Watch, WatchError, WatchRequest,
};
use tokio::sync::Semaphore;

use crate::reads::{CONFIG_MAPS, create, names, version};
use crate::support::Cluster;

/// A datastore from which everything is read only as often as it is let, and whose watches may fail.
struct Slow {
    inner: Memory,
    reads: Semaphore,
    breaks: AtomicBool,
}

impl Slow {
    fn new() -> Arc<Self> {
        Arc::new(Self { inner: Memory::new(), reads: Semaphore::new(1), breaks: AtomicBool::new(false) })
    }
}

#[async_trait]
impl Store for Slow {
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, RangeError> {
        if request.range == KeyRange::prefix("/registry/") && request.revision.is_none() {
            self.reads.acquire().await.expect("it is never closed").forget();
        }
        self.inner.range(request).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse, TxnError> {
        self.inner.txn(txn).await
    }

    async fn watch(&self, request: WatchRequest) -> Result<Watch, WatchError> {
        match self.breaks.load(Ordering::SeqCst) {
            true => Err(WatchError::Storage(store::StorageError::Stopped)),
            false => self.inner.watch(request).await,
        }
    }

    async fn compact(&self, revision: Revision) -> Result<(), CompactError> {
        self.inner.compact(revision).await
    }

    async fn status(&self) -> Result<StoreStatus, StatusError> {
        self.inner.status().await
    }
}

async fn start(store: &Arc<Slow>) -> Cluster {
    Cluster::start_on(store.clone(), tempfile::tempdir().expect("a directory"), |_| {}).await
}

/// A read of something, and the failure or the names that it is answered with.
async fn check(cluster: &Cluster, path: &str, status: u16, reason: &str, retry: Option<u32>) -> Value {
    let answer = cluster.fetch(path, &[]).await;
    let body: Value = serde_json::from_slice(answer.body()).expect("JSON");
    assert_eq!(
        (answer.status().as_u16(), body["reason"].as_str().unwrap_or_default()),
        (status, reason),
        "{path}: {body}"
    );
    let header = answer.headers().get("retry-after").map(|value| value.to_str().expect("text").to_owned());
    assert_eq!(header, retry.map(|seconds| seconds.to_string()), "{path}");
    assert_eq!(body["details"]["retryAfterSeconds"].as_u64(), retry.map(u64::from), "{path}: {body}");
    body
}

const BOXES: &str = "/apis/example.com/v1/namespaces/default/boxes";

async fn define_boxes(cluster: &Cluster) {
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let definition = json!({
        "metadata": {"name": "boxes.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "boxes", "kind": "Box"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
        },
    });
    cluster.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition).await.expect(201);
    cluster.until_status(BOXES, 200).await;
    let one = json!({"apiVersion": "example.com/v1", "kind": "Box", "metadata": {"name": "one"}});
    cluster.post(BOXES, one).await.expect(201);
}

#[tokio::test]
async fn reads_of_a_cache_that_is_being_filled_go_to_the_datastore_or_come_back() {
    let store = Slow::new();
    let cluster = start(&store).await;
    let first = create(&cluster, "a").await;
    create(&cluster, "b").await;
    let last = create(&cluster, "c").await;
    define_boxes(&cluster).await;
    let cluster = cluster.restart().await;

    // One object, a page, and what was, are read from the datastore.
    let page = async {
        let page = check(&cluster, &format!("{CONFIG_MAPS}?limit=2"), 200, "", None).await;
        assert_eq!((names(&page), &page["metadata"]["remainingItemCount"]), (vec!["a", "b"], &json!(1)));
        let token = page["metadata"]["continue"].as_str().expect("a token");
        let rest = check(&cluster, &format!("{CONFIG_MAPS}?limit=2&continue={token}"), 200, "", None).await;
        assert_eq!((names(&rest), version(&rest)), (vec!["c"], version(&page)));
    };
    let then = async {
        let query = format!("resourceVersion={first}&resourceVersionMatch=Exact");
        let then = check(&cluster, &format!("{CONFIG_MAPS}?{query}"), 200, "", None).await;
        assert_eq!((names(&then), version(&then)), (vec!["a"], first));
    };
    let object = async {
        let read = check(&cluster, &format!("{CONFIG_MAPS}/c?resourceVersion={last}"), 200, "", None).await;
        assert_eq!(version(&read), last);
        check(&cluster, &format!("{CONFIG_MAPS}/d"), 404, "NotFound", None).await;
        let late = format!("{CONFIG_MAPS}/c?resourceVersion={}", last + 9999);
        let late = check(&cluster, &late, 504, "Timeout", Some(1)).await;
        assert_eq!(late["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
    };
    tokio::join!(page, then, object);

    // Whatever needs the whole of it comes back later.
    let queries = ["", "resourceVersion=0", "limit=2&labelSelector=a", "watch=1", "watch=1&resourceVersion=1"];
    let paths = queries.map(|query| format!("{CONFIG_MAPS}?{query}"));
    let refused = paths.iter().map(|path| check(&cluster, path, 429, "TooManyRequests", Some(1)));
    for refused in futures::future::join_all(refused).await {
        assert_eq!(refused["message"], "storage is (re)initializing");
    }
    // Nobody knows yet whether there is such a thing.
    let paths = [BOXES, "/apis/example.com", "/apis/example.com/v1"];
    futures::future::join_all(paths.map(|path| check(&cluster, path, 503, "ServiceUnavailable", Some(5)))).await;

    store.reads.add_permits(1);
    cluster.until_status(CONFIG_MAPS, 200).await;
    assert_eq!(names(&check(&cluster, BOXES, 200, "", None).await), ["one"]);
}

#[tokio::test]
async fn reads_of_a_cache_that_has_lost_the_datastore_do_not_show_what_was() {
    let store = Slow::new();
    let cluster = start(&store).await;
    let first = create(&cluster, "a").await;
    store.breaks.store(true, Ordering::SeqCst);
    store.reads.add_permits(1);
    let cluster = cluster.restart().await;
    // It was filled once, and has lost the datastore since.
    cluster.until_status(&format!("{CONFIG_MAPS}?resourceVersion=0"), 429).await;
    let second = create(&cluster, "b").await;
    for query in ["", "?resourceVersion=0"] {
        let read = check(&cluster, &format!("{CONFIG_MAPS}/b{query}"), 200, "", None).await;
        assert_eq!(version(&read), second);
    }
    store.breaks.store(false, Ordering::SeqCst);
    store.reads.add_permits(1);
    cluster.until_status(CONFIG_MAPS, 200).await;
    assert_eq!(names(&check(&cluster, CONFIG_MAPS, 200, "", None).await), ["a", "b"]);
    // What happened meanwhile, no watch can tell.
    let expired = check_watch(&cluster, &format!("watch=1&resourceVersion={first}"), 410, "Expired").await;
    assert!(expired.starts_with(&format!("too old resource version: {first} (")), "{expired}");
}

/// What the only event of a watch says.
async fn check_watch(cluster: &Cluster, query: &str, code: u16, reason: &str) -> String {
    let answer = cluster.fetch(&format!("{CONFIG_MAPS}?{query}"), &[]).await;
    assert_eq!(answer.status(), 200, "{query}");
    let event: Value = serde_json::from_slice(answer.body()).expect("one event");
    let status = &event["object"];
    let said = (event["type"].as_str(), status["code"].as_u64(), status["reason"].as_str());
    assert_eq!(said, (Some("ERROR"), Some(code.into()), Some(reason)), "{query}");
    status["message"].as_str().expect("a message").to_owned()
}

#[tokio::test]
async fn what_was_forgotten_is_said_to_be_and_pages_go_on_without_it() {
    let cluster = Cluster::start().await;
    let old = create(&cluster, "a").await;
    create(&cluster, "c").await;
    let first = check(&cluster, &format!("{CONFIG_MAPS}?limit=1"), 200, "", None).await;
    let token = first["metadata"]["continue"].as_str().expect("a token");
    // Other pages push its snapshot out, and the datastore forgets what was.
    for number in 0..70 {
        create(&cluster, &format!("x{number}")).await;
        check(&cluster, &format!("{CONFIG_MAPS}?limit=1"), 200, "", None).await;
    }
    let now = create(&cluster, "b").await;
    cluster.store().compact(now).await.expect("it is there");

    let continued = format!("{CONFIG_MAPS}?limit=2&continue={token}");
    let expired = check(&cluster, &continued, 410, "Expired", None).await;
    let message = expired["message"].as_str().expect("a message");
    assert!(message.starts_with("The provided continue parameter is too old"), "{message}");
    let inconsistent = expired["metadata"]["continue"].as_str().expect("another token");
    let rest = check(&cluster, &format!("{CONFIG_MAPS}?limit=2&continue={inconsistent}"), 200, "", None).await;
    // What has been made since shows, and from here on pages are of one moment again.
    assert_eq!((names(&rest), version(&rest)), (vec!["b", "c"], now));
    let token = rest["metadata"]["continue"].as_str().expect("a token");
    cluster.delete(&format!("{CONFIG_MAPS}/x0")).await.expect(200);
    let next = check(&cluster, &format!("{CONFIG_MAPS}?limit=1&continue={token}"), 200, "", None).await;
    assert_eq!((names(&next), version(&next)), (vec!["x0"], now), "{next}");

    for query in [format!("resourceVersion={old}&resourceVersionMatch=Exact"), format!("resourceVersion={old}&limit=1")]
    {
        let expired = check(&cluster, &format!("{CONFIG_MAPS}?{query}"), 410, "Expired", None).await;
        assert_eq!(expired["message"], "The resourceVersion for the provided list is too old.");
    }
    // The window of events is another memory than the datastore's.
    let mut watch = cluster.watch(&format!("{CONFIG_MAPS}?watch=1&resourceVersion={old}")).await;
    assert_eq!(watch.take(1).await, ["ADDED c"]);
    let expired = check_watch(&cluster, "watch=1&resourceVersion=1", 410, "Expired").await;
    assert!(expired.starts_with("too old resource version: 1 ("), "{expired}");
}

#[tokio::test]
async fn what_is_yet_to_come_is_too_large() {
    let cluster = Cluster::start().await;
    let future = create(&cluster, "a").await + 9999;
    let reads = [
        format!("{CONFIG_MAPS}/a?resourceVersion={future}"),
        format!("{CONFIG_MAPS}?resourceVersion={future}"),
        format!("{CONFIG_MAPS}?resourceVersion={future}&resourceVersionMatch=Exact"),
        format!("{CONFIG_MAPS}?resourceVersion={future}&limit=1"),
    ];
    let reads = reads.iter().map(|path| check(&cluster, path, 504, "Timeout", Some(1)));
    let query = format!("watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion={future}");
    let (answers, said) = tokio::join!(futures::future::join_all(reads), check_watch(&cluster, &query, 504, "Timeout"));
    for answer in answers {
        let cause = json!({"reason": "ResourceVersionTooLarge", "message": "Too large resource version"});
        assert_eq!(answer["details"]["causes"], json!([cause]));
    }
    assert!(said.starts_with(&format!("Timeout: Too large resource version: {future}, current: ")), "{said}");
}
