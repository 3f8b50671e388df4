//! An extension API server of a test's own. It believes as upstream's library does: only whoever shows a certificate that
//! the ConfigMap `extension-apiserver-authentication` speaks of, and what that says of who asks.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use base::{Env, Tasks};
use base64::Engine;
use bytes::Bytes;
use futures::StreamExt;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::support::Cluster;

/// What it says, which a test may change.
#[derive(Clone)]
pub struct Says {
    /// What a flunder is.
    pub described: &'static str,
    /// How it answers discovery.
    pub status: u16,
}

/// A running extension API server.
pub struct Extension {
    pub address: SocketAddr,
    /// Its authority, as PEM.
    pub ca_pem: String,
    /// How many connections it has accepted.
    pub connections: Arc<AtomicUsize>,
    shared: Arc<Shared>,
    _tasks: Tasks,
}

struct Shared {
    says: Mutex<Says>,
    /// Watches that are open.
    watches: Mutex<Vec<mpsc::Sender<Bytes>>>,
    /// Whom it believes.
    allowed_names: Vec<String>,
}

/// Discovery, OpenAPI and what it answers to the rest.
type Answer = Response<BoxBody<Bytes, Infallible>>;

impl Extension {
    /// One that believes what the cluster's ConfigMap says, at an address of this machine, as the service `wardle`.
    pub async fn start(cluster: &Cluster, ip: IpAddr) -> Self {
        let trust = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
        let trust = cluster.eventually(trust).await["data"].take();
        let list = |field: &str| trust[field].as_str().and_then(|text| serde_json::from_str(text).ok());
        let dir = tempfile::tempdir().expect("a directory");
        let authority = pki::Authority::load_or_create(dir.path(), "ca", &Env::system()).expect("an authority");
        let acceptor = TlsAcceptor::from(Arc::new(tls(&authority, text(&trust["requestheader-client-ca-file"]))));
        let listener = TcpListener::bind((ip, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let says = Says { described: "a flunder", status: 200 };
        let shared = Arc::new(Shared {
            says: Mutex::new(says),
            watches: Mutex::default(),
            allowed_names: list("requestheader-allowed-names").expect("a list"),
        });
        let connections = Arc::new(AtomicUsize::new(0));
        let (counter, served) = (connections.clone(), shared.clone());
        let mut tasks = Tasks::new();
        tasks.spawn("an extension API server", async move {
            let mut serving = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::Relaxed);
                serving.spawn(serve(acceptor.clone(), stream, served.clone()));
            }
        });
        Self { address, ca_pem: authority.certificate_pem(), connections, shared, _tasks: tasks }
    }

    pub fn says(&self) -> MutexGuard<'_, Says> {
        self.shared.says.lock().expect("nobody panics with it")
    }

    /// The only watch that is open, to which a test sends events.
    pub fn watch(&self) -> mpsc::Sender<Bytes> {
        let mut watches = self.shared.watches.lock().expect("nobody panics with it");
        assert_eq!(watches.len(), 1);
        watches.remove(0)
    }

    /// Makes the service and the slice that lead to it.
    pub async fn expose(&self, cluster: &Cluster) {
        let port = self.address.port();
        let spec = json!({"ports": [{"name": "https", "port": 443, "targetPort": port}]});
        let service = json!({"metadata": {"name": "wardle"}, "spec": spec});
        cluster.post("/api/v1/namespaces/default/services", service).await.expect(201);
        let slice = json!({
            "metadata": {"name": "wardle-1", "labels": {"kubernetes.io/service-name": "wardle"}}, "addressType": "IPv4",
            "endpoints": [{"addresses": [self.address.ip()]}], "ports": [{"name": "https", "port": port}],
        });
        cluster.post("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", slice).await.expect(201);
    }

    /// An APIService for a group and version that it serves.
    pub fn api_service(&self, group: &str, version: &str) -> Value {
        let bundle = base64::prelude::BASE64_STANDARD.encode(&self.ca_pem);
        json!({
            "metadata": {"name": format!("{version}.{group}")},
            "spec": {
                "group": group, "version": version, "groupPriorityMinimum": 1000, "versionPriority": 15,
                "caBundle": bundle, "service": {"namespace": "default", "name": "wardle", "port": 443},
            },
        })
    }
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

/// TLS with a certificate for the service's name, for clients that have one of the authority in `clients_pem`.
fn tls(authority: &pki::Authority, clients_pem: &str) -> rustls::ServerConfig {
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
    let mut roots = rustls::RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(clients_pem.as_bytes()) {
        roots.add(root.expect("PEM")).expect("an authority");
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
    rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier.build().expect("there are authorities"))
        .with_single_cert(vec![certificate], key)
        .expect("the key fits")
}

async fn serve(acceptor: TlsAcceptor, stream: TcpStream, shared: Arc<Shared>) {
    // Who has no certificate of the authority gets no further.
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let chain = stream.get_ref().1.peer_certificates().expect("it was asked for");
    let (_, shown) = x509_parser::parse_x509_certificate(&chain[0]).expect("it was verified");
    let name = shown.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
    let name = name.expect("it has a name").to_owned();
    let service = hyper::service::service_fn(move |request| {
        let (shared, name) = (shared.clone(), name.clone());
        async move { Ok::<_, Infallible>(answer(request, &shared, &name).await) }
    });
    let builder = hyper::server::conn::http1::Builder::new();
    // The other side closes when it has its answer.
    let _ = builder.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
}

async fn answer(mut request: Request<Incoming>, shared: &Shared, proxy: &str) -> Answer {
    let says = shared.says.lock().expect("nobody panics with it").clone();
    if !shared.allowed_names.iter().any(|name| name == proxy) {
        return document(401, &json!({"message": format!("{proxy} is no front proxy")}));
    }
    let path = request.uri().path().to_owned();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    match segments[..] {
        ["apis", group, version] => return document(says.status, &resources(group, version)),
        ["openapi", "v3"] => {
            let key = "apis/wardle.example.com/v1";
            let url = format!("/openapi/v3/{key}?hash={}", says.described.len());
            return document(200, &json!({"paths": {key: {"serverRelativeURL": url}}}));
        }
        ["openapi", "v3", "apis", ..] => return document(200, &openapi(says.described)),
        _ => {}
    }
    if let Some(protocol) = request.headers().get("upgrade").cloned() {
        return switch(&mut request, protocol.to_str().expect("text"));
    }
    let query = request.uri().query().unwrap_or_default();
    if query.contains("watch") {
        let (sender, receiver) = mpsc::channel(1);
        shared.watches.lock().expect("nobody panics with it").push(sender);
        let frames = futures::stream::unfold(receiver, async |mut events| {
            let event = events.recv().await?;
            Some((Ok::<_, Infallible>(Frame::data(event)), events))
        });
        return Response::new(BoxBody::new(StreamBody::new(frames)));
    }
    if query.contains("elsewhere") {
        let mut moved = document(302, &Value::Null);
        moved.headers_mut().insert("location", "https://elsewhere.example.com/".parse().expect("a value"));
        return moved;
    }
    let query_is_odd = query.contains("teapot");
    let (parts, body) = request.into_parts();
    let sent = body.collect().await.expect("a body").to_bytes();
    let mut headers: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, value) in &parts.headers {
        headers.entry(name.as_str()).or_default().push(value.to_str().expect("text"));
    }
    let seen = json!({
        "method": parts.method.as_str(), "uri": parts.uri.to_string(), "proxy": proxy, "headers": headers,
        "sent": String::from_utf8_lossy(&sent),
    });
    let mut answer = document(if query_is_odd { 418 } else { 200 }, &seen);
    answer.headers_mut().insert("access-control-allow-origin", "*".parse().expect("a value"));
    answer
}

fn document(status: u16, document: &Value) -> Answer {
    let answer = Response::builder().status(status).header("Content-Type", "application/json");
    answer.body(BoxBody::new(Full::new(Bytes::from(document.to_string())))).expect("an answer")
}

fn resources(group: &str, version: &str) -> Value {
    let verbs = json!(["create", "delete", "get", "list", "watch"]);
    let flunders = json!({
        "name": "flunders", "singularName": "flunder", "namespaced": true, "kind": "Flunder", "verbs": verbs,
    });
    json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": format!("{group}/{version}"),
        "resources": [flunders],
    })
}

/// Its OpenAPI document, which describes another server's path too.
fn openapi(described: &str) -> Value {
    let flunder = json!({
        "type": "object", "description": described, "properties": {"spec": {"type": "object"}},
        "x-kubernetes-group-version-kind": [{"group": "wardle.example.com", "version": "v1", "kind": "Flunder"}],
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

/// Speaks another protocol: messages of a WebSocket, or whatever bytes come over another one, go back.
fn switch(request: &mut Request<Incoming>, protocol: &str) -> Answer {
    let mut answer = Response::builder().status(101).header("Connection", "Upgrade").header("Upgrade", protocol);
    if let Some(key) = request.headers().get("sec-websocket-key") {
        answer = answer.header("Sec-WebSocket-Accept", derive_accept_key(key.as_bytes()));
        let spoken = request.headers().get("sec-websocket-protocol").expect("a protocol is asked for");
        answer = answer.header("Sec-WebSocket-Protocol", spoken.clone());
    }
    let is_websocket = request.headers().contains_key("sec-websocket-key");
    let upgrade = hyper::upgrade::on(request);
    tokio::spawn(async move {
        let mut io = TokioIo::new(upgrade.await.expect("switched"));
        if is_websocket {
            let (sink, stream) = WebSocketStream::from_raw_socket(io, Role::Server, None).await.split();
            // It ends when the client closes it.
            let _ = stream.forward(sink).await;
            return;
        }
        let mut bytes = [0; 1024];
        while let Ok(count) = io.read(&mut bytes).await {
            if count == 0 || io.write_all(&bytes[..count]).await.is_err() {
                return;
            }
        }
    });
    answer.body(BoxBody::new(Full::new(Bytes::new()))).expect("an answer")
}
