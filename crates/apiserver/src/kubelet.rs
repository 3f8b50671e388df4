//! Requests that a pod's node answers: logs, exec, attach and port forwarding are tunnelled to its kubelet.
//!
//! What the client and the container's streaming server say to each other (WebSocket, SPDY) passes unread.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use api::status::Status;
use http::header::{CONNECTION, HeaderMap, HeaderValue, UPGRADE};
use http::uri::PathAndQuery;
use http::{Request, Response, StatusCode, Uri};
use hyper::client::conn::http1;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::http::body::{self, Body};
use crate::http::request_info::{Query, ResourceRequest};
use crate::pipeline::Core;
use crate::registry::{ReadVersion, Scope};

/// The port of kubelets that do not report one.
const DEFAULT_PORT: u16 = 10250;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Forwards requests to kubelets.
pub(crate) struct KubeletProxy {
    tls: TlsConnector,
}

/// Where a request goes.
#[derive(Debug, PartialEq, Eq)]
struct Destination {
    node: String,
    path: String,
}

impl KubeletProxy {
    pub(crate) fn new(
        client: &pki::KeyPairPem,
        ca: &CertificateDer<'static>,
        verify: bool,
    ) -> Result<Self, crate::edge::TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let certificates = CertificateDer::pem_slice_iter(client.certificate.as_bytes()).collect::<Result<_, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(client.key.as_bytes())?;
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let builder = match verify {
            true => {
                let mut roots = RootCertStore::empty();
                roots.add(ca.clone())?;
                builder.with_root_certificates(roots)
            }
            // A kubelet that made its own certificate cannot be told from another, as with upstream's default.
            false => builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyServer { algorithms })),
        };
        let config = builder.with_client_auth_cert(certificates, key)?;
        Ok(Self { tls: TlsConnector::from(Arc::new(config)) })
    }

    /// Sends a request on to the kubelet of the pod's node and its answer back.
    pub(crate) async fn forward(
        &self,
        core: &Arc<Core>,
        target: &ResourceRequest,
        request: Request<Body>,
    ) -> Result<Response<Body>, Status> {
        let resource = api::kinds::find("", "v1", "pods").ok_or_else(Status::no_such_resource)?;
        let scope = Scope { resource, namespace: target.namespace.as_deref() };
        let name = target.name.as_deref().ok_or_else(Status::no_such_resource)?;
        let pod = core.registry.get(scope, name, ReadVersion::Latest).await?.value();
        let subresource = target.subresource.as_deref().unwrap_or_default();
        let query = Query::parse(request.uri().query());
        let destination = destination(&pod, subresource, &query, request.uri().query())?;
        let (address, port) = kubelet_address(core, &destination.node)?;
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, self.connect(address, port)).await;
        let unreachable =
            |err: String| Status::unclassified(format!("Get \"https://{address}:{port}{}\": {err}", destination.path));
        let (mut sender, connection) = match connected {
            Err(_) => return Err(unreachable("dial tcp: i/o timeout".to_owned())),
            Ok(Err(err)) => return Err(unreachable(err)),
            Ok(Ok(connected)) => connected,
        };
        // The connection lives as long as the tunnel or body that uses it; its end is theirs.
        let drain = core.registry.drain.clone();
        let driver: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(async move {
            let _ = drain.until(connection.with_upgrades()).await;
        });
        core.background.lock().await.spawn("kubelet connection", driver);
        let (outgoing, client_upgrade) = outgoing(request, &destination.path, address, port)?;
        let answer = sender.send_request(outgoing).await.map_err(|err| unreachable(err.to_string()))?;
        Ok(answered(core, answer, client_upgrade).await)
    }

    async fn connect(
        &self,
        address: IpAddr,
        port: u16,
    ) -> Result<
        (http1::SendRequest<Body>, http1::Connection<TokioIo<tokio_rustls::client::TlsStream<TcpStream>>, Body>),
        String,
    > {
        let stream = TcpStream::connect((address, port)).await.map_err(|err| format!("dial tcp: {err}"))?;
        let _ = stream.set_nodelay(true);
        let stream = self.tls.connect(ServerName::from(address), stream).await.map_err(|err| format!("tls: {err}"))?;
        http1::handshake(TokioIo::new(stream)).await.map_err(|err| err.to_string())
    }
}

/// The kubelet's path for a subresource of a pod.
fn destination(pod: &Value, subresource: &str, query: &Query, raw: Option<&str>) -> Result<Destination, Status> {
    let name = api::meta::name(pod);
    let namespace = api::meta::namespace(pod).unwrap_or_default();
    let node = pod.pointer("/spec/nodeName").and_then(Value::as_str).unwrap_or_default();
    if subresource == "portforward" {
        return located(node, name, subresource, format!("/portForward/{namespace}/{name}{}", with_query(raw, None)));
    }
    let container = container(pod, query.get("container").unwrap_or_default())?;
    let verb = if subresource == "log" { "containerLogs" } else { subresource };
    let query = with_query(raw, Some("container"));
    located(node, name, subresource, format!("/{verb}/{namespace}/{name}/{container}{query}"))
}

fn located(node: &str, pod: &str, subresource: &str, path: String) -> Result<Destination, Status> {
    if node.is_empty() {
        return match subresource {
            // Nothing was logged yet.
            "log" => Err(Status::bad_request(format!("pod {pod} does not have a host assigned"))),
            _ => Err(Status::bad_request(format!("pod {pod} does not have a host assigned"))),
        };
    }
    Ok(Destination { node: node.to_owned(), path })
}

/// The query without one parameter.
fn with_query(raw: Option<&str>, without: Option<&str>) -> String {
    let kept: Vec<&str> = raw
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
        .filter(|pair| without.is_none_or(|name| pair.split('=').next() != Some(name)))
        .collect();
    if kept.is_empty() { String::new() } else { format!("?{}", kept.join("&")) }
}

/// The container that is meant: the one named, the one that an annotation names, or the first.
fn container(pod: &Value, named: &str) -> Result<String, Status> {
    let names = |field: &str| -> Vec<String> {
        let list = pod.pointer(&format!("/spec/{field}")).and_then(Value::as_array).into_iter().flatten();
        list.filter_map(|container| container["name"].as_str()).map(str::to_owned).collect()
    };
    let containers = names("containers");
    let all: Vec<String> =
        [containers.clone(), names("initContainers"), names("ephemeralContainers")].into_iter().flatten().collect();
    let pod_name = api::meta::name(pod);
    if named.is_empty() {
        if let [only] = containers.as_slice() {
            return Ok(only.clone());
        }
        let annotated = api::meta::annotation(pod, "kubectl.kubernetes.io/default-container");
        if let Some(annotated) = annotated.filter(|name| all.iter().any(|each| each == name)) {
            return Ok(annotated.to_owned());
        }
        return Err(Status::bad_request(format!(
            "a container name must be specified for pod {pod_name}, choose one of: [{}]",
            containers.join(" ")
        )));
    }
    if all.iter().any(|each| each == named) {
        return Ok(named.to_owned());
    }
    Err(Status::bad_request(format!("container {named} is not valid for pod {pod_name}")))
}

/// Where a node's kubelet listens, from its status.
fn kubelet_address(core: &Core, node: &str) -> Result<(IpAddr, u16), Status> {
    let found = core.registry.cached_by("", "v1", "nodes", None, node);
    let node = found.ok_or_else(|| Status::not_found("", "nodes", node))?.value();
    let addresses = node.pointer("/status/addresses").and_then(Value::as_array).cloned().unwrap_or_default();
    let of_type = |wanted: &str| {
        addresses.iter().find(|a| a["type"] == wanted).and_then(|a| a["address"].as_str()?.parse::<IpAddr>().ok())
    };
    let address = of_type("InternalIP").or_else(|| of_type("ExternalIP"));
    let address = address.ok_or_else(|| {
        Status::unclassified(format!("no preferred addresses found for node {}", api::meta::name(&node)))
    })?;
    let port = node.pointer("/status/daemonEndpoints/kubeletEndpoint/Port").and_then(Value::as_u64);
    let port = port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0).unwrap_or(DEFAULT_PORT);
    Ok((address, port))
}

/// Headers that say who the client is to this server, which the kubelet must not see.
const PRIVATE_HEADERS: [&str; 2] = ["authorization", "cookie"];

/// The request for the kubelet, and the client's side of an upgrade.
fn outgoing(
    mut request: Request<Body>,
    path: &str,
    address: IpAddr,
    port: u16,
) -> Result<(Request<Body>, Option<OnUpgrade>), Status> {
    let upgrade = request.headers().get(UPGRADE).cloned();
    let client = upgrade.is_some().then(|| hyper::upgrade::on(&mut request));
    let path: PathAndQuery = path.parse().map_err(|_| Status::bad_request("the request's path cannot be forwarded"))?;
    let (mut parts, body) = request.into_parts();
    parts.uri = Uri::from(path);
    parts.version = http::Version::HTTP_11;
    parts.extensions = http::Extensions::new();
    drop_hop_headers(&mut parts.headers);
    for name in PRIVATE_HEADERS {
        parts.headers.remove(name);
    }
    let host = std::net::SocketAddr::new(address, port).to_string();
    parts.headers.insert(http::header::HOST, HeaderValue::try_from(host).map_err(Status::internal)?);
    if let Some(upgrade) = upgrade {
        parts.headers.insert(UPGRADE, upgrade);
        parts.headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        // Whatever comes behind the head of an upgrade belongs to the other protocol.
        return Ok((Request::from_parts(parts, body::empty()), client));
    }
    Ok((Request::from_parts(parts, body), None))
}

fn drop_hop_headers(headers: &mut HeaderMap) {
    for name in ["connection", "upgrade", "keep-alive", "te", "trailer", "transfer-encoding", "proxy-connection"] {
        headers.remove(name);
    }
}

/// The kubelet's answer for the client; after an upgrade both sides are joined.
async fn answered(
    core: &Arc<Core>,
    mut answer: Response<hyper::body::Incoming>,
    client: Option<OnUpgrade>,
) -> Response<Body> {
    let is_upgraded = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
    let Some(client) = client.filter(|_| is_upgraded) else {
        let (mut parts, body) = answer.into_parts();
        drop_hop_headers(&mut parts.headers);
        return Response::from_parts(parts, body::boxed(body));
    };
    let kubelet = hyper::upgrade::on(&mut answer);
    let drain = core.registry.drain.clone();
    let tunnel = async move {
        let joined = async {
            let (Ok(client), Ok(kubelet)) = (client.await, kubelet.await) else { return };
            let (mut client, mut kubelet) = (TokioIo::new(client), TokioIo::new(kubelet));
            // Either side may close at any time; there is nobody left to tell.
            let _ = tokio::io::copy_bidirectional(&mut client, &mut kubelet).await;
        };
        let _ = drain.until(joined).await;
    };
    core.background.lock().await.spawn("kubelet tunnel", tunnel);
    let (parts, _) = answer.into_parts();
    Response::from_parts(parts, body::empty())
}

/// Takes any kubelet's certificate, and checks that it has the key.
#[derive(Debug)]
struct AnyServer {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
