//! An extension API server of the test's own, behind an APIService.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::Env;
use base64::Engine;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::support::{Cluster, own_address};

const GROUP: &str = "wardle.example.com";
const API_SERVICE: &str = "/apis/apiregistration.k8s.io/v1/apiservices/v1.wardle.example.com";
const FLUNDERS: &str = "/apis/wardle.example.com/v1/namespaces/default/flunders";

/// An extension API server of a test.
struct Extension {
    port: u16,
    /// Its authority, as PEM.
    ca_pem: String,
    /// How many connections it has accepted.
    connections: Arc<AtomicUsize>,
    /// What it says that a flunder is.
    described: Arc<Mutex<&'static str>>,
}

/// Its OpenAPI document, and that of a server that describes other servers' paths.
fn openapi(described: &str) -> Value {
    let flunder = json!({
        "type": "object", "description": described, "properties": {"spec": {"type": "object"}},
        "x-kubernetes-group-version-kind": [{"group": GROUP, "version": "v1", "kind": "Flunder"}],
    });
    let reference = json!({"$ref": "#/components/schemas/com.example.wardle.v1.Flunder"});
    let content = json!({"application/json": {"schema": reference}});
    let get = json!({"get": {"responses": {"200": {"description": "OK", "content": content}}}});
    json!({
        "openapi": "3.0.0", "info": {"title": "wardle", "version": "v1"},
        "paths": {"/apis/wardle.example.com/v1/flunders": get, "/api/v1/pods": get},
        "components": {"schemas": {"com.example.wardle.v1.Flunder": flunder}},
    })
}

/// Answers discovery and OpenAPI, and tells of everything else who asked for what.
async fn answer(request: Request<Incoming>, described: &str) -> Result<Response<Full<Bytes>>, Infallible> {
    let verbs = json!(["create", "delete", "get", "list"]);
    let flunders = json!({
        "name": "flunders", "singularName": "flunder", "namespaced": true, "kind": "Flunder", "verbs": verbs,
    });
    let all = |name: &str| -> Vec<String> {
        let values = request.headers().get_all(name).iter();
        values.filter_map(|value| value.to_str().ok()).map(str::to_owned).collect()
    };
    let document = match request.uri().path() {
        "/apis/wardle.example.com/v1" => json!({
            "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "wardle.example.com/v1",
            "resources": [flunders],
        }),
        "/openapi/v3" => json!({"paths": {
            "apis/wardle.example.com/v1": {"serverRelativeURL": format!("/openapi/v3/apis/wardle?hash={}", described.len())},
        }}),
        "/openapi/v3/apis/wardle" => openapi(described),
        _ => json!({
            "method": request.method().as_str(), "uri": request.uri().to_string(), "user": all("x-remote-user"),
            "groups": all("x-remote-group"), "authorization": all("authorization"),
            "sent": String::from_utf8_lossy(&request.into_body().collect().await.expect("a body").to_bytes()),
        }),
    };
    let response = Response::builder().header("Content-Type", "application/json");
    Ok(response.body(Full::new(Bytes::from(document.to_string()))).expect("an answer"))
}

/// Serves over TLS with a certificate for the Service's name.
async fn extension(address: IpAddr) -> Extension {
    let dir = tempfile::tempdir().expect("a directory");
    let authority = pki::Authority::load_or_create(dir.path(), "ca", &Env::system()).expect("an authority");
    let request = pki::IssueRequest {
        common_name: "wardle".to_owned(),
        organizations: Vec::new(),
        dns_names: vec!["wardle.default.svc".to_owned()],
        ips: Vec::new(),
        usage: pki::Usage::Server,
        validity: Duration::from_secs(3600),
    };
    let pair = authority.issue(&request).expect("a certificate");
    let certificate = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("PEM");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("the key fits");
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind((address, 0)).await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let connections = Arc::new(AtomicUsize::new(0));
    let described = Arc::new(Mutex::new("a flunder"));
    let (counter, says) = (connections.clone(), described.clone());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::Relaxed);
            let (acceptor, says) = (acceptor.clone(), says.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let says = move || *says.lock().expect("nobody panics with it");
                let service = hyper::service::service_fn(move |request| answer(request, says()));
                let builder = hyper::server::conn::http1::Builder::new();
                // The other side closes when it has its answer.
                let _ = builder.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    Extension { port, ca_pem: authority.certificate_pem(), connections, described }
}

fn api_service(ca_pem: &str) -> Value {
    let bundle = base64::prelude::BASE64_STANDARD.encode(ca_pem);
    json!({
        "metadata": {"name": format!("v1.{GROUP}")},
        "spec": {
            "group": GROUP, "version": "v1", "groupPriorityMinimum": 1000, "versionPriority": 15, "caBundle": bundle,
            "service": {"namespace": "default", "name": "wardle", "port": 443},
        },
    })
}

/// Waits for the condition of the APIService to have a reason.
async fn until_reason(cluster: &Cluster, reason: &str) {
    let has_reason = |object: &Value| object["status"]["conditions"][0]["reason"] == reason;
    cluster.until(API_SERVICE, &format!("reason {reason}"), has_reason).await;
}

#[tokio::test]
async fn requests_reach_an_extension_api_server() {
    let Some(address) = own_address() else { return eprintln!("SKIPPED: only the loopback interface has an address") };
    let extension = extension(address).await;
    let (port, ca_pem) = (extension.port, &extension.ca_pem);
    let cluster = Cluster::start().await;
    let created = cluster.post("/apis/apiregistration.k8s.io/v1/apiservices", api_service(ca_pem)).await.expect(201);
    assert_eq!(created["status"], json!({}));
    until_reason(&cluster, "ServiceNotFound").await;
    cluster.get(FLUNDERS).await.expect(503);
    let groups = cluster.get("/apis").await.expect(200);
    assert!(groups["groups"].as_array().expect("groups").iter().any(|group| group["name"] == GROUP), "{groups}");

    let spec = json!({"ports": [{"name": "https", "port": 443, "targetPort": port}]});
    let service = json!({"metadata": {"name": "wardle"}, "spec": spec});
    cluster.post("/api/v1/namespaces/default/services", service).await.expect(201);
    until_reason(&cluster, "EndpointsNotFound").await;
    let slice = json!({
        "metadata": {"name": "wardle-1", "labels": {"kubernetes.io/service-name": "wardle"}}, "addressType": "IPv4",
        "endpoints": [{"addresses": [address]}], "ports": [{"name": "https", "port": port}],
    });
    cluster.post("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", slice).await.expect(201);
    until_reason(&cluster, "Passed").await;

    let found = |list: &Value| list["resources"][0]["name"] == "flunders";
    cluster.until(&format!("/apis/{GROUP}/v1"), "discovery", found).await;
    let seen = cluster.post(&format!("{FLUNDERS}?dryRun=All"), json!({"a": "b"})).await.expect(200);
    let expected = json!({
        "method": "POST", "uri": format!("{FLUNDERS}?dryRun=All"), "user": ["system:admin"],
        "groups": ["system:masters", "system:authenticated"], "authorization": [], "sent": "{\"a\":\"b\"}",
    });
    assert_eq!(seen, expected);
    let before = extension.connections.load(Ordering::Relaxed);
    for _ in 0..10 {
        cluster.get(FLUNDERS).await.expect(200);
    }
    assert!(extension.connections.load(Ordering::Relaxed) < before + 5, "connections are used again");
    is_described(&cluster, &extension).await;

    cluster.delete(API_SERVICE).await.expect(200);
    cluster.until_status(FLUNDERS, 404).await;
}

/// OpenAPI tells what the extension API server says of itself, and of nobody else, and follows what it says.
async fn is_described(cluster: &Cluster, extension: &Extension) {
    const NAME: &str = "com.example.wardle.v1.Flunder";
    const KEY: &str = "apis/wardle.example.com/v1";
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

    *extension.described.lock().expect("nobody panics with it") = "a flunder, described anew";
    // A change of what it is asked by has it asked again.
    let patch = json!({"spec": {"service": {"port": 444}}});
    let merge = "application/merge-patch+json";
    let ports = json!({"spec": {"ports": [
        {"name": "https", "port": 444, "targetPort": extension.port},
    ]}});
    cluster.patch("/api/v1/namespaces/default/services/wardle", merge, ports).await.expect(200);
    cluster.patch(API_SERVICE, merge, patch).await.expect(200);
    let changed = |index: &Value| url(index).is_some_and(|url| url != first);
    let index = cluster.until("/openapi/v3", "other document", changed).await;
    let document = cluster.get(&url(&index).expect("it is there")).await.expect(200);
    assert_eq!(document["components"]["schemas"][NAME]["description"], "a flunder, described anew");
}

#[tokio::test]
async fn a_server_of_another_authority_is_not_believed() {
    let Some(address) = own_address() else { return eprintln!("SKIPPED: only the loopback interface has an address") };
    let Extension { port, .. } = extension(address).await;
    let Extension { ca_pem: other_pem, .. } = extension(address).await;
    let cluster = Cluster::start().await;
    let spec = json!({"ports": [{"port": 443, "targetPort": port}]});
    let service = json!({"metadata": {"name": "wardle"}, "spec": spec});
    cluster.post("/api/v1/namespaces/default/services", service).await.expect(201);
    let slice = json!({
        "metadata": {"name": "wardle-1", "labels": {"kubernetes.io/service-name": "wardle"}}, "addressType": "IPv4",
        "endpoints": [{"addresses": [address]}], "ports": [{"name": "", "port": port}],
    });
    cluster.post("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", slice).await.expect(201);
    cluster.post("/apis/apiregistration.k8s.io/v1/apiservices", api_service(&other_pem)).await.expect(201);
    until_reason(&cluster, "FailedDiscoveryCheck").await;
    cluster.get(FLUNDERS).await.expect(503);
}

#[tokio::test]
async fn groups_of_this_server_have_apiservices_too() {
    let cluster = Cluster::start().await;
    let apps = cluster.eventually("/apis/apiregistration.k8s.io/v1/apiservices/v1.apps").await;
    assert_eq!(
        apps["spec"],
        json!({"group": "apps", "version": "v1", "groupPriorityMinimum": 17800, "versionPriority": 15})
    );
    assert_eq!(apps["status"]["conditions"][0]["reason"], "Local");
    let trust = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
    let trust = cluster.eventually(trust).await;
    assert_eq!(trust["data"]["requestheader-allowed-names"], "[\"front-proxy-client\"]");
}
