//! Certificates and authorities of others' making, in files that change while the server runs.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use serde_json::json;
use skiff_apiserver::CertificateFiles;
use tokio::net::TcpStream;

use crate::hooks::{Caller, TlsServer};
use crate::support::{Cluster, DEADLINE};

/// An authority outside of the cluster.
struct Issuer {
    _dir: tempfile::TempDir,
    authority: pki::Authority,
}

impl Issuer {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let authority = pki::Authority::load_or_create(dir.path(), "ca", &base::Env::system()).expect("an authority");
        Self { _dir: dir, authority }
    }

    fn pem(&self) -> String {
        self.authority.certificate_pem()
    }

    /// Writes a certificate and its key, and tells where.
    fn issue(&self, dir: &Path, common_name: &str, usage: pki::Usage) -> (PathBuf, PathBuf) {
        let request = pki::IssueRequest {
            common_name: common_name.to_owned(),
            organizations: Vec::new(),
            dns_names: vec!["localhost".to_owned()],
            ips: Vec::new(),
            usage,
            validity: Duration::from_secs(3600),
        };
        let pair = self.authority.issue(&request).expect("a certificate");
        let files = (dir.join("leaf.crt"), dir.join("leaf.key"));
        pki::write_private(&files.1, &pair.key).expect("written");
        pki::write_private(&files.0, &pair.certificate).expect("written");
        files
    }

    /// Whether those who trust this authority alone take the server for what it says it is.
    async fn vouches_for(&self, cluster: &Cluster) -> bool {
        let trust = Arc::new(pki::Trust::new(&self.pem()).expect("an authority"));
        let config = rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .dangerous()
            .with_custom_certificate_verifier(trust)
            .with_no_client_auth();
        let stream = TcpStream::connect(cluster.address()).await.expect("it listens");
        let name = rustls_pki_types::ServerName::try_from("localhost").expect("a name");
        tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.is_ok()
    }
}

/// Asks until something holds.
async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "{what} never came");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn clients_are_shown_the_certificate_in_files() {
    let (first, second, dir) = (Issuer::new(), Issuer::new(), tempfile::tempdir().expect("a directory"));
    let root_ca = dir.path().join("root-ca.crt");
    pki::write_private(&root_ca, &first.pem()).expect("written");
    let serving = first.issue(dir.path(), "api.example.com", pki::Usage::Server);
    let files =
        CertificateFiles { serving: Some(serving), root_ca: Some(root_ca.clone()), ..CertificateFiles::default() };
    let cluster = Cluster::start_with(|config| config.certificate_files = files).await;
    let own = pki::Authority::load_or_create(cluster.dir(), "ca", &base::Env::system()).expect("an authority");
    let told = async || cluster.get("/cacerts").await.body().as_str().unwrap_or_default().to_owned();
    assert!(first.vouches_for(&cluster).await && !second.vouches_for(&cluster).await);
    assert_eq!(told().await, first.pem() + &own.certificate_pem());

    second.issue(dir.path(), "api.example.com", pki::Usage::Server);
    pki::write_private(&root_ca, &second.pem()).expect("written");
    until("the second certificate", async || second.vouches_for(&cluster).await).await;
    assert!(!first.vouches_for(&cluster).await);
    let expected = second.pem() + &own.certificate_pem();
    until("the second authority", async || told().await == expected).await;
    // What joins the cluster is told of it; what is no authority changes nothing.
    pki::write_private(&root_ca, "nothing").expect("written");
    let info = "/api/v1/namespaces/kube-public/configmaps/cluster-info";
    let encoded = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, &expected);
    cluster.eventually_with(info, |config| config["data"].to_string().contains(&encoded)).await;
    assert_eq!(told().await, expected);
}

/// A server in the place of a kubelet, which says whose certificate it was shown.
async fn kubelet(address: IpAddr) -> TlsServer {
    TlsServer::start(address, |request| {
        let Caller(caller) = request.extensions().get::<Caller>().cloned().unwrap_or(Caller(None));
        let name = Bytes::from(caller.unwrap_or_default());
        std::future::ready(Ok(Response::new(Full::new(name))))
    })
    .await
}

#[tokio::test]
async fn kubelets_are_known_and_asked_by_what_files_say() {
    let address = IpAddr::from([127, 0, 0, 1]);
    let (clients, stranger, dir) = (Issuer::new(), Issuer::new(), tempfile::tempdir().expect("a directory"));
    let kubelet = kubelet(address).await;
    let kubelet_ca = dir.path().join("kubelet-ca.crt");
    pki::write_private(&kubelet_ca, &stranger.pem()).expect("written");
    let to_kubelets = clients.issue(dir.path(), "the-api-server", pki::Usage::Client);
    let files = CertificateFiles {
        to_kubelets: Some(to_kubelets),
        kubelet_ca: Some(kubelet_ca.clone()),
        ..CertificateFiles::default()
    };
    let cluster = Cluster::start_with(|config| config.certificate_files = files).await;
    cluster.post("/api/v1/nodes", json!({"metadata": {"name": "n"}})).await.expect(201);
    let status = json!({"status": {
        "addresses": [{"type": "InternalIP", "address": address}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": kubelet.address.port()}},
    }});
    cluster.patch("/api/v1/nodes/n/status", "application/merge-patch+json", status).await.expect(200);
    let asked = async || cluster.get("/api/v1/nodes/n/proxy/healthz").await;
    until("a kubelet that nobody vouches for", async || asked().await.status() == 503).await;
    pki::write_private(&kubelet_ca, &kubelet.ca_pem).expect("written");
    until("the kubelet's authority", async || asked().await.status() == 200).await;
    assert_eq!(*asked().await.body(), json!("the-api-server"));
    clients.issue(dir.path(), "its-successor", pki::Usage::Client);
    until("another certificate", async || *asked().await.body() == json!("its-successor")).await;
}

#[tokio::test]
async fn files_without_certificates_are_told_of() {
    let dir = tempfile::tempdir().expect("a directory");
    let (file, missing) = (dir.path().join("other.crt"), dir.path().join("missing"));
    pki::write_private(&file, "nothing").expect("written");
    let check = |files: CertificateFiles, expected: &str| {
        let mut config = skiff_apiserver::Config::new(dir.path());
        (config.bind_address, config.secure_port) = (IpAddr::from([127, 0, 0, 1]), 0);
        config.certificate_files = files;
        let built = skiff_apiserver::ApiServer::build(config, Arc::new(store::Memory::new()), base::Env::system());
        let why = built.map(drop).map_err(|err| err.to_string());
        assert!(why.as_ref().is_err_and(|why| why.contains(expected)), "{expected}: {why:?}");
    };
    let none = CertificateFiles::default();
    check(CertificateFiles { root_ca: Some(file.clone()), ..none.clone() }, "--root-ca-file: ");
    check(CertificateFiles { kubelet_ca: Some(missing.clone()), ..none.clone() }, "--kubelet-certificate-authority: ");
    check(CertificateFiles { serving: Some((file, missing)), ..none }, "missing");
}
