//! Certificate signing requests (PKCS #10): how a machine gets a certificate for a key that never leaves it.

use std::time::Duration;

use base::Env;
use rcgen::{CertificateParams, CertificateSigningRequestParams, IsCa, KeyPair};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use crate::authority::Authority;
use crate::issue::{self, IssueError, Usage};

/// A request and the key that it is for, both PEM.
#[derive(Clone)]
pub struct SigningRequest {
    /// The request, which may be shown to anyone.
    pub request: String,
    /// The private key, PKCS #8.
    pub key: String,
}

impl std::fmt::Debug for SigningRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningRequest").field("request", &self.request).finish_non_exhaustive()
    }
}

impl SigningRequest {
    /// A new key, and the request for a certificate of that subject.
    pub fn new(common_name: &str, organizations: &[String]) -> Result<Self, IssueError> {
        let failed = |source| IssueError::Sign { common_name: common_name.to_owned(), source };
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = issue::distinguished_name(common_name, organizations);
        let request = params.serialize_request(&key).and_then(|request| request.pem()).map_err(failed)?;
        Ok(Self { request, key: key.serialize_pem() })
    }
}

/// Why a request is not signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// It is not a PEM block with a PKCS #10 request whose signature is right.
    #[error("certificate signing request cannot be read: {0}")]
    Malformed(String),
    /// Signing failed.
    #[error("certificate signing request: {0}")]
    Sign(#[from] rcgen::Error),
}

/// Who a request asks to be, for whoever approves it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestedSubject {
    /// The common name: the user.
    pub common_name: String,
    /// The organizations: the groups.
    pub organizations: Vec<String>,
    /// Whether it asks for alternative names or other extensions.
    pub has_extensions: bool,
}

impl RequestedSubject {
    /// Reads a request and checks its signature.
    pub fn of(request_pem: &str) -> Result<Self, SignError> {
        let malformed = |err: &dyn std::fmt::Display| SignError::Malformed(err.to_string());
        let (_, pem) = x509_parser::pem::parse_x509_pem(request_pem.as_bytes()).map_err(|err| malformed(&err))?;
        let (_, request) = X509CertificationRequest::from_der(&pem.contents).map_err(|err| malformed(&err))?;
        request.verify_signature().map_err(|err| malformed(&err))?;
        let subject = &request.certification_request_info.subject;
        let texts = |name: &x509_parser::x509::AttributeTypeAndValue<'_>| name.as_str().map(str::to_owned).ok();
        Ok(Self {
            common_name: subject.iter_common_name().find_map(texts).unwrap_or_default(),
            organizations: subject.iter_organization().filter_map(texts).collect(),
            has_extensions: request.requested_extensions().is_some_and(|mut extensions| extensions.next().is_some()),
        })
    }
}

impl Authority {
    /// Signs a request as it is, for `usage` alone; never for a certificate authority. The certificate, PEM.
    pub fn sign(&self, request_pem: &str, usage: Usage, validity: Duration, env: &Env) -> Result<String, SignError> {
        RequestedSubject::of(request_pem)?;
        let mut request = CertificateSigningRequestParams::from_pem(request_pem)
            .map_err(|err| SignError::Malformed(err.to_string()))?;
        request.params.is_ca = IsCa::ExplicitNoCa;
        issue::set_usage(&mut request.params, usage);
        issue::set_validity(&mut request.params, validity, env);
        let generation = self.generation();
        Ok(generation.with_chain(request.signed_by(generation.issuer())?.pem()))
    }
}

#[cfg(test)]
mod tests {
    use x509_parser::prelude::X509Certificate;

    use super::*;

    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

    #[test]
    fn a_signed_request_names_its_subject_and_key() {
        let (dir, env) = (tempfile::tempdir().unwrap(), Env::system());
        let authority = Authority::load_or_create(dir.path(), "ca", &env).unwrap();
        let groups = ["system:nodes".to_owned()];
        let asked = SigningRequest::new("system:node:n1", &groups).unwrap();
        let expected = RequestedSubject {
            common_name: "system:node:n1".to_owned(),
            organizations: groups.to_vec(),
            has_extensions: false,
        };
        assert_eq!(RequestedSubject::of(&asked.request).unwrap(), expected);

        let signed = authority.sign(&asked.request, Usage::Client, YEAR, &env).unwrap();
        let (_, pem) = x509_parser::pem::parse_x509_pem(signed.as_bytes()).unwrap();
        let (_, certificate) = X509Certificate::from_der(&pem.contents).unwrap();
        let key = KeyPair::from_pem(&asked.key).unwrap();
        assert_eq!(certificate.public_key().raw, rcgen::PublicKeyData::subject_public_key_info(&key));
        assert_eq!(certificate.subject().iter_common_name().next().unwrap().as_str().unwrap(), "system:node:n1");
        assert!(!certificate.is_ca());
        let authorities = authority.certificates();
        let (_, issuer) = X509Certificate::from_der(&authorities[0]).unwrap();
        certificate.verify_signature(Some(issuer.public_key())).unwrap();
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let (dir, env) = (tempfile::tempdir().unwrap(), Env::system());
        let authority = Authority::load_or_create(dir.path(), "ca", &env).unwrap();
        for wrong in ["", "nonsense", &authority.certificate_pem()] {
            assert!(matches!(authority.sign(wrong, Usage::Client, YEAR, &env), Err(SignError::Malformed(_))));
        }
    }
}
