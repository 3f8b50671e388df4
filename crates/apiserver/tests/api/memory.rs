//! What clients can make the server hold. Each test runs in a process of its own, whose allocations it counts: those of the
//! server and of the clients together.

use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use peak_alloc::PeakAlloc;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::credentials::get;
use crate::http2::{self, Frame};
use crate::metrics::{metric, until};
use crate::support::{Cluster, DEADLINE, Secured};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const MB: usize = 1024 * 1024;

/// Soon enough for a test, and what no client of these tests needs.
const SHORT: Duration = Duration::from_millis(200);

/// Runs a test of this module in a process of its own.
#[track_caller]
fn alone(test: &str, run: impl AsyncFnOnce()) {
    const INSIDE: &str = "SKIFF_TEST_ALONE";
    if std::env::var_os(INSIDE).is_some_and(|inside| inside == test) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        return runtime.expect("a runtime").block_on(run());
    }
    let program = std::env::current_exe().expect("it runs");
    let mut command = Command::new(program);
    command.args([&format!("memory::{test}"), "--exact", "--nocapture"]).env(INSIDE, test);
    let output = command.output().expect("it runs again");
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// How much is allocated, while the most from now on is noted.
struct Growth(usize);

impl Growth {
    fn begin() -> Self {
        MEMORY.reset_peak_usage();
        Self(MEMORY.current_usage())
    }

    /// Panics if there was ever more than so much.
    #[track_caller]
    fn check(&self, what: &str, most: usize) {
        let grown = MEMORY.peak_usage().saturating_sub(self.0);
        println!("memory: {what}: {:.1} MB of {} MB", grown as f64 / MB as f64, most / MB);
        assert!(grown <= most, "{what}: {grown} bytes, of which {most} are allowed");
    }
}

const WATCHES: &str =
    r#"component="apiserver",group="",resource="configmaps",scope="cluster",subresource="",verb="WATCH",version="v1""#;

#[test]
fn thousands_of_idle_watches_cost_little_are_all_told_and_all_end() {
    alone("thousands_of_idle_watches_cost_little_are_all_told_and_all_end", async || {
        const CONNECTIONS: usize = 5;
        const STREAMS: usize = 1000;
        let cluster = Cluster::start().await;
        let growth = Growth::begin();
        let mut senders = Vec::new();
        let mut drivers = base::Tasks::new();
        let mut watches = Vec::new();
        for _ in 0..CONNECTIONS {
            let connection = cluster.connect_http2("admin", &["system:masters"]).await;
            let io = hyper_util::rt::TokioIo::new(connection);
            let executor = hyper_util::rt::TokioExecutor::new();
            let (sender, driver) = hyper::client::conn::http2::handshake::<_, _, Empty<Bytes>>(executor, io)
                .await
                .expect("it speaks HTTP/2");
            drivers.spawn_fallible("a connection", driver);
            let opened = (0..STREAMS).map(|_| {
                let mut sender = sender.clone();
                let uri = "https://localhost/api/v1/configmaps?watch=1&labelSelector=idle";
                let request = http::Request::get(uri).body(Empty::new()).expect("a request");
                async move { sender.send_request(request).await.expect("it is open") }
            });
            watches.extend(futures::future::join_all(opened).await);
            senders.push(sender);
        }
        assert!(watches.iter().all(|watch| watch.status() == 200));
        until(&cluster, "apiserver_longrunning_requests", WATCHES, (CONNECTIONS * STREAMS) as f64).await;
        growth.check("idle watches", CONNECTIONS * STREAMS * 20 * 1024);
        let object = json!({"metadata": {"name": "told", "labels": {"idle": ""}}});
        cluster.post(MAPS, object).await.expect(201);
        for watch in &mut watches {
            let frame = tokio::time::timeout(DEADLINE, watch.body_mut().frame()).await.expect("in time");
            let frame = frame.expect("it goes on").expect("it does not break").into_data().expect("data");
            assert!(frame.starts_with(br#"{"type":"ADDED""#));
        }
        drop((watches, senders, drivers));
        until(&cluster, "apiserver_longrunning_requests", WATCHES, 0.0).await;
    });
}

/// Changes a large object so often.
async fn change(cluster: &Cluster, times: usize) {
    for number in 0..times {
        let large = json!({"metadata": {"name": "large"}, "data": {"text": number.to_string().repeat(250_000)}});
        cluster.put(&format!("{MAPS}/large"), large).await.expect(200);
    }
}

/// Waits until no watch is left.
async fn until_cut(cluster: &Cluster) {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while metric(cluster, "apiserver_longrunning_requests", WATCHES).await != Some(0.0) {
        assert!(tokio::time::Instant::now() < deadline, "they go on");
        tokio::task::yield_now().await;
    }
}

#[test]
fn watches_that_nobody_reads_hold_little_and_are_cut() {
    alone("watches_that_nobody_reads_hold_little_and_are_cut", async || {
        const CLIENTS: usize = 20;
        let cluster = Cluster::start_with(|config| config.connections.stalled = SHORT).await;
        cluster.post(MAPS, json!({"metadata": {"name": "large"}})).await.expect(201);
        // As many changes as the window has stay, read or not.
        change(&cluster, 40).await;
        let growth = Growth::begin();
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            let mut connection = cluster.connect("admin", &["system:masters"]).await;
            connection.write_all(get("/api/v1/configmaps?watch=1", "").as_bytes()).await.expect("it is open");
            clients.push(connection);
        }
        // Those that are cut early are not counted any more.
        change(&cluster, 60).await;
        until_cut(&cluster).await;
        growth.check("unread watches of HTTP/1.1", 128 * MB);
        drop(clients);
    });
}

#[test]
fn streams_whose_window_stays_closed_hold_little_and_are_cut() {
    alone("streams_whose_window_stays_closed_hold_little_and_are_cut", async || {
        const STREAMS: u32 = 50;
        let cluster = Cluster::start_with(|config| config.connections.stalled = SHORT).await;
        cluster.post(MAPS, json!({"metadata": {"name": "large"}})).await.expect(201);
        change(&cluster, 40).await;
        let growth = Growth::begin();
        let mut connection = http2::connect(&cluster).await;
        // Setting 4 is how much may be sent on a stream before its client asks for more.
        http2::settings(&mut connection, &[(4, 0)]).await;
        for stream in 0..STREAMS {
            http2::open(&mut connection, 2 * stream + 1, "/api/v1/configmaps?watch=1").await;
        }
        change(&cluster, 60).await;
        until_cut(&cluster).await;
        growth.check("streams with closed windows", 160 * MB);
        // The connection itself goes on, and whoever opens a window too late finds that the stream was cut.
        http2::window(&mut connection, 1, 1000).await;
        http2::open(&mut connection, 2 * STREAMS + 1, "/version").await;
        http2::window(&mut connection, 2 * STREAMS + 1, 100_000).await;
        let (mut is_cut, mut is_answered) = (false, false);
        while !is_cut || !is_answered {
            let Frame { kind, stream, .. } = http2::next(&mut connection).await.expect("it goes on");
            is_cut |= kind == http2::RST_STREAM && stream == 1;
            is_answered |= kind == http2::DATA && stream == 2 * STREAMS + 1;
        }
    });
}

/// A cluster that works at few changes at once, but those of `system:masters`. Jane may make config maps in it.
async fn narrow() -> Cluster {
    const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    let cluster = Cluster::start_with(|config| {
        config.priority_and_fairness = false;
        config.max_mutating_requests_in_flight = AT_ONCE as u32;
    })
    .await;
    let rules = json!([{"verbs": ["create"], "apiGroups": [""], "resources": ["configmaps"]}]);
    cluster.post(&format!("{RBAC}/roles"), json!({"metadata": {"name": "maps"}, "rules": rules})).await.expect(201);
    let binding = json!({
        "metadata": {"name": "maps"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "maps"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane"}],
    });
    cluster.post(&format!("{RBAC}/rolebindings"), binding).await.expect(201);
    cluster
}

/// So many connections of Jane's.
async fn connect(cluster: &Cluster) -> Vec<Secured> {
    let mut connections = Vec::new();
    for _ in 0..CLIENTS {
        connections.push(cluster.connect("jane", &[]).await);
    }
    connections
}

const AT_ONCE: usize = 4;
const CLIENTS: usize = 24;
/// The largest body that is read.
const LARGEST: usize = 3 * MB;

/// A head for a body of a length.
fn head(path: &str, length: usize) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    )
}

/// Sends as much as is taken; the answer's status, or nothing where there is none.
async fn send(mut connection: Secured, head: String, body: &[u8]) -> Option<u16> {
    let exchange = async {
        // Who is refused early may not hear all of it.
        let _ = connection.write_all(head.as_bytes()).await;
        let _ = connection.write_all(body).await;
        let mut answer = [0; 12];
        connection.read_exact(&mut answer).await.ok()?;
        std::str::from_utf8(&answer[9..12]).ok()?.parse().ok()
    };
    tokio::time::timeout(DEADLINE, exchange).await.expect("in time")
}

#[test]
fn large_bodies_of_many_clients_are_read_a_few_at_a_time() {
    alone("large_bodies_of_many_clients_are_read_a_few_at_a_time", async || {
        let cluster = narrow().await;
        let mut body = br#"{"metadata":{"name":"large"},"data":{"text":""#.to_vec();
        body.resize(LARGEST - 3, b'x');
        body.extend_from_slice(br#""}}"#);
        let connections = connect(&cluster).await;
        let growth = Growth::begin();
        let sent = connections.into_iter().map(|connection| send(connection, head(MAPS, body.len()), &body));
        let answers = futures::future::join_all(sent).await;
        assert!(answers.iter().flatten().all(|status| [413, 422, 429].contains(status)), "{answers:?}");
        growth.check("large bodies", AT_ONCE * LARGEST * 6 + CLIENTS * MB / 2);
        cluster.get(MAPS).await.expect(200);
    });
}

#[test]
fn bodies_that_do_not_come_to_their_end_are_held_a_few_at_a_time() {
    alone("bodies_that_do_not_come_to_their_end_are_held_a_few_at_a_time", async || {
        let cluster = narrow().await;
        let connections = connect(&cluster).await;
        let half = vec![b' '; LARGEST / 2];
        let growth = Growth::begin();
        let path = format!("{MAPS}?timeout=2s");
        let sent = connections.into_iter().map(|connection| send(connection, head(&path, LARGEST), &half));
        let answers = futures::future::join_all(sent).await;
        assert!(answers.iter().flatten().all(|status| [429, 504].contains(status)), "{answers:?}");
        assert!(answers.contains(&Some(504)), "{answers:?}");
        growth.check("halves of bodies", AT_ONCE * LARGEST * 2 + CLIENTS * MB / 2);
    });
}

#[test]
fn heads_that_come_slowly_hold_little() {
    alone("heads_that_come_slowly_hold_little", async || {
        const CLIENTS: usize = 500;
        let cluster = Cluster::start_with(|config| config.connections.connections = 2 * CLIENTS).await;
        let growth = Growth::begin();
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            let mut connection = cluster.connect_anonymous().await;
            connection.write_all(b"GET /version HTTP/1.1\r\nhost: x\r\nx-slow: ").await.expect("it is open");
            clients.push(connection);
        }
        for connection in &mut clients {
            connection.write_all(&[b'x'; 1000]).await.expect("it is open");
        }
        cluster.raw(cluster.connect_anonymous().await, &get("/version", "")).await.expect(200);
        growth.check("slow clients", CLIENTS * 200 * 1024);
    });
}

#[test]
fn documents_grow_no_further_than_a_bound_when_they_are_read() {
    alone("documents_grow_no_further_than_a_bound_when_they_are_read", async || {
        let cluster = Cluster::start().await;
        let whole = |start: &str, filling: &str, end: &str| {
            let times = (LARGEST - start.len() - end.len()) / filling.len();
            [start, &filling.repeat(times), end].concat()
        };
        let fields: Vec<String> = (0..200_000).map(|number| format!(r#""f{number}":1"#)).collect();
        let fields = format!(r#"{{"metadata":{{"name":"a"}},{}}}"#, fields.join(","));
        let keys: Vec<String> = (0..200_000).map(|number| format!(r#""k{number}":"""#)).collect();
        let keys = format!(r#"{{"metadata":{{"name":"b"}},"data":{{{}}}}}"#, keys.join(","));
        let level =
            |depth: usize| format!("a{depth}: &a{depth} [{}]\n", vec![format!("*a{}", depth - 1); 9].join(", "));
        let laughs: String = (1..=9).map(level).collect();
        let (json, yaml) = ("application/json", "application/yaml");
        let strict = "?fieldValidation=Strict";
        for (what, query, form, body, expected, most) in [
            ("arrays in arrays", "", json, whole("", "[", ""), 400, 16),
            ("objects in objects", "", json, whole("", r#"{"a":"#, ""), 400, 16),
            ("small values", "", json, whole(r#"{"metadata":{"name":"c"},"x":["#, "0,", "0]}"), 201, 16),
            ("unknown fields", "", json, fields.clone(), 201, 16),
            ("unknown fields, strictly", strict, json, fields, 400, 16),
            // It is more than the datastore takes.
            ("keys of a map", "", json, keys, 500, 256),
            ("one key again and again", strict, json, whole(r#"{"data":{"#, r#""k":"","#, r#""k":""}}"#), 400, 16),
            ("flow in flow", "", yaml, whole("a: ", "[", ""), 400, 16),
            ("aliases of aliases", "", yaml, format!("metadata: {{name: d}}\na0: &a0 lol\n{laughs}"), 400, 128),
            ("numbers in YAML", "", yaml, whole("metadata: {name: e}\nx:\n", "- 0\n", ""), 400, 64),
        ] {
            let growth = Growth::begin();
            let path = format!("{MAPS}{query}");
            let (status, _, answer) = cluster.exchange("POST", &path, &[("content-type", form)], body).await;
            let start = String::from_utf8_lossy(&answer[..answer.len().min(300)]).into_owned();
            assert_eq!(status, expected, "{what}: {start}");
            growth.check(what, most * MB);
        }
    });
}
