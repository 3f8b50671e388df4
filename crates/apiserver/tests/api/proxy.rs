//! `proxy` of pods, services and nodes, to a server of the test's own.

use std::convert::Infallible;
use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::{Cluster, own_address};

async fn answer(mut request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let response = Response::builder();
    let body = |text: &str| Full::new(Bytes::from(text.to_owned()));
    let response = match request.uri().path() {
        "/page" => response.header("Content-Type", "text/html; charset=utf-8").body(body("<a href='/next'>next</a>")),
        "/moved" => response.status(302).header("Location", "/elsewhere?a=b").body(body("")),
        "/fails" => response.status(418).header("Access-Control-Allow-Origin", "*").body(body("no coffee")),
        "/echo" if request.headers().contains_key("upgrade") => {
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let mut io = TokioIo::new(upgrade.await.expect("upgraded"));
                let mut text = [0; 5];
                io.read_exact(&mut text).await.expect("read");
                io.write_all(&text).await.expect("written");
            });
            response.status(101).header("Connection", "Upgrade").header("Upgrade", "echo").body(body(""))
        }
        _ => {
            let headers =
                |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
            let mut seen = json!({
                "method": request.method().as_str(), "uri": request.uri().to_string(), "host": headers("host"),
                "forwarded": headers("x-forwarded-uri"), "authorization": headers("authorization"),
                "cookie": headers("cookie"),
            });
            let sent = request.into_body().collect().await.expect("a body").to_bytes();
            seen["body"] = String::from_utf8_lossy(&sent).into_owned().into();
            response.header("Content-Type", "application/json").body(body(&seen.to_string()))
        }
    };
    Ok(response.expect("an answer"))
}

/// Serves on a free port of `address`.
async fn backend(address: IpAddr) -> u16 {
    let listener = TcpListener::bind((address, 0)).await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = hyper::service::service_fn(answer);
            let serving = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::spawn(serving.with_upgrades());
        }
    });
    port
}

/// A pod, two services and a node whose address is `address`.
async fn cluster(address: IpAddr, port: u16) -> Cluster {
    let cluster = Cluster::start().await;
    let ns = "/api/v1/namespaces/default";
    let account = json!({"metadata": {"name": "default"}});
    cluster.post(&format!("{ns}/serviceaccounts"), account).await.expect(201);
    let ports = json!([{"containerPort": port}]);
    let pod =
        json!({"metadata": {"name": "web"}, "spec": {"containers": [{"name": "c", "image": "i", "ports": ports}]}});
    cluster.post(&format!("{ns}/pods"), pod).await.expect(201);
    let status = json!({"status": {"podIP": address, "podIPs": [{"ip": address}]}});
    let merge = "application/merge-patch+json";
    cluster.patch(&format!("{ns}/pods/web/status"), merge, status).await.expect(200);
    for name in ["web", "empty"] {
        let spec = json!({"ports": [{"name": "http", "port": 80, "targetPort": port}]});
        cluster.post(&format!("{ns}/services"), json!({"metadata": {"name": name}, "spec": spec})).await.expect(201);
    }
    let target = json!({"kind": "Pod", "namespace": "default", "name": "web"});
    // What is not of a pod is never led to.
    let addresses = json!([{"ip": address, "targetRef": target}, {"ip": "203.0.113.1"}]);
    let subsets = json!([{"addresses": addresses, "ports": [{"name": "http", "port": port}]}]);
    for (name, subsets) in [("web", subsets), ("empty", json!([]))] {
        let endpoints = json!({"metadata": {"name": name}, "subsets": subsets});
        cluster.post(&format!("{ns}/endpoints"), endpoints).await.expect(201);
    }
    cluster.post("/api/v1/nodes", json!({"metadata": {"name": "n"}})).await.expect(201);
    let status = json!({"status": {"addresses": [{"type": "InternalIP", "address": address}]}});
    cluster.patch("/api/v1/nodes/n/status", merge, status).await.expect(200);
    cluster
}

const POD: &str = "/api/v1/namespaces/default/pods/web/proxy";
const SERVICES: &str = "/api/v1/namespaces/default/services";

async fn ask(cluster: &Cluster, method: &str, path: &str) -> (u16, HeaderMap, String) {
    let headers = [("Cookie", "a=b"), ("Host", "api.example"), ("Authorization", "Bearer x")];
    let (parts, body) = cluster.request(method, path, &headers, "sent").await.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    (parts.status.as_u16(), parts.headers, String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test]
async fn any_request_reaches_a_pod_a_service_and_a_node() {
    let Some(address) = own_address() else { return eprintln!("SKIPPED: only the loopback interface has an address") };
    let port = backend(address).await;
    let cluster = cluster(address, port).await;
    let places = [
        POD.to_owned(),
        format!("/api/v1/namespaces/default/pods/web:{port}/proxy"),
        format!("/api/v1/namespaces/default/pods/http:web:{port}/proxy"),
        format!("{SERVICES}/web:http/proxy"),
        format!("{SERVICES}/web:80/proxy"),
        format!("/api/v1/nodes/n:{port}/proxy"),
    ];
    for place in places {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            let (status, _, body) = ask(&cluster, method, &format!("{place}/a%2Fb/c/?q=1&q=2")).await;
            let seen: Value = serde_json::from_str(&body).unwrap_or_else(|_| panic!("{method} {place}: {body}"));
            assert_eq!(status, 200);
            let expected = json!({
                "method": method, "uri": "/a%2Fb/c/?q=1&q=2", "host": "api.example", "body": "sent", "cookie": "a=b",
                "forwarded": format!("{place}/a%2Fb/c/"), "authorization": null,
            });
            assert_eq!(seen, expected);
        }
    }
    let (status, headers, _) = ask(&cluster, "GET", &format!("{POD}?x=y")).await;
    assert_eq!(status, 301);
    assert_eq!(headers["location"], format!("{POD}/?x=y"));
    let (status, headers, _) = ask(&cluster, "GET", &format!("{POD}/moved")).await;
    assert_eq!(status, 302);
    assert_eq!(headers["location"], format!("{POD}/elsewhere?a=b"));
    let (_, _, page) = ask(&cluster, "GET", &format!("{POD}/page")).await;
    assert_eq!(page, format!("<a href='{POD}/next'>next</a>"));
    let (status, headers, text) = ask(&cluster, "GET", &format!("{POD}/fails")).await;
    assert_eq!((status, text.as_str(), headers.get("access-control-allow-origin")), (418, "no coffee", None));
}

#[tokio::test]
async fn what_cannot_be_reached_says_why() {
    let Some(address) = own_address() else { return eprintln!("SKIPPED: only the loopback interface has an address") };
    let port = backend(address).await;
    let cluster = cluster(address, port).await;
    let check = async |path: String, code: u16, reason: &str, message: &str| {
        let status = cluster.get(&path).await.expect(code);
        assert_eq!(status["reason"], reason, "{path}: {status}");
        let found = status["message"].as_str().unwrap_or_default();
        assert!(found.contains(message), "{path}: {status}");
    };
    let unavailable = "ServiceUnavailable";
    check(format!("{SERVICES}/empty:http/proxy/"), 503, unavailable, "no endpoints available for service \"empty\"")
        .await;
    check(format!("{SERVICES}/web/proxy/"), 503, unavailable, "no endpoints available for service \"web\"").await;
    check(format!("{SERVICES}/web:81/proxy/"), 503, unavailable, "no service port 81 found for service \"web\"").await;
    check(format!("{SERVICES}/none:80/proxy/"), 404, "NotFound", "services \"none\" not found").await;
    check(format!("{SERVICES}/none/proxy/"), 404, "NotFound", "endpoints \"none\" not found").await;
    check(format!("{SERVICES}/a:b:c/proxy/"), 400, "BadRequest", "invalid service request \"a:b:c\"").await;
    check(format!("{SERVICES}/a:b:c:d/proxy/"), 400, "BadRequest", "invalid service request").await;
    let refused = "/api/v1/namespaces/default/pods/web:1/proxy/".to_owned();
    check(
        refused,
        503,
        unavailable,
        &format!("error trying to reach service: dial tcp {address}:1: connect: connection refused"),
    )
    .await;
    check("/api/v1/nodes/none/proxy/".to_owned(), 404, "NotFound", "nodes \"none\" not found").await;
    let merge = "application/merge-patch+json";
    let status = json!({"status": {"podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}});
    cluster.patch("/api/v1/namespaces/default/pods/web/status", merge, status).await.expect(200);
    check(format!("{POD}/"), 400, "BadRequest", "address not allowed").await;
}

#[tokio::test]
async fn a_switched_connection_is_passed_through() {
    let Some(address) = own_address() else { return eprintln!("SKIPPED: only the loopback interface has an address") };
    let port = backend(address).await;
    let cluster = cluster(address, port).await;
    let mut stream = cluster.connect("admin", &["system:masters"]).await;
    let head = format!("GET {POD}/echo HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("written");
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        seen.push(stream.read_u8().await.expect("an answer"));
    }
    let head = String::from_utf8_lossy(&seen).to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101 ") && head.contains("upgrade: echo"), "{head}");
    stream.write_all(b"hello").await.expect("written");
    let mut text = [0; 5];
    stream.read_exact(&mut text).await.expect("read");
    assert_eq!(&text, b"hello");
}

#[tokio::test]
async fn logs_and_streams_of_pods_without_a_node() {
    let cluster = Cluster::start().await;
    let ns = "/api/v1/namespaces/default";
    cluster.post(&format!("{ns}/serviceaccounts"), json!({"metadata": {"name": "default"}})).await.expect(201);
    let containers = json!([{"name": "a", "image": "i"}, {"name": "b", "image": "i"}]);
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": containers}});
    cluster.post(&format!("{ns}/pods"), pod).await.expect(201);
    assert_eq!(cluster.get(&format!("{ns}/pods/p/log?container=a")).await.expect(200), "");
    let check = async |path: &str, code: u16, message: &str| {
        let status = cluster.get(&format!("{ns}/pods/p/{path}")).await.expect(code);
        assert_eq!(status["message"], message, "{path}");
    };
    let choose = "a container name must be specified for pod p, choose one of: [a b]";
    check("log", 400, choose).await;
    check("log?container=c", 400, "container c is not valid for pod p").await;
    let negative = "PodLogOptions \"p\" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0";
    check("log?container=a&tailLines=-1", 422, negative).await;
    check("exec?command=x", 400, choose).await;
    check("attach?container=a", 400, "pod p does not have a host assigned").await;
    cluster.put(&format!("{ns}/pods/p/exec"), json!({})).await.expect(405);
}
