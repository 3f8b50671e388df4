//! Clients that do harm by what they do not do: they send half of something, or read nothing, or hold connections.

use std::time::Duration;

use http_body_util::BodyExt;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::credentials::get;
use crate::metrics::until;
use crate::support::{Cluster, DEADLINE};

/// Soon enough for a test, and what no client of these tests needs.
const SHORT: Duration = Duration::from_millis(200);

/// Everything until the server ends the connection.
async fn rest(mut connection: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut all = Vec::new();
    // A connection that is reset has ended too.
    let _ = tokio::time::timeout(DEADLINE, connection.read_to_end(&mut all)).await.expect("the server ends it");
    all
}

#[tokio::test]
async fn a_handshake_that_does_not_go_on_is_ended() {
    let cluster = Cluster::start_with(|config| config.connections.handshake = SHORT).await;
    // Nothing, the head of a record, half of a hello.
    for sent in [&b""[..], &[22, 3, 1], &[22, 3, 1, 0, 100, 1, 0, 0, 96, 3, 3]] {
        let mut connection = TcpStream::connect(cluster.address()).await.expect("it listens");
        connection.write_all(sent).await.expect("it is open");
        let answer = rest(connection).await;
        assert!(answer.is_empty(), "{sent:?}: {answer:?}");
    }
}

#[tokio::test]
async fn a_request_that_does_not_begin_is_not_waited_for() {
    let cluster = Cluster::start_with(|config| config.connections.head = SHORT).await;
    for sent in ["", "GET", "GET /version HTTP/1.1\r\nhost: x\r\nx-slow: "] {
        let mut connection = cluster.connect_anonymous().await;
        // It may have ended already, on a slow machine.
        let _ = connection.write_all(sent.as_bytes()).await;
        let answer = rest(connection).await;
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 408"), "{sent:?}: {answer:?}");
    }
    for sent in ["", "PRI * HTTP/2.0\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut connection = cluster.connect_http2("jane", &[]).await;
        // It may have ended already, on a slow machine.
        let _ = connection.write_all(sent.as_bytes()).await;
        rest(connection).await;
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let cluster = Cluster::start().await;
    let path = "/api/v1/namespaces/default/configmaps";
    let head = format!(
        "POST {path}?timeout=100ms HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n"
    );
    let admin = cluster.connect("admin", &["system:masters"]).await;
    cluster.raw(admin, &format!(r#"{head}{{"metadata":{{"#)).await.expect(504);
}

#[tokio::test]
async fn a_body_that_breaks_off_changes_nothing() {
    let cluster = Cluster::start().await;
    let path = "/api/v1/namespaces/default/configmaps";
    let object = r#"{"metadata":{"name":"a"}}"#;
    for framing in [format!("content-length: {}", object.len() + 1), "transfer-encoding: chunked".to_owned()] {
        let chunk =
            if framing.starts_with('t') { format!("{:x}\r\n{object}\r\n", object.len()) } else { object.to_owned() };
        let mut admin = cluster.connect("admin", &["system:masters"]).await;
        let request =
            format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{framing}\r\n\r\n{chunk}");
        admin.write_all(request.as_bytes()).await.expect("it is open");
        admin.shutdown().await.expect("it is open");
        let answer = rest(admin).await;
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 400"), "{}", String::from_utf8_lossy(&answer));
    }
    let list = cluster.get(path).await.expect(200);
    assert!(list["items"].as_array().expect("items").iter().all(|item| item["metadata"]["name"] != "a"));
}

#[tokio::test]
async fn a_watch_that_nobody_reads_is_ended() {
    let cluster = Cluster::start_with(|config| config.connections.stalled = SHORT).await;
    let mut connection = cluster.connect("admin", &["system:masters"]).await;
    connection.write_all(get("/api/v1/configmaps?watch=1", "").as_bytes()).await.expect("it is open");
    let open = r#"component="apiserver",group="",resource="configmaps",scope="cluster",subresource="",verb="WATCH",version="v1""#;
    until(&cluster, "apiserver_longrunning_requests", open, 1.0).await;
    let path = "/api/v1/namespaces/default/configmaps";
    cluster.post(path, json!({"metadata": {"name": "large"}})).await.expect(201);
    let deadline = tokio::time::Instant::now() + DEADLINE;
    // The system takes some megabytes for the client.
    let mut change = 0;
    while crate::metrics::metric(&cluster, "apiserver_longrunning_requests", open).await != Some(0.0) {
        assert!(tokio::time::Instant::now() < deadline, "it goes on after {change} changes");
        if change < 30 {
            let large = json!({"metadata": {"name": "large"}, "data": {"text": change.to_string().repeat(500_000)}});
            cluster.put(&format!("{path}/large"), large).await.expect(200);
            change += 1;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn nobody_keeps_others_out_with_connections() {
    let cluster = Cluster::start_with(|config| config.connections.connections = 6).await;
    let mut held = Vec::new();
    for _ in 0..6 {
        held.push(TcpStream::connect(cluster.address()).await.expect("it listens"));
    }
    // There is no room for more of the same, but for somebody else.
    rest(TcpStream::connect(cluster.address()).await.expect("it listens")).await;
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.2:0".parse().expect("an address")).expect("it is this machine's");
    let other = socket.connect(cluster.address().parse().expect("an address")).await.expect("it listens");
    let other = cluster.secure(other, None, &[]).await.expect("it has its share");
    cluster.raw(other, &get("/version", "")).await.expect(200);
    // The youngest made room, and whoever goes leaves his place to the next.
    rest(held.pop().expect("one was opened")).await;
    drop(held);
    let deadline = tokio::time::Instant::now() + DEADLINE;
    loop {
        let again = TcpStream::connect(cluster.address()).await.expect("it listens");
        if let Ok(again) = cluster.secure(again, None, &[]).await {
            cluster.raw(again, &get("/version", "")).await.expect(200);
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "there is never room");
    }
}

#[tokio::test]
async fn thousands_of_idle_watches_are_all_told_and_all_end() {
    const CONNECTIONS: usize = 2;
    const WATCHES: usize = 1000;
    let cluster = Cluster::start().await;
    let mut senders = Vec::new();
    let mut drivers = base::Tasks::new();
    let mut watches = Vec::new();
    for _ in 0..CONNECTIONS {
        let connection = cluster.connect_http2("admin", &["system:masters"]).await;
        let io = hyper_util::rt::TokioIo::new(connection);
        let executor = hyper_util::rt::TokioExecutor::new();
        let (sender, driver) =
            hyper::client::conn::http2::handshake::<_, _, http_body_util::Empty<bytes::Bytes>>(executor, io)
                .await
                .expect("it speaks HTTP/2");
        drivers.spawn_fallible("a connection", driver);
        let opened = (0..WATCHES).map(|_| {
            let mut sender = sender.clone();
            let uri = "https://localhost/api/v1/namespaces/default/configmaps?watch=1&labelSelector=idle";
            let request = http::Request::get(uri).body(http_body_util::Empty::new()).expect("a request");
            async move { sender.send_request(request).await.expect("it is open") }
        });
        watches.extend(futures::future::join_all(opened).await);
        senders.push(sender);
    }
    assert!(watches.iter().all(|watch| watch.status() == 200));
    let open = r#"component="apiserver",group="",resource="configmaps",scope="namespace",subresource="",verb="WATCH",version="v1""#;
    until(&cluster, "apiserver_longrunning_requests", open, (CONNECTIONS * WATCHES) as f64).await;
    let object = json!({"metadata": {"name": "told", "labels": {"idle": ""}}});
    cluster.post("/api/v1/namespaces/default/configmaps", object).await.expect(201);
    for watch in &mut watches {
        let frame = tokio::time::timeout(DEADLINE, watch.body_mut().frame()).await.expect("in time");
        let frame = frame.expect("it goes on").expect("it does not break").into_data().expect("data");
        assert!(frame.starts_with(br#"{"type":"ADDED""#));
    }
    drop((watches, senders, drivers));
    until(&cluster, "apiserver_longrunning_requests", open, 0.0).await;
}
