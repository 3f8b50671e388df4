//! Certificate signing requests: approved where a node asks for its own, signed, and cleaned up when they are old; and
//! the authority's own certificates, published.

pub(crate) mod approve;
pub(crate) mod clean;
pub(crate) mod publish;
pub(crate) mod sign;
mod signers;

use std::sync::Arc;

use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};

/// Signs requests with the cluster's authority.
#[derive(Clone, Debug)]
pub struct Signer(Arc<pki::Authority>);

impl Signer {
    /// A signer that uses this authority.
    pub fn new(authority: Arc<pki::Authority>) -> Self {
        Self(authority)
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
