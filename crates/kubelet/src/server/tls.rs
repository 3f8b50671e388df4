//! TLS with client certificates.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem};
use tokio_rustls::TlsAcceptor;

use crate::config::ServingCertificate;

/// Certificates that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// They cannot be read.
    #[error("cannot read the kubelet's {what}: {source}")]
    Pem {
        /// Which of them.
        what: &'static str,
        /// Why.
        source: pem::Error,
    },
    /// They do not fit together.
    #[error("cannot use the kubelet's serving certificate: {0}")]
    Rustls(#[from] rustls::Error),
    /// The authorities cannot be used.
    #[error("cannot use the kubelet's client authorities: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// The group whose members may use the server: the API server's own client, and administrators.
const TRUSTED_GROUP: &str = "system:masters";

/// Whether a client's certificate is of somebody who may use the server.
pub fn is_trusted(certificates: Option<&[CertificateDer<'_>]>) -> bool {
    let Some(first) = certificates.and_then(<[_]>::first) else { return false };
    let Ok((_, certificate)) = x509_parser::parse_x509_certificate(first) else { return false };
    certificate.subject().iter_organization().any(|group| group.as_str() == Ok(TRUSTED_GROUP))
}

/// Accepts connections of clients with a certificate of the given authorities.
pub fn acceptor(serving: &ServingCertificate, client_ca_pem: &str) -> Result<TlsAcceptor, TlsError> {
    let error = |what| move |source| TlsError::Pem { what, source };
    let certificates = |pem: &str| CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>();
    let chain = certificates(&serving.certificate_pem).map_err(error("serving certificate"))?;
    let key = PrivateKeyDer::from_pem_slice(serving.key_pem.as_bytes()).map_err(error("serving key"))?;
    let mut roots = RootCertStore::empty();
    for authority in certificates(client_ca_pem).map_err(error("client authorities"))? {
        roots.add(authority)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build()?;
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
