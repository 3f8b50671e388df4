//! Versions, pages and watches, and what clients may do with them that they should not.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Answer, Cluster};

pub const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

pub async fn create(cluster: &Cluster, name: &str) -> i64 {
    let created = cluster.post(CONFIG_MAPS, json!({"metadata": {"name": name}})).await.expect(201);
    version(&created)
}

#[track_caller]
pub fn version(object: &Value) -> i64 {
    object["metadata"]["resourceVersion"].as_str().expect("a version").parse().expect("a number")
}

#[track_caller]
pub fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().expect("a list").iter().filter_map(|item| item["metadata"]["name"].as_str()).collect()
}

async fn list(cluster: &Cluster, query: &str) -> Answer {
    cluster.get(&format!("{CONFIG_MAPS}?{query}")).await
}

#[tokio::test]
async fn a_list_is_of_the_version_that_is_asked_for() {
    let cluster = Cluster::start().await;
    let first = create(&cluster, "a").await;
    let second = create(&cluster, "b").await;
    let cases = [
        (String::new(), vec!["a", "b"]),
        ("resourceVersion=0".to_owned(), vec!["a", "b"]),
        (format!("resourceVersion={first}"), vec!["a", "b"]),
        (format!("resourceVersion={first}&resourceVersionMatch=NotOlderThan"), vec!["a", "b"]),
        (format!("resourceVersion={first}&resourceVersionMatch=Exact"), vec!["a"]),
        (format!("resourceVersion={first}&limit=5"), vec!["a"]),
        (format!("resourceVersion={first}&limit=5&resourceVersionMatch=NotOlderThan"), vec!["a", "b"]),
        ("resourceVersion=0&limit=5".to_owned(), vec!["a", "b"]),
    ];
    for (query, expected) in cases {
        let answer = list(&cluster, &query).await.expect(200);
        assert_eq!(names(&answer), expected, "{query}");
        let is_exact = query.contains("Exact") || query.ends_with("limit=5") && !query.contains("=0");
        assert_eq!(version(&answer), if is_exact { first } else { version(&answer).max(second) }, "{query}");
    }
    let future = list(&cluster, &format!("resourceVersion={}", second + 1000)).await.expect(504);
    assert_eq!(future["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
}

#[tokio::test]
async fn options_that_contradict_each_other_are_refused() {
    let cluster = Cluster::start().await;
    let cases: &[(&str, &[&str])] = &[
        (
            "resourceVersionMatch=Exact",
            &["Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"],
        ),
        (
            "resourceVersionMatch=Exact&resourceVersion=0",
            &["Forbidden: resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\""],
        ),
        (
            "resourceVersionMatch=Some&resourceVersion=1",
            &["Unsupported value: \"Some\": supported values: \"\", \"Exact\", \"NotOlderThan\""],
        ),
        ("sendInitialEvents=true", &["Forbidden: sendInitialEvents is forbidden for list"]),
        (
            "watch=1&sendInitialEvents=true",
            &["Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"],
        ),
        (
            "watch=1&resourceVersionMatch=NotOlderThan",
            &["Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"],
        ),
        (
            "watch=1&sendInitialEvents=true&resourceVersionMatch=Exact",
            &[
                "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
                "Unsupported value: \"Exact\": supported values: \"NotOlderThan\"",
            ],
        ),
    ];
    for (query, expected) in cases {
        let refused = list(&cluster, query).await.expect(422);
        let causes = refused["details"]["causes"].as_array().expect("causes");
        let messages: Vec<&str> = causes.iter().filter_map(|cause| cause["message"].as_str()).collect();
        assert_eq!(&messages, expected, "{query}");
    }
}

#[tokio::test]
async fn numbers_are_read_as_upstream_reads_them() {
    let cluster = Cluster::start().await;
    create(&cluster, "a").await;
    let number = |query: &'static str, text: &str, why: &str| {
        (query, 400, format!("strconv.ParseInt: parsing \"{text}\": {why}"))
    };
    let version = |query: &'static str, text: &str, why: &str| {
        let why = format!("strconv.ParseUint: parsing \"{text}\": {why}");
        (query, 500, format!("resourceVersion: Invalid value: \"{text}\": {why}"))
    };
    let huge = "99999999999999999999";
    for (query, code, message) in [
        number("limit=", "", "invalid syntax"),
        number("limit=1e3", "1e3", "invalid syntax"),
        number("timeoutSeconds=99999999999999999999", huge, "value out of range"),
        version("resourceVersion=-1", "-1", "invalid syntax"),
        version("resourceVersion=%2B1", "+1", "invalid syntax"),
        version("resourceVersion=99999999999999999999", huge, "value out of range"),
    ] {
        let refused = list(&cluster, query).await.expect(code);
        assert_eq!(refused["message"], message, "{query}");
    }
    list(&cluster, "limit=-1&timeoutSeconds=-1").await.expect(200);
    // Of one object and of its parts.
    let deployments = "/apis/apps/v1/namespaces/default/deployments/d";
    for path in [format!("{CONFIG_MAPS}/a"), deployments.to_owned(), format!("{deployments}/scale")] {
        let refused = cluster.get(&format!("{path}?resourceVersion=x")).await.expect(500);
        let why = "resourceVersion: Invalid value: \"x\": strconv.ParseUint: parsing \"x\": invalid syntax";
        assert_eq!(refused["message"], why, "{path}");
    }
}

#[tokio::test]
async fn a_watch_without_time_is_over_and_one_of_no_time_is_not() {
    let cluster = Cluster::start().await;
    let over = cluster.watch(&format!("{CONFIG_MAPS}?watch=1&timeoutSeconds=-1")).await;
    assert!(over.rest().await.is_empty());
    let mut lasting = cluster.watch(&format!("{CONFIG_MAPS}?watch=1&timeoutSeconds=0")).await;
    create(&cluster, "a").await;
    assert_eq!(lasting.take(1).await, ["ADDED a"]);
}

#[tokio::test]
async fn pages_show_the_moment_of_the_first() {
    let cluster = Cluster::start().await;
    for name in ["a", "b", "c", "d"] {
        create(&cluster, name).await;
    }
    let first = list(&cluster, "limit=2").await.expect(200);
    assert_eq!((names(&first), &first["metadata"]["remainingItemCount"]), (vec!["a", "b"], &json!(2)));
    let metadata = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    let metadata = cluster.get_as(&format!("{CONFIG_MAPS}?limit=2"), metadata).await.expect(200);
    assert_eq!(metadata["metadata"]["remainingItemCount"], 2);
    cluster.delete(&format!("{CONFIG_MAPS}/c")).await.expect(200);
    create(&cluster, "e").await;
    let token = first["metadata"]["continue"].as_str().expect("a token").to_owned();
    let second = list(&cluster, &format!("limit=2&continue={token}")).await.expect(200);
    assert_eq!((names(&second), version(&second)), (vec!["c", "d"], version(&first)));
    assert!(second["metadata"].get("continue").is_none());
    // Many other pages push the snapshot out, and the datastore's history takes its place.
    for number in 0..70 {
        create(&cluster, &format!("x{number}")).await;
        list(&cluster, "limit=1").await.expect(200);
    }
    let again = list(&cluster, &format!("limit=2&continue={token}")).await.expect(200);
    assert_eq!(names(&again), ["c", "d"]);
    list(&cluster, &format!("continue={token}&resourceVersion=1")).await.expect(400);
    // The tokens of `{"v":"v2","rv":1,"start":"a"}` and of `{"v":"meta.k8s.io/v1"`, and no tokens at all.
    for (token, why) in [
        ("eyJ2IjoidjIiLCJydiI6MSwic3RhcnQiOiJhIn0", "server does not recognize this encoded version \"v2\""),
        ("eyJ2IjoibWV0YS5rOHMuaW8vdjEi", "unexpected end of JSON input"),
        ("nonsense", r"invalid character '\u009e' looking for beginning of value"),
        ("non%3Dense", "illegal base64 data at input byte 3"),
        ("aaaaa", "illegal base64 data at input byte 4"),
    ] {
        let refused = list(&cluster, &format!("continue={token}")).await.expect(400);
        assert_eq!(refused["message"], format!("invalid continue token: continue key is not valid: {why}"));
    }
}

#[tokio::test]
async fn a_watch_begins_after_its_version_even_in_the_future() {
    let cluster = Cluster::start().await;
    let now = create(&cluster, "a").await;
    let mut watch = cluster.watch(&format!("{CONFIG_MAPS}?watch=1&resourceVersion={}", now + 1)).await;
    create(&cluster, "b").await;
    create(&cluster, "c").await;
    assert_eq!(watch.take(1).await, ["ADDED c"]);
}

#[tokio::test]
async fn initial_events_end_with_a_bookmark_only_where_bookmarks_are_allowed() {
    let cluster = Cluster::start().await;
    create(&cluster, "a").await;
    let query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
    let mut with = cluster.watch(&format!("{CONFIG_MAPS}?{query}&allowWatchBookmarks=true")).await;
    let mut without = cluster.watch(&format!("{CONFIG_MAPS}?{query}")).await;
    // What says nothing of either begins like that.
    for query in ["watch=1&allowWatchBookmarks=true", "watch=1&allowWatchBookmarks=true&resourceVersion=0"] {
        let mut watch = cluster.watch(&format!("{CONFIG_MAPS}?{query}")).await;
        assert_eq!(watch.take(2).await, ["ADDED a", "BOOKMARK "], "{query}");
    }
    assert_eq!(with.take(2).await, ["ADDED a", "BOOKMARK "]);
    assert_eq!(without.take(1).await, ["ADDED a"]);
    create(&cluster, "b").await;
    assert_eq!(with.take(1).await, ["ADDED b"]);
    assert_eq!(without.take(1).await, ["ADDED b"]);
}

#[tokio::test]
async fn a_watch_ends_in_time_however_much_happens() {
    let cluster = Cluster::start().await;
    let watch = cluster.watch(&format!("{CONFIG_MAPS}?watch=1&timeoutSeconds=1")).await;
    let writes = async {
        for number in 0.. {
            create(&cluster, &format!("x{number}")).await;
            // The datastore in memory never makes anybody wait.
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = writes => {}
        rest = watch.rest() => assert!(rest.last().is_some_and(|last| last.starts_with("ADDED "))),
    }
}

#[tokio::test]
async fn a_watch_that_is_not_read_falls_behind_and_is_told() {
    let cluster = Cluster::start().await;
    let slow = cluster.watch(&format!("{CONFIG_MAPS}?watch=1")).await;
    // More than the window of events holds.
    for number in 0..4_200 {
        create(&cluster, &format!("x{number}")).await;
    }
    let seen = slow.rest().await;
    assert_eq!(seen.last().map(String::as_str), Some("ERROR "), "{} events", seen.len());
    assert!(seen.len() < 300, "{} events", seen.len());
}

#[tokio::test]
async fn thousands_of_watches_see_the_same_event() {
    let cluster = Cluster::start().await;
    let mut watches = Vec::new();
    for number in 0..2_000 {
        let selector = if number % 2 == 0 { "" } else { "&fieldSelector=metadata.name%3Da" };
        watches.push(cluster.watch(&format!("{CONFIG_MAPS}?watch=1{selector}")).await);
    }
    create(&cluster, "a").await;
    for watch in &mut watches {
        assert_eq!(watch.take(1).await, ["ADDED a"]);
    }
}

#[tokio::test]
async fn bodies_that_do_harm_are_refused() {
    let cluster = Cluster::start().await;
    let headers = [("content-type", "application/json")];
    let deep = |depth: usize| format!("{}{}", r#"{"a":"#.repeat(depth), "1".to_owned() + &"}".repeat(depth));
    let revision = |data: &str| format!(r#"{{"metadata":{{"name":"r"}},"revision":1,"data":{data}}}"#);
    let revisions = "/apis/apps/v1/namespaces/default/controllerrevisions";
    let cases = [
        (CONFIG_MAPS, "{\"metadata\":{\"name\":\"a\"}".to_owned(), 400),
        (revisions, revision(&deep(100_000)), 400),
        (CONFIG_MAPS, "[".repeat(1_000_000), 400),
        (
            CONFIG_MAPS,
            format!("{{\"metadata\":{{\"name\":\"a\"}},\"data\":{{\"k\":\"{}\"}}}}", "x".repeat(4 << 20)),
            413,
        ),
        (revisions, revision(&deep(125)), 400),
        (revisions, revision(&deep(100)), 201),
        (revisions, revision(&format!("\"{}\"", "x".repeat(2 << 20))).replace("\"r\"", "\"big\""), 500),
    ];
    for (path, body, expected) in cases {
        let start: String = body.chars().take(40).collect();
        let (status, _, answer) = cluster.exchange("POST", path, &headers, body).await;
        let answer: String = String::from_utf8_lossy(&answer).chars().take(300).collect();
        assert_eq!(status, expected, "{start}: {answer}");
    }
    let (status, _, answer) = cluster
        .exchange(
            "POST",
            CONFIG_MAPS,
            &headers,
            b"{\"metadata\":{\"name\":\"latin\"},\"data\":{\"k\":\"\xe4\"}}".to_vec(),
        )
        .await;
    let answer: Value = serde_json::from_slice(&answer).expect("JSON");
    assert_eq!((status, &answer["data"]["k"]), (201, &json!("\u{fffd}")));
}

#[tokio::test]
async fn silent_and_broken_connections_keep_nobody_else_from_being_served() {
    use tokio::io::AsyncWriteExt;

    let cluster = Cluster::start().await;
    let mut connections = Vec::new();
    for number in 0..200 {
        let mut stream = tokio::net::TcpStream::connect(cluster.address()).await.expect("a connection");
        if number % 2 == 0 {
            stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("written");
        }
        connections.push(stream);
    }
    let client = crate::wire::client(&cluster.kubeconfig("admin", &["system:masters"])).await;
    let version = tokio::time::timeout(Duration::from_secs(10), client.apiserver_version()).await;
    assert_eq!(version.expect("in time").expect("a version").minor, "35");
}

#[tokio::test]
async fn a_body_that_breaks_off_changes_nothing() {
    let cluster = Cluster::start().await;
    assert_eq!(cluster.broken("POST", CONFIG_MAPS, r#"{"metadata":{"name":"cut"},"data":{}"#).await, 400);
    // Whole as it looks, nobody knows what would have followed.
    assert_eq!(cluster.broken("POST", CONFIG_MAPS, r#"{"metadata":{"name":"cut"}}"#).await, 400);
    cluster.get(&format!("{CONFIG_MAPS}/cut")).await.expect(404);
}

#[tokio::test]
async fn a_watch_can_show_tables() {
    let cluster = Cluster::start().await;
    let before = cluster.get(CONFIG_MAPS).await.expect(200)["metadata"]["resourceVersion"].clone();
    create(&cluster, "a").await;
    create(&cluster, "b").await;
    cluster.delete(&format!("{CONFIG_MAPS}/a")).await.expect(200);
    let path =
        format!("{CONFIG_MAPS}?watch=1&timeoutSeconds=1&resourceVersion={}", before.as_str().expect("a version"));
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let (status, content_type, body) = cluster.exchange("GET", &path, &[("accept", accept)], "").await;
    assert_eq!((status, content_type.as_str()), (200, "application/json"));
    let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let events: Vec<serde_json::Value> = lines.map(|line| serde_json::from_slice(line).expect("JSON")).collect();
    let shown: Vec<String> = events
        .iter()
        .map(|event| {
            let table = &event["object"];
            assert_eq!((&table["kind"], &table["apiVersion"]), (&json!("Table"), &json!("meta.k8s.io/v1")));
            let row = &table["rows"][0];
            assert_eq!((&row["cells"][1], &row["object"]["kind"]), (&json!(0), &json!("PartialObjectMetadata")));
            assert_eq!(row["object"]["metadata"]["resourceVersion"], table["metadata"]["resourceVersion"]);
            let columns = table["columnDefinitions"].as_array().map_or(0, Vec::len);
            format!(
                "{} {} {columns}",
                event["type"].as_str().unwrap_or_default(),
                row["cells"][0].as_str().unwrap_or_default()
            )
        })
        .collect();
    // The first says what the columns are.
    assert_eq!(shown, ["ADDED a 3", "ADDED b 0", "DELETED a 0"]);
}
