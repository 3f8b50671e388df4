//! Groups and versions that an extension API server of the test's own answers, behind APIServices.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http::Response;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::extension::Extension;
use crate::support::{Cluster, DEADLINE, own_address};

const GROUP: &str = "wardle.example.com";
const API_SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const API_SERVICE: &str = "/apis/apiregistration.k8s.io/v1/apiservices/v1.wardle.example.com";
const FLUNDERS: &str = "/apis/wardle.example.com/v1/namespaces/default/flunders";
const MERGE: &str = "application/merge-patch+json";

/// Waits for the condition of the APIService to have a reason; what it says.
async fn until_reason(cluster: &Cluster, reason: &str) -> String {
    let has_reason = |object: &Value| object["status"]["conditions"][0]["reason"] == reason;
    let object = cluster.until(API_SERVICE, &format!("reason {reason}"), has_reason).await;
    object["status"]["conditions"][0]["message"].as_str().expect("a message").to_owned()
}

/// A cluster with an extension API server that answers `v1.wardle.example.com`; nothing where there is no address for it.
async fn aggregated() -> Option<(Cluster, Extension)> {
    let Some(address) = own_address() else {
        eprintln!("SKIPPED: only the loopback interface has an address");
        return None;
    };
    let cluster = Cluster::start().await;
    let extension = Extension::start(&cluster, address).await;
    extension.expose(&cluster).await;
    cluster.post(API_SERVICES, extension.api_service(GROUP, "v1")).await.expect(201);
    assert_eq!(until_reason(&cluster, "Passed").await, "all checks passed");
    Some((cluster, extension))
}

/// Lets a user do anything in the group.
async fn allow(cluster: &Cluster, user: &str) {
    const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
    let rules = json!([{"verbs": ["*"], "apiGroups": [GROUP], "resources": ["*"]}]);
    let role = json!({"metadata": {"name": "flunders"}, "rules": rules});
    cluster.post(&format!("{RBAC}/clusterroles"), role).await.expect(201);
    let binding = json!({
        "metadata": {"name": "flunders"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "flunders"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    });
    cluster.post(&format!("{RBAC}/clusterrolebindings"), binding).await.expect(201);
}

/// The condition says step by step what is missing, and requests are not passed on until it is there.
#[tokio::test]
async fn requests_reach_an_extension_api_server() {
    let Some(address) = own_address() else { return eprintln!("SKIPPED: only the loopback interface has an address") };
    let cluster = Cluster::start().await;
    let extension = Extension::start(&cluster, address).await;
    let created = cluster.post(API_SERVICES, extension.api_service(GROUP, "v1")).await.expect(201);
    assert_eq!(created["status"], json!({}));
    let why = until_reason(&cluster, "ServiceNotFound").await;
    assert_eq!(why, "service/wardle in \"default\" is not present");
    is_unavailable(cluster.fetch(FLUNDERS, &[]).await, "service unavailable\n");
    let groups = cluster.get("/apis").await.expect(200);
    assert!(groups["groups"].as_array().expect("groups").iter().any(|group| group["name"] == GROUP), "{groups}");

    let spec = json!({"ports": [{"name": "https", "port": 443, "targetPort": extension.address.port()}]});
    let service = json!({"metadata": {"name": "wardle"}, "spec": spec});
    cluster.post("/api/v1/namespaces/default/services", service).await.expect(201);
    let why = until_reason(&cluster, "EndpointsNotFound").await;
    assert_eq!(why, "cannot find endpointslices for service/wardle in \"default\"");
    let slice = json!({
        "metadata": {"name": "wardle-1", "labels": {"kubernetes.io/service-name": "wardle"}}, "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": false}}],
        "ports": [{"name": "https", "port": extension.address.port()}],
    });
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    cluster.post(slices, slice).await.expect(201);
    let why = until_reason(&cluster, "MissingEndpoints").await;
    assert_eq!(why, "endpointslices for service/wardle in \"default\" have no addresses with port name \"https\"");
    let ready = json!({"endpoints": [{"addresses": [address], "conditions": {"ready": true}}]});
    cluster.patch(&format!("{slices}/wardle-1"), MERGE, ready).await.expect(200);
    until_reason(&cluster, "Passed").await;

    let found = |list: &Value| list["resources"][0]["name"] == "flunders";
    cluster.until(&format!("/apis/{GROUP}/v1"), "discovery", found).await;
    let seen = cluster.post(&format!("{FLUNDERS}?dryRun=All"), json!({"a": "b"})).await.expect(200);
    assert_eq!((&seen["method"], &seen["sent"]), (&json!("POST"), &json!("{\"a\":\"b\"}")));
    assert_eq!(seen["uri"], format!("{FLUNDERS}?dryRun=All"));
    let before = extension.connections.load(Ordering::Relaxed);
    for _ in 0..10 {
        cluster.get(FLUNDERS).await.expect(200);
    }
    assert!(extension.connections.load(Ordering::Relaxed) < before + 5, "connections are used again");

    cluster.delete(API_SERVICE).await.expect(200);
    cluster.until_status(FLUNDERS, 404).await;
}

#[track_caller]
fn is_unavailable(answer: Response<Bytes>, text: &str) {
    let content_type = answer.headers()["content-type"].to_str().expect("text");
    assert_eq!((answer.status().as_u16(), content_type), (503, "text/plain; charset=utf-8"), "{answer:?}");
    assert_eq!(String::from_utf8_lossy(answer.body()), text);
}

#[tokio::test]
async fn an_extension_api_server_is_told_by_the_front_proxy_who_asks() {
    let Some((cluster, _extension)) = aggregated().await else { return };
    allow(&cluster, "jane").await;
    let request = |more: &str| {
        format!(
            "GET {FLUNDERS}/f HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-remote-user: root\r\nx-remote-group: system:masters\r\n\
             X-Remote-Uid: 0\r\nX-Remote-Extra-Scopes: all\r\nx-remote-anything: x\r\n{more}\r\n"
        )
    };
    let remotes = |seen: &Value| -> Value {
        let headers = seen["headers"].as_object().expect("headers");
        let is_claim =
            |name: &str| name.starts_with("x-remote-") || name.starts_with("impersonate-") || name == "authorization";
        Value::Object(headers.iter().filter(|(name, _)| is_claim(name)).map(|(k, v)| (k.clone(), v.clone())).collect())
    };
    let seen = cluster.raw(cluster.connect("jane", &["dev"]).await, &request("")).await.expect(200);
    assert_eq!(seen["proxy"], "front-proxy-client");
    let mut claims = remotes(&seen);
    let certificate = claims["x-remote-extra-authentication.kubernetes.io%2fcredential-id"].take();
    assert!(certificate[0].as_str().is_some_and(|id| id.starts_with("X509SHA256=")), "{seen}");
    let who = json!({
        "x-remote-user": ["jane"], "x-remote-group": ["dev", "system:authenticated"],
        "x-remote-extra-authentication.kubernetes.io%2fcredential-id": null,
    });
    assert_eq!(claims, who);
    // Whom somebody acts as is who asks.
    let acting = "impersonate-user: jane\r\nimpersonate-uid: 7\r\nimpersonate-group: ops\r\n\
                  impersonate-extra-example.com%2fscopes: a\r\nimpersonate-extra-example.com%2fscopes: b\r\n";
    let admin = cluster.connect("admin", &["system:masters"]).await;
    let seen = cluster.raw(admin, &request(acting)).await.expect(200);
    let who = json!({
        "x-remote-user": ["jane"], "x-remote-uid": ["7"], "x-remote-group": ["ops", "system:authenticated"],
        "x-remote-extra-example.com%2fscopes": ["a", "b"],
    });
    assert_eq!(remotes(&seen), who);
    // Who may not is not even passed on.
    cluster.raw(cluster.connect("mallory", &[]).await, &request("")).await.expect(403);
}

#[tokio::test]
async fn events_of_a_watch_come_one_by_one_and_its_end_is_told() {
    let Some((cluster, extension)) = aggregated().await else { return };
    let answer = cluster.request("GET", &format!("{FLUNDERS}?watch=1"), &[], Bytes::new()).await;
    assert_eq!(answer.status(), 200);
    let mut body = answer.into_body();
    let events = extension.watch();
    for number in 0..3 {
        let event = Bytes::from(format!("{{\"type\":\"ADDED\",\"object\":{{\"number\":{number}}}}}\n"));
        events.send(event.clone()).await.expect("it is open");
        let frame = tokio::time::timeout(DEADLINE, body.frame()).await.expect("in time").expect("it goes on");
        assert_eq!(frame.expect("it does not break").into_data().expect("data"), event);
    }
    // When the client goes, so does the watch behind.
    drop(body);
    tokio::time::timeout(DEADLINE, events.closed()).await.expect("in time");
    // And when the one behind ends, the client hears of it.
    let answer = cluster.request("GET", &format!("{FLUNDERS}?watch=1"), &[], Bytes::new()).await;
    drop(extension.watch());
    let rest = tokio::time::timeout(DEADLINE, answer.into_body().collect()).await.expect("in time");
    assert!(rest.expect("it ends well").to_bytes().is_empty());
}

#[tokio::test]
async fn switched_connections_are_joined() {
    let Some((cluster, _extension)) = aggregated().await else { return };
    let connection = cluster.connect("admin", &["system:masters"]).await;
    let url = format!("wss://localhost{FLUNDERS}/f/exec?command=a&command=b");
    let mut request = url.into_client_request().expect("a request");
    request.headers_mut().insert("sec-websocket-protocol", "v5.channel.k8s.io".parse().expect("a value"));
    let (mut socket, answer) = tokio_tungstenite::client_async(request, connection).await.expect("a WebSocket");
    assert_eq!(answer.headers()["sec-websocket-protocol"], "v5.channel.k8s.io");
    for text in ["\0stdin", "\u{4}{\"Width\":80}"] {
        socket.send(Message::binary(text.as_bytes().to_vec())).await.expect("it is open");
        let echoed = tokio::time::timeout(DEADLINE, socket.next()).await.expect("in time").expect("it goes on");
        assert_eq!(echoed.expect("a message").into_data(), text.as_bytes());
    }
    socket.close(None).await.expect("it is open");

    let mut stream = cluster.connect("admin", &["system:masters"]).await;
    let head = format!(
        "POST {FLUNDERS}/f/exec?command=a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\
         X-Stream-Protocol-Version: v4.channel.k8s.io\r\nContent-Length: 0\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("written");
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        seen.push(stream.read_u8().await.expect("an answer"));
    }
    let head = String::from_utf8_lossy(&seen).to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101 ") && head.contains("upgrade: spdy/3.1"), "{head}");
    // A ping, as SPDY frames it.
    let ping = [0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 1];
    stream.write_all(&ping).await.expect("written");
    let mut echoed = [0; 12];
    tokio::time::timeout(DEADLINE, stream.read_exact(&mut echoed)).await.expect("in time").expect("read");
    assert_eq!(echoed, ping);
}

#[tokio::test]
async fn nobody_is_sent_elsewhere_and_failures_are_told_as_they_are() {
    let Some((cluster, extension)) = aggregated().await else { return };
    let moved = cluster.fetch(&format!("{FLUNDERS}?elsewhere"), &[]).await;
    assert_eq!((moved.status().as_u16(), moved.headers().get("location")), (502, None));
    assert_eq!(&moved.body()[..], b"the backend attempted to redirect this request, which is not permitted");
    let answer = cluster.fetch(&format!("{FLUNDERS}?teapot"), &[]).await;
    assert_eq!((answer.status().as_u16(), answer.headers().get("access-control-allow-origin")), (418, None));
    // Nobody listens any more, and nothing has noticed yet.
    let address = extension.address;
    drop(extension);
    let refused = format!("error trying to reach service: dial tcp {address}: connect: connection refused\n");
    let deadline = tokio::time::Instant::now() + DEADLINE;
    loop {
        let answer = cluster.fetch(FLUNDERS, &[]).await;
        let text = String::from_utf8_lossy(answer.body()).into_owned();
        // On a slow machine it may have been asked again already.
        if text == refused || text == "service unavailable\n" {
            break is_unavailable(answer, &text);
        }
        // What was under way when it ended fails in other ways.
        assert!(text.starts_with("error trying to reach service: "), "{text}");
        assert!(tokio::time::Instant::now() < deadline, "{answer:?}");
        tokio::task::yield_now().await;
    }
    // A change of what it is asked by has it asked again.
    let prefix = format!("failing or missing response from https://{address}/apis/{GROUP}/v1:");
    let priority = json!({"spec": {"insecureSkipTLSVerify": true, "caBundle": null}});
    cluster.patch(API_SERVICE, MERGE, priority).await.expect(200);
    let why = until_reason(&cluster, "FailedDiscoveryCheck").await;
    let get = format!("Get \"https://{address}/apis/{GROUP}/v1\": dial tcp {address}: connect: connection refused");
    assert_eq!(why, format!("{prefix} {get}"));
    is_unavailable(cluster.fetch(FLUNDERS, &[]).await, "service unavailable\n");
    let discovered = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let groups = cluster.get_as("/apis", discovered).await.expect(200);
    let groups = groups["items"].as_array().expect("groups");
    let group = groups.iter().find(|group| group["metadata"]["name"] == GROUP).expect("it stays");
    assert_eq!(
        (&group["versions"][0]["freshness"], &group["versions"][0]["resources"][0]["resource"]),
        (&json!("Stale"), &json!("flunders"))
    );
}

#[tokio::test]
async fn a_server_that_refuses_its_discovery_is_not_available() {
    let Some((cluster, extension)) = aggregated().await else { return };
    extension.says().status = 500;
    // It is asked again because it is asked in another way.
    let anyone = json!({"spec": {"insecureSkipTLSVerify": true, "caBundle": null}});
    cluster.patch(API_SERVICE, MERGE, anyone).await.expect(200);
    let url = format!("https://{}/apis/{GROUP}/v1", extension.address);
    let why = until_reason(&cluster, "FailedDiscoveryCheck").await;
    assert_eq!(why, format!("failing or missing response from {url}: bad status from {url}: 500"));
}

/// Discovery in its old form and in the aggregated one.
#[tokio::test]
async fn groups_and_versions_come_in_the_order_of_their_priorities() {
    let Some((cluster, extension)) = aggregated().await else { return };
    let definition = json!({
        "metadata": {"name": "widgets.middle.example.com"},
        "spec": {
            "group": "middle.example.com", "scope": "Cluster", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object"}}}],
        },
    });
    cluster.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition).await.expect(201);
    let rows = [
        ("first.example.com", "v1", 17_900, 15),
        ("last.example.com", "v1", 900, 10),
        ("last.example.com", "v2", 900, 10),
        ("last.example.com", "v1beta1", 900, 20),
        ("also.example.com", "v1", 900, 10),
    ];
    for (group, version, group_priority, version_priority) in rows {
        let mut service = extension.api_service(group, version);
        service["spec"]["groupPriorityMinimum"] = group_priority.into();
        service["spec"]["versionPriority"] = version_priority.into();
        cluster.post(API_SERVICES, service).await.expect(201);
    }
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let deadline = tokio::time::Instant::now() + DEADLINE;
    let (legacy, aggregated) = loop {
        let (legacy, aggregated) = (cluster.get("/apis").await.expect(200), cluster.get_as("/apis", accept).await);
        let aggregated = aggregated.expect(200);
        let text = aggregated.to_string();
        let groups = ["middle", "first", "last", "also"].map(|name| format!("{name}.example.com"));
        if groups.iter().all(|group| text.contains(group)) && !text.contains("Stale") {
            break (legacy, aggregated);
        }
        assert!(tokio::time::Instant::now() < deadline, "{aggregated}");
        tokio::task::yield_now().await;
    };
    let legacy = legacy["groups"].as_array().expect("groups").clone();
    let aggregated = aggregated["items"].as_array().expect("groups").clone();
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let versions = |group: &Value| group["versions"].as_array().expect("versions").clone();
    let versions = |group: &Value| versions(group).iter().map(|row| text(&row["version"])).collect::<Vec<_>>();
    let of_legacy: Vec<_> = legacy.iter().map(|group| (text(&group["name"]), versions(group))).collect();
    let of_aggregated: Vec<_> =
        aggregated.iter().map(|group| (text(&group["metadata"]["name"]), versions(group))).collect();
    assert_eq!(of_legacy, of_aggregated);
    let names: Vec<&str> = of_legacy.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names[..3], ["apiregistration.k8s.io", "first.example.com", "apps"]);
    let end = &names[names.len() - 4..];
    assert_eq!(end, ["middle.example.com", GROUP, "also.example.com", "last.example.com"]);
    assert_eq!(of_legacy.last().expect("it is there").1, ["v1beta1", "v2", "v1"]);
    let last = legacy.last().expect("it is there");
    assert_eq!(last["preferredVersion"], json!({"groupVersion": "last.example.com/v1beta1", "version": "v1beta1"}));
    let group = cluster.get("/apis/last.example.com").await.expect(200);
    assert_eq!((&group["kind"], &group["versions"]), (&json!("APIGroup"), &last["versions"]));
    cluster.get("/apis/last.example.com/v2/flunders").await.expect(200);
}

/// OpenAPI tells what the extension API server says of itself, and of nobody else, and follows what it says.
#[tokio::test]
async fn descriptions_are_merged_and_renewed() {
    const NAME: &str = "com.example.wardle.v1.Flunder";
    const KEY: &str = "apis/wardle.example.com/v1";
    let Some((cluster, extension)) = aggregated().await else { return };
    let url = |index: &Value| index["paths"][KEY]["serverRelativeURL"].as_str().map(str::to_owned);
    let index = cluster.until("/openapi/v3", "document", |index| url(index).is_some()).await;
    let first = url(&index).expect("it is there");
    let document = cluster.get(&first).await.expect(200);
    assert_eq!(document["components"]["schemas"][NAME]["description"], "a flunder");
    assert_eq!(document["paths"].as_object().map(serde_json::Map::len), Some(1));
    let merged = cluster.get("/openapi/v2").await.expect(200);
    assert_eq!(merged["definitions"][NAME]["description"], "a flunder");
    let reference = &merged["paths"]["/apis/wardle.example.com/v1/flunders"]["get"]["responses"]["200"]["schema"];
    assert_eq!(reference["$ref"], format!("#/definitions/{NAME}"));
    // What it says of others is not believed.
    let pods = &merged["paths"]["/api/v1/pods"]["get"]["responses"]["200"]["schema"]["$ref"];
    assert_eq!(pods, "#/definitions/io.k8s.api.core.v1.PodList");

    extension.says().described = "a flunder, described anew";
    // A change of what it is asked by has it asked again.
    let patch = json!({"spec": {"service": {"port": 444}}});
    let ports = json!({"spec": {"ports": [
        {"name": "https", "port": 444, "targetPort": extension.address.port()},
    ]}});
    cluster.patch("/api/v1/namespaces/default/services/wardle", MERGE, ports).await.expect(200);
    cluster.patch(API_SERVICE, MERGE, patch).await.expect(200);
    let changed = |index: &Value| url(index).is_some_and(|url| url != first);
    let index = cluster.until("/openapi/v3", "other document", changed).await;
    let document = cluster.get(&url(&index).expect("it is there")).await.expect(200);
    assert_eq!(document["components"]["schemas"][NAME]["description"], "a flunder, described anew");
    let merged = cluster.get("/openapi/v2").await.expect(200);
    assert_eq!(merged["definitions"][NAME]["description"], "a flunder, described anew");

    cluster.delete(API_SERVICE).await.expect(200);
    cluster.until("/openapi/v3", "index without it", |index| url(index).is_none()).await;
    let merged = cluster.get("/openapi/v2").await.expect(200);
    assert_eq!(merged["definitions"].get(NAME), None);
    assert!(merged["paths"].get("/apis/wardle.example.com/v1/flunders").is_none());
}

#[tokio::test]
async fn only_whoever_its_apiservice_names_is_believed() {
    let Some(address) = own_address() else { return eprintln!("SKIPPED: only the loopback interface has an address") };
    let cluster = Cluster::start().await;
    let extension = Extension::start(&cluster, address).await;
    extension.expose(&cluster).await;
    let other = Extension::start(&cluster, address).await;
    // A bundle of another authority, and none, which means those that the machine trusts.
    cluster.post(API_SERVICES, other.api_service(GROUP, "v1")).await.expect(201);
    let why = until_reason(&cluster, "FailedDiscoveryCheck").await;
    assert!(why.contains("tls: "), "{why}");
    cluster.get(FLUNDERS).await.expect(503);
    let set = async |insecure: Value, bundle: Value, status: u16| {
        let patch = json!({"spec": {"insecureSkipTLSVerify": insecure, "caBundle": bundle}});
        cluster.patch(API_SERVICE, MERGE, patch).await.expect(status)
    };
    set(true.into(), Value::Null, 200).await;
    until_reason(&cluster, "Passed").await;
    cluster.get(FLUNDERS).await.expect(200);
    set(false.into(), Value::Null, 200).await;
    until_reason(&cluster, "FailedDiscoveryCheck").await;
    let own = extension.api_service(GROUP, "v1")["spec"]["caBundle"].take();
    let refused = set(true.into(), own.clone(), 422).await;
    let cause = &refused["details"]["causes"][0];
    assert_eq!(cause["field"], "spec.insecureSkipTLSVerify");
    assert_eq!(cause["message"], "Invalid value: true: may not be true if caBundle is present");
    set(false.into(), own, 200).await;
    until_reason(&cluster, "Passed").await;
    cluster.get(FLUNDERS).await.expect(200);
}

#[tokio::test]
async fn groups_of_this_server_have_apiservices_too() {
    let cluster = Cluster::start().await;
    let apps = cluster.eventually(&format!("{API_SERVICES}/v1.apps")).await;
    assert_eq!(
        apps["spec"],
        json!({"group": "apps", "version": "v1", "groupPriorityMinimum": 17800, "versionPriority": 15})
    );
    assert_eq!(apps["status"]["conditions"][0]["reason"], "Local");
    // They are made in the order of their groups.
    cluster.get(&format!("{API_SERVICES}/v1.apiregistration.k8s.io")).await.expect(404);
    let trust = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
    let trust = cluster.eventually(trust).await;
    assert_eq!(trust["data"]["requestheader-allowed-names"], "[\"front-proxy-client\"]");
}
