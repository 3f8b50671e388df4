//! A certificate in TLS that can be replaced between two handshakes.

use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::issue::KeyPairPem;
use crate::leaf;

/// Why a certificate cannot be presented.
#[derive(Debug, thiserror::Error)]
pub enum PresenterError {
    /// The certificate or its key cannot be read.
    #[error("the certificate or its key is not PEM: {0}")]
    Pem(#[from] rustls_pki_types::pem::Error),
    /// They do not fit together.
    #[error("the certificate cannot be used: {0}")]
    Rustls(#[from] rustls::Error),
}

/// Presents whichever certificate is the current one, as a server or as a client. Connections that are there keep theirs.
pub struct Presenter(ArcSwap<CertifiedKey>);

impl std::fmt::Debug for Presenter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Presenter").finish_non_exhaustive()
    }
}

fn certified(pair: &KeyPairPem) -> Result<CertifiedKey, PresenterError> {
    let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes()).collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes())?;
    Ok(CertifiedKey::from_der(chain, key, &rustls::crypto::ring::default_provider())?)
}

impl Presenter {
    /// Presents this certificate.
    pub fn new(pair: &KeyPairPem) -> Result<Self, PresenterError> {
        Ok(Self(ArcSwap::from_pointee(certified(pair)?)))
    }

    /// Presents another one from the next handshake on.
    pub fn set(&self, pair: &KeyPairPem) -> Result<(), PresenterError> {
        self.0.store(Arc::new(certified(pair)?));
        Ok(())
    }

    /// When what is presented now ends; nothing where the certificate does not say it in a way that can be read.
    pub fn not_after(&self) -> Option<Timestamp> {
        leaf::not_after(self.0.load().cert.first()?)
    }
}

impl Presenter {
    /// Presents what another one does now.
    pub(crate) fn take(&self, other: &Self) {
        self.0.store(other.0.load_full());
    }
}

impl ResolvesServerCert for Presenter {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl ResolvesClientCert for Presenter {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }

    fn has_certs(&self) -> bool {
        true
    }
}
