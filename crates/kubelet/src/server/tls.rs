//! TLS with client certificates.

use std::sync::Arc;

use pki::{Presenter, Trust};
use rustls_pki_types::CertificateDer;
use tokio_rustls::TlsAcceptor;

/// The group whose members may use the server: the API server's own client, and administrators.
const TRUSTED_GROUP: &str = "system:masters";

/// Whether a client's certificate is of somebody who may use the server.
pub fn is_trusted(certificates: Option<&[CertificateDer<'_>]>) -> bool {
    let Some(first) = certificates.and_then(<[_]>::first) else { return false };
    let Ok((_, certificate)) = x509_parser::parse_x509_certificate(first) else { return false };
    certificate.subject().iter_organization().any(|group| group.as_str() == Ok(TRUSTED_GROUP))
}

/// Accepts connections of clients with a certificate of the given authorities.
pub fn acceptor(serving: Arc<Presenter>, client_ca: Arc<Trust>) -> Result<TlsAcceptor, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(client_ca)
        .with_cert_resolver(serving);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
