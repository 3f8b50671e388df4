//! The media types of requests and answers.

use api::protobuf;
use bytes::Bytes;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::support::Cluster;
use crate::wire::client;

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const CONFIG_MAP: &str = "io.k8s.api.core.v1.ConfigMap";

/// The object in a body, which must be of a kind.
#[track_caller]
fn opened(body: &[u8], kind: &str, type_name: &str) -> Value {
    let envelope = protobuf::open(body).expect("a body in protobuf");
    assert_eq!(envelope.kind, kind, "{:?}", String::from_utf8_lossy(body));
    protobuf::decode(envelope.message, type_name).expect("a message")
}

fn config_map(name: &str) -> Vec<u8> {
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": "v"}});
    protobuf::body(&object, CONFIG_MAP)
}

#[tokio::test]
async fn objects_and_lists_are_written_in_every_encoding() {
    let cluster = Cluster::start().await;
    let both = [("content-type", PROTOBUF), ("accept", PROTOBUF)];
    let (status, content_type, created) = cluster.exchange("POST", CONFIG_MAPS, &both, config_map("a")).await;
    assert_eq!((status, content_type.as_str()), (201, PROTOBUF));
    let created = opened(&created, "ConfigMap", CONFIG_MAP);
    let path = format!("{CONFIG_MAPS}/a");
    let mut json = cluster.get(&path).await.expect(200);
    for member in ["apiVersion", "kind"] {
        json.as_object_mut().expect("an object").remove(member);
    }
    assert_eq!(created, json);

    // client-go lists what it can read: the first that the server writes is taken.
    let accept = [("accept", "application/vnd.kubernetes.protobuf,application/json")];
    let (status, content_type, read) = cluster.exchange("GET", &path, &accept, "").await;
    assert_eq!((status, content_type.as_str()), (200, PROTOBUF));
    assert_eq!(opened(&read, "ConfigMap", CONFIG_MAP), json);

    let (status, _, list) = cluster.exchange("GET", CONFIG_MAPS, &accept, "").await;
    assert_eq!(status, 200);
    let expected = cluster.get(CONFIG_MAPS).await.expect(200);
    let envelope = protobuf::open(&list).expect("a body in protobuf");
    assert_eq!((envelope.api_version, envelope.kind), ("v1", "ConfigMapList"));
    let encoded: Vec<Vec<u8>> =
        expected["items"].as_array().expect("items").iter().map(|item| protobuf::encode(item, CONFIG_MAP)).collect();
    let around = protobuf::List::new("v1", "ConfigMapList", &expected["metadata"], encoded.iter().map(Vec::len));
    let items = encoded.iter().flat_map(|item| [protobuf::List::before(item), item.clone()].concat());
    let whole: Vec<u8> = around.head.iter().copied().chain(items).chain(around.tail.iter().copied()).collect();
    assert_eq!(list, Bytes::from(whole));

    let (_, content_type, yaml) = cluster.exchange("GET", &path, &[("accept", "application/yaml")], "").await;
    assert_eq!(content_type, "application/yaml");
    assert!(String::from_utf8_lossy(&yaml).contains("kind: ConfigMap\n"));
    let (_, content_type, pretty) = cluster.exchange("GET", &path, &[("user-agent", "curl/8.5.0")], "").await;
    assert_eq!(content_type, "application/json");
    assert!(pretty.starts_with(b"{\n  \"apiVersion\": \"v1\",\n"), "{pretty:?}");
}

#[tokio::test]
async fn metadata_alone_is_written_in_protobuf_and_tables_are_not() {
    let cluster = Cluster::start().await;
    cluster.exchange("POST", CONFIG_MAPS, &[("content-type", PROTOBUF)], config_map("a")).await;
    let accept = |kind: &str| format!("{PROTOBUF};as={kind};v=v1;g=meta.k8s.io");
    let partial = accept("PartialObjectMetadata");
    let path = format!("{CONFIG_MAPS}/a");
    let (status, _, one) = cluster.exchange("GET", &path, &[("accept", &partial)], "").await;
    assert_eq!(status, 200);
    let one = opened(&one, "PartialObjectMetadata", protobuf::PARTIAL_OBJECT_METADATA);
    assert_eq!((&one["metadata"]["name"], one.get("data")), (&json!("a"), None));

    let list = accept("PartialObjectMetadataList");
    let (_, _, list) = cluster.exchange("GET", CONFIG_MAPS, &[("accept", &list)], "").await;
    let list = opened(&list, "PartialObjectMetadataList", protobuf::PARTIAL_OBJECT_METADATA_LIST);
    assert_eq!(list["items"][0]["metadata"]["name"], "a");

    let table = accept("Table");
    let (status, content_type, _) = cluster.exchange("GET", &path, &[("accept", &table)], "").await;
    assert_eq!((status, content_type.as_str()), (406, "application/json"));
    let or_json = format!("{table},application/json");
    let (status, content_type, _) = cluster.exchange("GET", &path, &[("accept", &or_json)], "").await;
    assert_eq!((status, content_type.as_str()), (200, "application/json"));
}

#[tokio::test]
async fn failures_and_discovery_are_written_in_protobuf_too() {
    let cluster = Cluster::start().await;
    let accept = [("accept", "application/vnd.kubernetes.protobuf,application/json")];
    let (status, content_type, missing) = cluster.exchange("GET", &format!("{CONFIG_MAPS}/none"), &accept, "").await;
    assert_eq!((status, content_type.as_str()), (404, PROTOBUF));
    let missing = opened(&missing, "Status", protobuf::STATUS);
    assert_eq!((&missing["message"], &missing["code"]), (&json!("configmaps \"none\" not found"), &json!(404)));

    const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
    for (path, kind) in
        [("/api", "APIVersions"), ("/apis", "APIGroupList"), ("/apis/apps", "APIGroup"), ("/api/v1", "APIResourceList")]
    {
        let (status, content_type, body) = cluster.exchange("GET", path, &accept, "").await;
        assert_eq!((status, content_type.as_str()), (200, PROTOBUF), "{path}");
        let mut found = opened(&body, kind, &format!("{META}.{kind}"));
        let mut expected = cluster.get(path).await.expect(200);
        api::decode::normalize(&mut expected, &format!("{META}.{kind}"));
        for document in [&mut found, &mut expected] {
            let document = document.as_object_mut().expect("an object");
            document.retain(|key, _| !matches!(key.as_str(), "apiVersion" | "kind"));
        }
        assert_eq!(found, expected, "{path}");
    }
}

#[tokio::test]
async fn bodies_that_cannot_be_read_are_refused() {
    let cluster = Cluster::start().await;
    let headers = [("content-type", PROTOBUF)];
    let whole = config_map("a");
    let secret = protobuf::wrap("v1", "Secret", b"");
    let cases: &[(&[u8], &str)] = &[
        (
            b"hello",
            "the object provided is unrecognized (must be of type ConfigMap): provided data does not appear to be \
                    a protobuf message, expected prefix [107 56 115 0] (68656c6c6f)",
        ),
        (
            &whole[..whole.len() - 10],
            "the object provided is unrecognized (must be of type ConfigMap): unexpected EOF (\
                                      6b3873000a0f0a0276311209436f6e6669674d6170122b0a1f0a0161 ...)",
        ),
        (
            &secret,
            "Secret in version \"v1\" cannot be handled as a ConfigMap: converting (v1.Secret) to (ConfigMap): unknown conversion",
        ),
        (
            &protobuf::wrap("v1", "ConfigMap", &[0x0a, 5]),
            "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: unexpected EOF",
        ),
    ];
    for (body, expected) in cases {
        let (status, _, answer) = cluster.exchange("POST", CONFIG_MAPS, &headers, body.to_vec()).await;
        let answer: Value = serde_json::from_slice(&answer).expect("a Status");
        assert_eq!(status, 400, "{answer}");
        let message = answer["message"].as_str().expect("a message");
        // How many bytes are shown matters, not which.
        let (shown, expected) = (message.split(" (6b").next(), expected.split(" (6b").next());
        assert_eq!(shown, expected);
    }
    for wrong in ["text/json", "application/cbor", "application/x-www-form-urlencoded"] {
        let (status, _, _) = cluster.exchange("POST", CONFIG_MAPS, &[("content-type", wrong)], "{}").await;
        assert_eq!(status, 415, "{wrong}");
    }
}

#[tokio::test]
async fn big_lists_are_compressed_for_those_who_can_read_them() {
    use std::io::Read;

    let cluster = Cluster::start().await;
    for number in 0..20 {
        let object = json!({"metadata": {"name": format!("x{number}")}, "data": {"k": "v".repeat(10_000)}});
        cluster.post(CONFIG_MAPS, object).await.expect(201);
    }
    for accept in ["application/json", PROTOBUF] {
        let (_, _, plain) = cluster.exchange("GET", CONFIG_MAPS, &[("accept", accept)], "").await;
        let headers = [("accept", accept), ("accept-encoding", "gzip")];
        let response = cluster.request("GET", CONFIG_MAPS, &headers, "").await;
        assert_eq!(response.headers().get("content-encoding").expect("it is compressed"), "gzip");
        let packed = response.into_body().collect().await.expect("a body").to_bytes();
        assert!(packed.len() < plain.len() / 10, "{} of {}", packed.len(), plain.len());
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut unpacked).expect("it is gzip");
        assert_eq!(plain, unpacked, "{accept}");
    }
    let response = cluster.request("GET", &format!("{CONFIG_MAPS}/x1"), &[("accept-encoding", "gzip")], "").await;
    assert!(response.headers().get("content-encoding").is_none());
}

/// Cuts the first event off, if it is whole: its type, and the body in it.
fn event(buffer: &mut Vec<u8>) -> Option<(String, Vec<u8>)> {
    const WATCH_EVENT_TYPE: u8 = 1 << 3 | 2;
    let length = u32::from_be_bytes(buffer.get(..4)?.try_into().expect("four bytes")) as usize;
    buffer.get(4..4 + length)?;
    let event: Vec<u8> = buffer.drain(..4 + length).skip(4).collect();
    assert_eq!(event[0], WATCH_EVENT_TYPE);
    let name_ends = 2 + usize::from(event[1]);
    let kind = String::from_utf8(event[2..name_ends].to_vec()).expect("text");
    // The object and its bytes are messages in messages; the body begins with its magic.
    let body = event.windows(4).position(|window| window == b"k8s\0").expect("a body");
    Some((kind, event[body..].to_vec()))
}

#[tokio::test]
async fn a_watch_in_protobuf_sends_frames_over_the_wire() {
    let cluster = Cluster::start().await;
    let client = client(&cluster.kubeconfig("admin", &["system:masters"])).await;
    cluster.exchange("POST", CONFIG_MAPS, &[("content-type", PROTOBUF)], config_map("a")).await;
    let watch = |query: &str, accept: &str| {
        let request = http::Request::get(format!("{CONFIG_MAPS}?watch=true&{query}")).header("accept", accept);
        client.send(request.body(kube::client::Body::empty()).expect("a request"))
    };
    let query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    for (accept, kind, type_name) in [
        (PROTOBUF.to_owned(), "ConfigMap", CONFIG_MAP),
        (
            format!("{PROTOBUF};as=PartialObjectMetadata;v=v1;g=meta.k8s.io"),
            "PartialObjectMetadata",
            protobuf::PARTIAL_OBJECT_METADATA,
        ),
    ] {
        let response = watch(query, &accept).await.expect("a watch");
        let content_type = response.headers().get("content-type").expect("a type").clone();
        assert_eq!(content_type, "application/vnd.kubernetes.protobuf;stream=watch");
        let mut body = response.into_body();
        let mut buffer = Vec::new();
        let mut next = async || loop {
            if let Some(event) = event(&mut buffer) {
                return event;
            }
            let frame = body.frame().await.expect("the watch goes on").expect("it does not break");
            buffer.extend_from_slice(&frame.into_data().expect("data"));
        };
        let (first, object) = next().await;
        assert_eq!((first.as_str(), &opened(&object, kind, type_name)["metadata"]["name"]), ("ADDED", &json!("a")));
        let (second, object) = next().await;
        let annotations = &opened(&object, kind, type_name)["metadata"]["annotations"];
        assert_eq!((second.as_str(), annotations), ("BOOKMARK", &json!({"k8s.io/initial-events-end": "true"})));
        let patch = json!({"data": {"k": kind}});
        cluster.patch(&format!("{CONFIG_MAPS}/a"), "application/merge-patch+json", patch).await.expect(200);
        let (third, object) = next().await;
        assert_eq!(third, "MODIFIED");
        let object = opened(&object, kind, type_name);
        assert_eq!(object.pointer("/data/k"), (kind == "ConfigMap").then_some(&json!("ConfigMap")));
    }
    let refused = watch(query, "application/yaml").await.expect("an answer");
    assert_eq!(refused.status(), 406);
}

#[tokio::test]
async fn patches_are_told_of_as_they_were_sent() {
    const STRATEGIC: &str = "application/strategic-merge-patch+json";
    const MERGE: &str = "application/merge-patch+json";
    let cluster = Cluster::start().await;
    cluster.post(CONFIG_MAPS, json!({"metadata": {"name": "a"}})).await.expect(201);
    for (name, content_type, patch, code, message) in [
        (
            "a",
            STRATEGIC,
            r#"{"data": "x"}"#,
            422,
            "patch: Invalid value: \"map[data:x]\": json: cannot unmarshal string",
        ),
        ("a", MERGE, r#"{"data": {"k": "1", "k": "2"}}"#, 422, "strict decoding error: duplicate field \"data.k\""),
        ("a", MERGE, "{", 400, "error decoding patch: unexpected end of JSON input"),
        (
            "a",
            STRATEGIC,
            r#"{"metadata": {"$deleteFromPrimitiveList/finalizers": "x"}}"#,
            400,
            "invalid patch format of primitive list",
        ),
        // There is nothing to patch, whatever with.
        ("b", MERGE, "{", 404, "not found"),
    ] {
        let path = format!("{CONFIG_MAPS}/{name}?fieldValidation=Strict");
        let headers = [("content-type", content_type)];
        let (status, _, body) = cluster.exchange("PATCH", &path, &headers, patch.as_bytes().to_vec()).await;
        let refused: Value = serde_json::from_slice(&body).expect("a status");
        let found = refused["message"].as_str().unwrap_or_default();
        assert!(status == code && found.contains(message), "{name} {patch}: {found}");
    }
}
