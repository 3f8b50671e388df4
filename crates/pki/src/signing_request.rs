//! Certificate signing requests (PKCS #10): how a machine gets a certificate for a key that never leaves it.

use std::net::IpAddr;
use std::time::Duration;

use base::Env;
use rcgen::{CertificateParams, CertificateSigningRequestParams, IsCa, KeyPair};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;

use crate::authority::Authority;
use crate::issue::{self, IssueError};
use crate::usages;

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
        Self::with_names(common_name, organizations, &[], &[])
    }

    /// The same for a server with host names and addresses.
    pub fn with_names(
        common_name: &str,
        organizations: &[String],
        dns_names: &[String],
        ips: &[IpAddr],
    ) -> Result<Self, IssueError> {
        let failed = |source| IssueError::Sign { common_name: common_name.to_owned(), source };
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = issue::distinguished_name(common_name, organizations);
        params.subject_alt_names = issue::alternative_names(common_name, dns_names, ips)?;
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
    /// More organizations than the certificate library can write.
    #[error("certificate signing request has {0} organizations, at most {max} can be written", max = issue::MAX_ORGANIZATIONS)]
    Organizations(usize),
    /// Usages that no certificate can be for.
    #[error("unrecognized usage values: {0:?}")]
    Usages(Vec<String>),
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
    /// How many alternative names it asks for, of each kind.
    pub alternative_names: AlternativeNames,
}

/// How many alternative names a request has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AlternativeNames {
    /// Host names.
    pub dns: usize,
    /// Addresses.
    pub ips: usize,
    /// Mail addresses.
    pub emails: usize,
    /// URIs.
    pub uris: usize,
}

impl AlternativeNames {
    fn of(names: &[GeneralName<'_>]) -> Self {
        let mut found = Self::default();
        for name in names {
            match name {
                GeneralName::DNSName(_) => found.dns += 1,
                GeneralName::IPAddress(_) => found.ips += 1,
                GeneralName::RFC822Name(_) => found.emails += 1,
                GeneralName::URI(_) => found.uris += 1,
                _ => {}
            }
        }
        found
    }
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
            alternative_names: request
                .requested_extensions()
                .into_iter()
                .flatten()
                .find_map(|extension| match extension {
                    ParsedExtension::SubjectAlternativeName(names) => Some(AlternativeNames::of(&names.general_names)),
                    _ => None,
                })
                .unwrap_or_default(),
        })
    }
}

impl Authority {
    /// Signs a request as it is, for the usages (as CertificateSigningRequests name them) alone; never for a certificate
    /// authority. The certificate, PEM.
    pub fn sign(
        &self,
        request_pem: &str,
        usages: &[String],
        validity: Duration,
        env: &Env,
    ) -> Result<String, SignError> {
        let subject = RequestedSubject::of(request_pem)?;
        let mut request = CertificateSigningRequestParams::from_pem(request_pem)
            .map_err(|err| SignError::Malformed(err.to_string()))?;
        if subject.organizations.len() > 1 {
            if subject.organizations.len() > issue::MAX_ORGANIZATIONS {
                return Err(SignError::Organizations(subject.organizations.len()));
            }
            // The library keeps one of them when it reads a request.
            request.params.distinguished_name = issue::distinguished_name(&subject.common_name, &subject.organizations);
        }
        request.params.is_ca = IsCa::ExplicitNoCa;
        request.params.use_authority_key_identifier_extension = true;
        (request.params.key_usages, request.params.extended_key_usages) = usages::purposes(usages)?;
        issue::set_requested_validity(&mut request.params, validity, env);
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
            alternative_names: AlternativeNames::default(),
        };
        assert_eq!(RequestedSubject::of(&asked.request).unwrap(), expected);

        let signed = authority.sign(&asked.request, &["client auth".to_owned()], YEAR, &env).unwrap();
        let (_, pem) = x509_parser::pem::parse_x509_pem(signed.as_bytes()).unwrap();
        let (_, certificate) = X509Certificate::from_der(&pem.contents).unwrap();
        let key = KeyPair::from_pem(&asked.key).unwrap();
        assert_eq!(certificate.public_key().raw, rcgen::PublicKeyData::subject_public_key_info(&key));
        assert_eq!(certificate.subject().iter_common_name().next().unwrap().as_str().unwrap(), "system:node:n1");
        assert!(!certificate.is_ca());
        let authorities = authority.certificates();
        let (_, issuer) = X509Certificate::from_der(&authorities[0]).unwrap();
        certificate.verify_signature(Some(issuer.public_key())).unwrap();
        assert!(certificate.extended_key_usage().unwrap().unwrap().value.client_auth);
        let unknown = authority.sign(&asked.request, &["magic".to_owned()], YEAR, &env);
        assert!(matches!(unknown, Err(SignError::Usages(usages)) if usages == ["magic"]));
    }

    #[test]
    fn a_servers_names_and_all_groups_are_in_its_certificate() {
        let (dir, env) = (tempfile::tempdir().unwrap(), Env::system());
        let authority = Authority::load_or_create(dir.path(), "ca", &env).unwrap();
        let groups = ["system:nodes".to_owned(), "second".to_owned()];
        let (dns, ips) = (["n1".to_owned()], ["10.0.0.1".parse().unwrap()]);
        let asked = SigningRequest::with_names("system:node:n1", &groups, &dns, &ips).unwrap();
        let requested = RequestedSubject::of(&asked.request).unwrap();
        assert_eq!(requested.alternative_names, AlternativeNames { dns: 1, ips: 1, emails: 0, uris: 0 });
        let usages = ["digital signature", "server auth"].map(str::to_owned);
        let hour = Duration::from_secs(3600);
        let signed = authority.sign(&asked.request, &usages, hour, &env).unwrap();
        let [certificate] = &crate::inspect(&signed).unwrap()[..] else { panic!("one certificate") };
        assert_eq!(certificate.organizations, groups);
        assert!(certificate.is_server && !certificate.is_client && !certificate.is_authority);
        assert_eq!(certificate.not_after.duration_since(certificate.not_before).as_secs(), 3600 + 300);
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let (dir, env) = (tempfile::tempdir().unwrap(), Env::system());
        let authority = Authority::load_or_create(dir.path(), "ca", &env).unwrap();
        for wrong in ["", "nonsense", &authority.certificate_pem()] {
            assert!(matches!(authority.sign(wrong, &[], YEAR, &env), Err(SignError::Malformed(_))));
        }
    }
}
