//! What clients can make the server hold. Each test runs in a process of its own, whose memory it measures: server and
//! clients together.

use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::credentials::get;
use crate::http2::{self, Frame};
use crate::metrics::{metric, until};
use crate::support::{Cluster, DEADLINE};

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

/// A line of what the kernel says of this process, in bytes.
fn memory(field: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("this is Linux");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("a field");
    let kilobytes: usize = line.trim_matches(|char: char| !char.is_ascii_digit()).parse().expect("a number");
    kilobytes * 1024
}

/// How much memory there is, and that its highest value is counted from now on.
struct Growth(usize);

impl Growth {
    fn begin() -> Self {
        std::fs::write("/proc/self/clear_refs", "5").expect("one's own peak may be forgotten");
        Self(memory("VmRSS:"))
    }

    /// Panics if there was ever more than so much.
    #[track_caller]
    fn check(&self, what: &str, most: usize) {
        let grown = memory("VmHWM:").saturating_sub(self.0);
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
        growth.check("idle watches", CONNECTIONS * STREAMS * 40 * 1024);
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
        growth.check("unread watches of HTTP/1.1", 160 * MB);
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
