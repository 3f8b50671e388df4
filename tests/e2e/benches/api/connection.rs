//! Connections that cost the machine as little as can be, since they share it with the server that is measured: one
//! HTTP/1.1 connection over TLS for each simulated client, with the administrator's certificate.

use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use kube::config::Kubeconfig;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

/// Where the server is and how to speak to it.
#[derive(Clone)]
pub struct Target {
    tls: TlsConnector,
}

/// The server's address inside its machine.
const ADDRESS: &str = "127.0.0.1:6443";

impl Target {
    /// Reads the administrator's kubeconfig.
    pub fn new(kubeconfig: &Path) -> Self {
        let config = Kubeconfig::read_from(kubeconfig).expect("the server wrote its kubeconfig");
        let config = serde_json::to_value(config).expect("it is data");
        let pem = |path: &str| {
            let text = config.pointer(path).and_then(Value::as_str).expect("the kubeconfig holds its certificates");
            base64::prelude::BASE64_STANDARD.decode(text).expect("certificates are encoded")
        };
        let mut roots = RootCertStore::empty();
        let authority = pem("/clusters/0/cluster/certificate-authority-data");
        roots.add(CertificateDer::from_pem_slice(&authority).expect("PEM")).expect("a certificate");
        let certificate = CertificateDer::from_pem_slice(&pem("/users/0/user/client-certificate-data")).expect("PEM");
        let key = PrivateKeyDer::from_pem_slice(&pem("/users/0/user/client-key-data")).expect("PEM");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the defaults fit each other")
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![certificate], key)
            .expect("the key fits its certificate");
        Self { tls: TlsConnector::from(Arc::new(tls)) }
    }

    /// Opens a connection.
    pub async fn connect(&self) -> Connection {
        let stream = TcpStream::connect(ADDRESS).await.expect("the server listens");
        stream.set_nodelay(true).expect("TCP has the option");
        let name = ServerName::try_from("localhost").expect("a name");
        let stream = self.tls.connect(name, stream).await.expect("the server's certificate is good");
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("the server speaks HTTP/1.1");
        let driver = tokio::spawn(async move {
            // It ends with the connection, whichever side closes it.
            let _ = connection.await;
        });
        Connection { sender, driver }
    }
}

/// An open connection. Dropping it closes it.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    /// Sends a request; the answer's head has come.
    pub async fn send(&mut self, method: &str, path: &str, body: Bytes) -> Response<Incoming> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", ADDRESS)
            .header("content-type", "application/json")
            .header("accept", "application/json")
            .body(Full::new(body))
            .expect("a request");
        self.sender.ready().await.expect("the connection is open");
        self.sender.send_request(request).await.expect("the server answers")
    }

    /// Gets a document; what was answered.
    pub async fn read(&mut self, path: &str) -> (StatusCode, Bytes) {
        let response = self.send("GET", path, Bytes::new()).await;
        let status = response.status();
        let body = response.into_body().collect().await.expect("the answer is whole");
        (status, body.to_bytes())
    }

    /// Sends a request and reads the whole answer, which must be a success; how many bytes it had.
    pub async fn call(&mut self, method: &str, path: &str, body: Bytes) -> usize {
        let response = self.send(method, path, body).await;
        let status = response.status();
        let mut body = response.into_body();
        let (mut length, mut kept) = (0, Vec::new());
        while let Some(frame) = body.frame().await {
            let frame = frame.expect("the answer is whole");
            let data = frame.data_ref().expect("no trailers");
            length += data.len();
            if !status.is_success() {
                kept.extend_from_slice(data);
            }
        }
        assert!(status.is_success(), "{method} {path}: {status} {}", String::from_utf8_lossy(&kept));
        length
    }
}
