//! What certificates say.

use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509Certificate};

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateInfo {
    /// The subject's common name.
    pub common_name: String,
    /// The subject's organizations.
    pub organizations: Vec<String>,
    /// Whether it may issue others.
    pub is_authority: bool,
    /// Whether it is for clients.
    pub is_client: bool,
    /// Whether it is for servers.
    pub is_server: bool,
    /// The common name of who issued it.
    pub issuer: String,
    /// When it begins to be valid.
    pub not_before: Timestamp,
    /// When it ends.
    pub not_after: Timestamp,
}

/// A text that is not made of certificates.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// It is not PEM.
    #[error("not a certificate in PEM: {0}")]
    Pem(#[from] rustls_pki_types::pem::Error),
    /// A block is no certificate.
    #[error("not a certificate: {0}")]
    Certificate(String),
}

/// What the certificates of a PEM text say, in their order.
pub fn inspect(pem: &str) -> Result<Vec<CertificateInfo>, InspectError> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).map(|der| one(&der?)).collect()
}

fn one(der: &CertificateDer<'_>) -> Result<CertificateInfo, InspectError> {
    let malformed = |err: &dyn std::fmt::Display| InspectError::Certificate(err.to_string());
    let (_, certificate) = X509Certificate::from_der(der).map_err(|err| malformed(&err))?;
    let text = |name: &x509_parser::x509::AttributeTypeAndValue<'_>| name.as_str().map(str::to_owned).ok();
    let usage = certificate.extended_key_usage().map_err(|err| malformed(&err))?;
    let is_for = |wanted: fn(&x509_parser::extensions::ExtendedKeyUsage<'_>) -> bool| {
        usage.as_ref().is_some_and(|usage| usage.value.any || wanted(usage.value))
    };
    let at =
        |time: x509_parser::time::ASN1Time, otherwise| Timestamp::from_second(time.timestamp()).unwrap_or(otherwise);
    Ok(CertificateInfo {
        common_name: certificate.subject().iter_common_name().find_map(text).unwrap_or_default(),
        organizations: certificate.subject().iter_organization().filter_map(text).collect(),
        is_authority: certificate.is_ca(),
        is_client: is_for(|usage| usage.client_auth),
        is_server: is_for(|usage| usage.server_auth),
        issuer: certificate.issuer().iter_common_name().find_map(text).unwrap_or_default(),
        not_before: at(certificate.validity().not_before, Timestamp::MIN),
        not_after: at(certificate.validity().not_after, Timestamp::MAX),
    })
}
