//! The authorities that TLS trusts, which may change between two handshakes.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::any_peer::checks_keys;

/// Why authorities cannot be trusted.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// They cannot be read.
    #[error("the authorities are not PEM: {0}")]
    Pem(#[from] rustls_pki_types::pem::Error),
    /// One of them is no certificate.
    #[error("an authority cannot be used: {0}")]
    Rustls(#[from] rustls::Error),
    /// There is none, or TLS does not take them.
    #[error("the authorities cannot be used: {0}")]
    Verifier(#[from] rustls::client::VerifierBuilderError),
}

/// Checks the certificates of clients and servers by whichever authorities are trusted then.
#[derive(Debug)]
pub struct Trust(ArcSwap<Verifiers>);

#[derive(Debug)]
struct Verifiers {
    clients: Arc<dyn ClientCertVerifier>,
    servers: Arc<dyn ServerCertVerifier>,
}

impl Verifiers {
    fn new(pem: &str) -> Result<Self, TrustError> {
        let mut roots = RootCertStore::empty();
        for authority in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            roots.add(authority?)?;
        }
        let (roots, provider) = (Arc::new(roots), Arc::new(rustls::crypto::ring::default_provider()));
        let clients = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone()).build()?;
        let servers = WebPkiServerVerifier::builder_with_provider(roots, provider).build()?;
        Ok(Self { clients, servers })
    }
}

impl Trust {
    /// Trusts the authorities in a PEM text.
    pub fn new(pem: &str) -> Result<Self, TrustError> {
        Ok(Self(ArcSwap::from_pointee(Verifiers::new(pem)?)))
    }

    /// Trusts others from the next handshake on.
    pub fn set(&self, pem: &str) -> Result<(), TrustError> {
        self.0.store(Arc::new(Verifiers::new(pem)?));
        Ok(())
    }
}

impl ClientCertVerifier for Trust {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // They would have to live as long as `self`; clients have one certificate and need no hint.
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.0.load().clients.verify_client_cert(certificate, intermediates, now)
    }

    checks_keys!();
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.0.load().servers.verify_server_cert(certificate, intermediates, name, ocsp, now)
    }

    checks_keys!();
}
