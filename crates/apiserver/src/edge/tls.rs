//! The server side of TLS.

use std::sync::Arc;

use rustls::ServerConfig;

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate or its key cannot be read.
    #[error("a certificate or key is not PEM: {0}")]
    Pem(#[from] rustls_pki_types::pem::Error),
    /// They do not fit together.
    #[error("a certificate cannot be used: {0}")]
    Rustls(#[from] rustls::Error),
}

/// TLS 1.2 and 1.3 with ALPN for HTTP/2 and HTTP/1.1, asking for client certificates.
pub(crate) fn server_config(presenter: Arc<pki::Presenter>) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(Arc::new(pki::AnyPeer))
        .with_cert_resolver(presenter);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
