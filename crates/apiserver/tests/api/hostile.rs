//! Clients that do harm by what they do not do: they send half of something, or read nothing, or hold connections. What
//! they make the server hold is measured in [`crate::memory`].

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::credentials::get;
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
async fn numbers_at_the_end_of_their_range_do_no_harm() {
    const MAPS: &str = "/api/v1/namespaces/default/configmaps";
    let cluster = Cluster::start().await;
    cluster.post("/api/v1/namespaces/default/serviceaccounts", json!({"metadata": {"name": "a"}})).await.expect(201);
    for (query, status) in [
        ("watch=1&timeoutSeconds=9223372036854775807", 200),
        ("watch=1&timeoutSeconds=-9223372036854775808", 200),
        ("watch=1&timeoutSeconds=9223372036854775808", 400),
        ("limit=9223372036854775807", 200),
        ("limit=-9223372036854775808", 200),
        ("limit=9223372036854775808", 400),
        ("timeout=9223372036854775807h", 400),
        ("timeout=2562047h", 200),
    ] {
        let answer = cluster.request("GET", &format!("{MAPS}?{query}"), &[], Bytes::new()).await;
        assert_eq!(answer.status(), status, "{query}");
    }
    let pod = json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n", "serviceAccountName": "a",
        "automountServiceAccountToken": false, "containers": [{"name": "c", "image": "i"}]}});
    let pods = "/api/v1/namespaces/default/pods";
    cluster.post(pods, pod).await.expect(201);
    for seconds in [i64::MAX, i64::MAX - 1, i64::MIN, 0] {
        cluster.delete_with(&format!("{pods}/p"), json!({"gracePeriodSeconds": seconds})).await.expect(200);
    }
    let tokens = "/api/v1/namespaces/default/serviceaccounts/a/token";
    for (seconds, status) in [(i64::MAX, 422), (i64::MIN, 422), (1 << 32, 201)] {
        cluster.post(tokens, json!({"spec": {"expirationSeconds": seconds}})).await.expect(status);
    }
    // What no 64 bits hold is no number of the kind, and what is none is no number at all.
    for (number, status) in [("1e999", 400), ("99999999999999999999", 400), ("-1", 422), ("1e2", 400), ("NaN", 400)] {
        let text = format!(
            r#"{{"metadata":{{"name":"d"}},"spec":{{"replicas":{number},"selector":{{"matchLabels":{{"a":"b"}}}},"template":
            {{"metadata":{{"labels":{{"a":"b"}}}},"spec":{{"containers":[{{"name":"c","image":"i"}}]}}}}}}}}"#
        );
        let path = "/apis/apps/v1/namespaces/default/deployments";
        let (found, _, answer) = cluster.exchange("POST", path, &[("content-type", "application/json")], text).await;
        assert_eq!(found, status, "{number}: {}", String::from_utf8_lossy(&answer));
    }
}

#[tokio::test]
async fn many_fields_take_no_longer_than_they_are_many() {
    const MAPS: &str = "/api/v1/namespaces/default/configmaps";
    let cluster = Cluster::start().await;
    let json = &[("content-type", "application/json")][..];
    let many = |count: usize, field: &dyn Fn(usize) -> String| {
        let fields: Vec<String> = (0..count).map(field).collect();
        fields.join(",")
    };
    let data = many(4_000, &|number| format!(r#""k{number}":"""#));
    let map = format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"many"}},"data":{{{data}}}}}"#);
    let unknown = many(50_000, &|number| format!(r#""f{number}":1"#));
    let unknown = format!(r#"{{"metadata":{{"name":"unknown"}},{unknown}}}"#);
    let twice =
        format!(r#"{{"metadata":{{"name":"twice"}},"data":{{{}}}}}"#, many(50_000, &|_| r#""k":"""#.to_owned()));
    let operations = many(20_000, &|_| r#"{"op":"test","path":"/kind","value":"ConfigMap"}"#.to_owned());
    let copies = many(9_000, &|number| format!(r#"{{"op":"copy","from":"/data","path":"/data/c{number}"}}"#));
    let owners =
        many(10_000, &|number| format!(r#"{{"apiVersion":"v1","kind":"Pod","name":"p{number}","uid":"u{number}"}}"#));
    let owners = format!(r#"{{"metadata":{{"ownerReferences":[{owners}]}}}}"#);
    let path = format!("{MAPS}/many");
    let strict = format!("{MAPS}?fieldValidation=Strict");
    let apply = format!("{path}?fieldManager=m");
    let patch = |form: &'static str| vec![("content-type", form)];
    for (what, method, path, headers, body, status) in [
        ("a map", "POST", MAPS, json.to_vec(), map.clone(), 201),
        ("the same applied", "PATCH", &apply, patch("application/apply-patch+yaml"), map, 200),
        ("unknown fields", "POST", MAPS, json.to_vec(), unknown.clone(), 201),
        ("unknown fields, strictly", "POST", &strict, json.to_vec(), unknown, 400),
        ("one key again and again", "POST", &strict, json.to_vec(), twice, 400),
        ("operations", "PATCH", &path, patch("application/json-patch+json"), format!("[{operations}]"), 413),
        ("copies of copies", "PATCH", &path, patch("application/json-patch+json"), format!("[{copies}]"), 422),
        ("owners", "PATCH", &path, patch("application/strategic-merge-patch+json"), owners, 200),
    ] {
        let (found, _, answer) = cluster.exchange(method, path, &headers, body).await;
        let answer = String::from_utf8_lossy(&answer[..answer.len().min(500)]).into_owned();
        assert_eq!(found, status, "{what}: {answer}");
    }
}

#[tokio::test]
async fn other_encodings_are_refused_or_read_as_upstream_reads_them() {
    const MAPS: &str = "/api/v1/namespaces/default/configmaps";
    let cluster = Cluster::start().await;
    let map = |name: &str| json!({"metadata": {"name": name}}).to_string();
    let utf16: Vec<u8> = [0xfeff].into_iter().chain(map("a").encode_utf16()).flat_map(u16::to_le_bytes).collect();
    let marked = [&[0xef, 0xbb, 0xbf], map("b").as_bytes()].concat();
    let latin = [br#"{"metadata":{"name":"c"},"data":{"k":"gr"#, &[0xf6, 0xdf][..], br#"e"}}"#].concat();
    let zipped = [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3][..], &[3, 0, 0, 0, 0, 0, 0, 0, 0, 0]].concat();
    for (what, content_type, body, status) in [
        ("UTF-16", "application/json", utf16.clone(), 400),
        ("a byte order mark", "application/json", marked, 400),
        ("Latin-1", "application/json", latin.clone(), 201),
        ("Latin-1 in YAML", "application/yaml", latin, 400),
        ("gzip", "application/json", zipped, 400),
        ("JSON that is no YAML", "application/yaml", br#"{"metadata": {"name": "d"}, "a: b}"#.to_vec(), 400),
        ("bytes that are no protobuf", "application/vnd.kubernetes.protobuf", map("e").into_bytes(), 400),
        ("a type that nobody speaks", "application/xml", map("f").into_bytes(), 415),
        ("a charset", "application/json; charset=utf-16", map("g").into_bytes(), 201),
        ("nothing", "application/json", Vec::new(), 400),
    ] {
        let (found, _, answer) = cluster.exchange("POST", MAPS, &[("content-type", content_type)], body).await;
        assert_eq!(found, status, "{what}: {}", String::from_utf8_lossy(&answer));
    }
    assert_eq!(cluster.get(&format!("{MAPS}/c")).await.expect(200)["data"]["k"], "gr\u{fffd}\u{fffd}e");
}
