//! Connections to kubelets, pods and nodes.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use base::Env;
use rustls::client::Resumption;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;

use crate::certificates::Certificates;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How a connection is secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Security {
    /// Not at all.
    Plain,
    /// TLS with whoever answers.
    Tls,
    /// TLS with a kubelet, which is shown who asks.
    Kubelet {
        /// Whether any certificate will do, whatever the configuration says.
        insecure: bool,
    },
}

/// A connection, secured or not.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

/// Opens connections.
pub(crate) struct Dialer {
    kubelet: TlsConnector,
    insecure_kubelet: TlsConnector,
    any: TlsConnector,
}

impl Dialer {
    /// A dialer that shows kubelets the certificate that is for them, and takes only those that have one of their
    /// authorities, where these are known.
    pub(crate) fn new(certificates: &Certificates, env: &Env) -> Result<Self, crate::webhook::TlsError> {
        let presenter = certificates.to_kubelets.clone();
        // A kubelet that made its own certificate cannot be told from another, as with upstream's default.
        let insecure = presenting(trusting(env)?, presenter.clone());
        let kubelet = match &certificates.kubelets {
            None => insecure.clone(),
            Some(trust) => {
                let verified = pki::tls_client(env)?.dangerous().with_custom_certificate_verifier(trust.clone());
                presenting(verified, presenter)
            }
        };
        Ok(Self {
            kubelet,
            insecure_kubelet: insecure,
            any: TlsConnector::from(Arc::new(trusting(env)?.with_no_client_auth())),
        })
    }

    /// A connection; the error says what upstream's would.
    pub(super) async fn connect(&self, address: SocketAddr, security: Security) -> Result<Box<dyn Transport>, String> {
        let stream = open(address).await?;
        let connector = match security {
            Security::Plain => return Ok(Box::new(stream)),
            Security::Tls => &self.any,
            Security::Kubelet { insecure: true } => &self.insecure_kubelet,
            Security::Kubelet { insecure: false } => &self.kubelet,
        };
        secure(stream, connector, ServerName::from(address.ip())).await
    }
}

/// A connection to an extension API server, which must have a certificate for `name`.
pub(crate) async fn connect_to(
    address: SocketAddr,
    connector: &TlsConnector,
    name: ServerName<'static>,
) -> Result<Box<dyn Transport>, String> {
    secure(open(address).await?, connector, name).await
}

/// A connection that is not secured yet; the error says what upstream's would.
pub(crate) async fn open(address: SocketAddr) -> Result<TcpStream, String> {
    let dialed = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
    let stream = match dialed {
        Err(_) => return Err(format!("dial tcp {address}: i/o timeout")),
        Ok(Err(err)) => return Err(format!("dial tcp {address}: connect: {}", reason(&err))),
        Ok(Ok(stream)) => stream,
    };
    // Keystrokes go out one by one.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

async fn secure(
    stream: TcpStream,
    connector: &TlsConnector,
    name: ServerName<'static>,
) -> Result<Box<dyn Transport>, String> {
    match tokio::time::timeout(CONNECT_TIMEOUT, connector.connect(name, stream)).await {
        Err(_) => Err("net/http: TLS handshake timeout".to_owned()),
        Ok(Err(err)) => Err(format!("tls: {err}")),
        Ok(Ok(stream)) => Ok(Box::new(stream)),
    }
}

/// The authorities of a bundle in PEM; of an empty one those that this machine trusts.
pub(crate) fn authorities(ca_bundle: &[u8]) -> Result<Arc<RootCertStore>, crate::webhook::TlsError> {
    static SYSTEM: LazyLock<Arc<RootCertStore>> = LazyLock::new(|| {
        let mut roots = RootCertStore::empty();
        // What cannot be read is trusted by nobody.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(roots)
    });
    if ca_bundle.is_empty() {
        return Ok(SYSTEM.clone());
    }
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(ca_bundle) {
        roots.add(authority?)?;
    }
    Ok(Arc::new(roots))
}

/// The certificate by which extension API servers know that it is this server who says who asks.
pub(crate) struct FrontProxy {
    leaf: Arc<pki::Leaf>,
    env: Env,
}

impl FrontProxy {
    pub(crate) fn new(leaf: &Arc<pki::Leaf>, env: &Env) -> Self {
        Self { leaf: leaf.clone(), env: env.clone() }
    }

    /// Tells when there is another certificate, which only new connections show.
    pub(crate) fn renewed(&self) -> watch::Receiver<Arc<pki::KeyPairPem>> {
        self.leaf.subscribe()
    }

    /// TLS with a server whose certificate comes from one of the authorities in `ca_bundle`, or with any.
    pub(crate) fn connector(&self, ca_bundle: &[u8], insecure: bool) -> Result<TlsConnector, crate::webhook::TlsError> {
        let builder = match insecure {
            true => trusting(&self.env)?,
            false => pki::tls_client(&self.env)?.with_root_certificates(authorities(ca_bundle)?),
        };
        Ok(presenting(builder, self.leaf.presenter()))
    }
}

/// TLS that shows whichever certificate there is at each connection. None resumes an earlier one, which would show the
/// certificate of that.
fn presenting(
    builder: rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>,
    presenter: Arc<pki::Presenter>,
) -> TlsConnector {
    let mut config = builder.with_client_cert_resolver(presenter);
    config.resumption = Resumption::disabled();
    TlsConnector::from(Arc::new(config))
}

/// A system's error in the words of its manual, without Rust's number behind.
fn reason(err: &io::Error) -> String {
    let text = err.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_ascii_lowercase()
}

fn trusting(env: &Env) -> Result<rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>, rustls::Error> {
    Ok(pki::tls_client(env)?.dangerous().with_custom_certificate_verifier(Arc::new(pki::AnyPeer)))
}
