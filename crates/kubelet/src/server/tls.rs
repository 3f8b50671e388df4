//! TLS that asks for client certificates.

use std::sync::Arc;

use pki::{AnyPeer, Presenter};
use tokio_rustls::TlsAcceptor;

/// Accepts connections of anybody; who they are is found out with each request.
pub fn acceptor(serving: Arc<Presenter>) -> Result<TlsAcceptor, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(Arc::new(AnyPeer))
        .with_cert_resolver(serving);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
