//! Certificate signing requests: approved where a node asks for its own, signed, and cleaned up when they are old; and
//! the authority's own certificates, published.

pub(crate) mod approve;
pub(crate) mod clean;
pub(crate) mod publish;
pub(crate) mod sign;
mod signers;

use std::sync::Arc;

use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};

use signers::SignerName;

/// Signs requests with the cluster's authorities.
#[derive(Clone, Debug)]
pub struct Signer {
    servers: Arc<pki::Authority>,
    clients: Arc<pki::Authority>,
}

impl Signer {
    /// A signer that uses these authorities.
    pub fn new(authorities: &pki::Authorities) -> Self {
        Self { servers: authorities.server.clone(), clients: authorities.client.clone() }
    }

    /// The authority of what a signer is for. What somebody has approved whatever it is makes nobody a client of the
    /// API server.
    fn authority(&self, name: SignerName) -> &pki::Authority {
        match name {
            SignerName::Client | SignerName::KubeletClient => &self.clients,
            SignerName::KubeletServing | SignerName::LegacyUnknown => &self.servers,
        }
    }
}

fn has_condition(request: &CertificateSigningRequest, type_: &str) -> bool {
    conditions(request).any(|condition| condition.type_ == type_ && condition.status == "True")
}

fn conditions(request: &CertificateSigningRequest) -> impl Iterator<Item = &CertificateSigningRequestCondition> {
    request.status.iter().flat_map(|status| status.conditions.iter().flatten())
}

/// Whether it is decided on: approved or denied.
fn is_decided(request: &CertificateSigningRequest) -> bool {
    has_condition(request, "Approved") || has_condition(request, "Denied")
}

/// Whether the certificate was issued.
fn is_issued(request: &CertificateSigningRequest) -> bool {
    request.status.as_ref().is_some_and(|status| status.certificate.is_some())
}
