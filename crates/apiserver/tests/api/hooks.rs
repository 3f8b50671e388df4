//! A webhook that runs in the test: a TLS server that answers reviews as it is told.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use tokio::net::TcpListener;

/// What the webhook says to a review: a status and a body.
pub type Said = (u16, Bytes);

type Answer = dyn Fn(Value) -> BoxFuture<'static, Said> + Send + Sync;

/// A TLS server that runs as long as this lives.
pub struct TlsServer {
    pub address: SocketAddr,
    /// The authority of its certificate.
    pub ca_pem: String,
    /// How many connections were opened.
    pub connections: Arc<AtomicUsize>,
    /// For files beside it.
    pub dir: tempfile::TempDir,
    _tasks: base::Tasks,
}

impl TlsServer {
    /// A server at an address of this machine, or as the service `hooks` of the namespace `default`.
    pub async fn start<F, B>(ip: IpAddr, serve: impl Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Response<B>, hyper::Error>> + Send + 'static,
        B: http_body::Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
    {
        Self::start_at(&base::Env::system(), ip, serve).await
    }

    /// The same with a certificate of another time than now.
    pub async fn start_at<F, B>(
        env: &base::Env,
        ip: IpAddr,
        serve: impl Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Response<B>, hyper::Error>> + Send + 'static,
        B: http_body::Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
    {
        let dir = tempfile::tempdir().expect("a directory");
        pki::Authority::load_or_create(dir.path(), "ca", &base::Env::system()).expect("an authority");
        let authority = pki::Authority::load_or_create(dir.path(), "ca", env).expect("an authority");
        let request = pki::IssueRequest {
            common_name: "webhook".to_owned(),
            organizations: Vec::new(),
            dns_names: vec!["hooks.default.svc".to_owned()],
            ips: vec![ip],
            usage: pki::Usage::Server,
            validity: std::time::Duration::from_secs(3600),
        };
        let pair = authority.issue(&request).expect("a certificate");
        let certificates = CertificateDer::pem_slice_iter(pair.certificate.as_bytes());
        let certificates = certificates.collect::<Result<Vec<_>, _>>().expect("certificates");
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_client_cert_verifier(Arc::new(pki::AnyPeer))
            .with_single_cert(certificates, key)
            .expect("a configuration");
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind((ip, 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let connections = Arc::new(AtomicUsize::new(0));
        let opened = connections.clone();
        let mut tasks = base::Tasks::new();
        tasks.spawn("server of a test", async move {
            let mut serving = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(stream) = acceptor.accept(stream).await else { continue };
                opened.fetch_add(1, Ordering::SeqCst);
                let caller = stream.get_ref().1.peer_certificates().and_then(|shown| pki_name(shown.first()?));
                let serve = serve.clone();
                let service = service_fn(move |mut request: Request<Incoming>| {
                    request.extensions_mut().insert(Caller(caller.clone()));
                    serve(request)
                });
                serving.spawn(async move {
                    // A client that goes away ends it.
                    let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { address, ca_pem: authority.certificate_pem(), connections, dir, _tasks: tasks }
    }
}

/// Whose certificate a client has shown, as an extension of its requests.
#[derive(Clone)]
pub struct Caller(pub Option<String>);

fn pki_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let name = parsed.subject().iter_common_name().next()?.as_str().ok()?;
    Some(name.to_owned())
}

/// As whom a webhook was asked: by the header `Authorization`, and by a certificate.
pub type Credentials = (Option<String>, Option<String>);

/// A webhook that runs as long as this lives.
pub struct Hook {
    pub url: String,
    pub ca_bundle: String,
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Value>>>,
    callers: Arc<Mutex<Vec<Credentials>>>,
    server: TlsServer,
}

impl Hook {
    /// A webhook on the loopback that answers at once.
    pub async fn start(answer: impl Fn(&Value) -> Value + Send + Sync + 'static) -> Self {
        Self::start_with(Ipv4Addr::LOCALHOST.into(), move |review| {
            let said = (200, Bytes::from(answer(&review).to_string()));
            Box::pin(std::future::ready(said))
        })
        .await
    }

    /// A webhook at an address of this machine, or as the service `hooks` of the namespace `default`.
    pub async fn start_with(
        ip: IpAddr,
        answer: impl Fn(Value) -> BoxFuture<'static, Said> + Send + Sync + 'static,
    ) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let callers = Arc::new(Mutex::new(Vec::new()));
        let (reviews, answer): (_, Arc<Answer>) = (seen.clone(), Arc::new(answer));
        let noted = callers.clone();
        let server = TlsServer::start(ip, move |request| {
            let header = request.headers().get(http::header::AUTHORIZATION);
            let header = header.and_then(|value| value.to_str().ok()).map(str::to_owned);
            let name = request.extensions().get::<Caller>().and_then(|caller| caller.0.clone());
            noted.lock().expect("nobody panicked").push((header, name));
            reply(request, answer.clone(), reviews.clone())
        })
        .await;
        let ca_bundle = BASE64_STANDARD.encode(&server.ca_pem);
        let url = format!("https://{}/hook", server.address);
        Self { url, ca_bundle, address: server.address, seen, callers, server }
    }

    /// The reviews until now.
    pub fn seen(&self) -> Vec<Value> {
        self.seen.lock().expect("nobody panicked").clone()
    }

    /// As whom it was asked until now.
    pub fn callers(&self) -> Vec<Credentials> {
        self.callers.lock().expect("nobody panicked").clone()
    }

    /// How many connections were opened.
    pub fn connections(&self) -> usize {
        self.server.connections.load(Ordering::SeqCst)
    }
}

async fn reply(
    request: Request<Incoming>,
    answer: Arc<Answer>,
    reviews: Arc<Mutex<Vec<Value>>>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let body = request.into_body().collect().await?.to_bytes();
    let review: Value = serde_json::from_slice(&body).expect("a review");
    reviews.lock().expect("nobody panicked").push(review.clone());
    let (status, body) = answer(review).await;
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = http::StatusCode::from_u16(status).expect("a status");
    Ok(response)
}
