//! What a certificate is asked to say, and the key pair that comes out.

use std::net::IpAddr;
use std::time::Duration;

use base::Env;
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, SerialNumber,
};

/// How far before its making a certificate is valid, for machines whose clocks are behind.
const BACKDATED: Duration = Duration::from_secs(3600);

/// Who may present a certificate, and to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// A client, to a server.
    Client,
    /// A server, to clients.
    Server,
}

impl Usage {
    /// What certificates call it.
    pub(crate) fn purpose(self) -> ExtendedKeyUsagePurpose {
        match self {
            Self::Client => ExtendedKeyUsagePurpose::ClientAuth,
            Self::Server => ExtendedKeyUsagePurpose::ServerAuth,
        }
    }
}

/// The content of a certificate to be issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssueRequest {
    /// The subject's common name: the user, for a client.
    pub common_name: String,
    /// The subject's organizations: the groups, for a client.
    pub organizations: Vec<String>,
    /// Host names of a server.
    pub dns_names: Vec<String>,
    /// Addresses of a server.
    pub ips: Vec<IpAddr>,
    /// Client or server.
    pub usage: Usage,
    /// For how long, from now.
    pub validity: Duration,
}

/// A certificate and its private key, both PEM.
#[derive(Clone)]
pub struct KeyPairPem {
    /// The certificate.
    pub certificate: String,
    /// The private key, PKCS #8.
    pub key: String,
}

impl std::fmt::Debug for KeyPairPem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyPairPem").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// Why a certificate was not issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// A host name has characters that no certificate can hold.
    #[error("certificate for {common_name:?}: invalid host name {name:?}")]
    HostName {
        /// Whose certificate.
        common_name: String,
        /// The host name.
        name: String,
    },
    /// More organizations than the certificate library can write.
    #[error("certificate for {common_name:?}: {count} organizations, at most {MAX_ORGANIZATIONS} can be written")]
    TooManyOrganizations {
        /// Whose certificate.
        common_name: String,
        /// How many were asked for.
        count: usize,
    },
    /// Generating the key or signing failed.
    #[error("certificate for {common_name:?}: {source}")]
    Sign {
        /// Whose certificate.
        common_name: String,
        /// What the library said.
        source: rcgen::Error,
    },
}

/// rcgen keeps one value a type; a second organization fits because its type can be written in two ways.
pub(crate) const MAX_ORGANIZATIONS: usize = 2;

/// Makes an EC P-256 key and a certificate for it.
pub(crate) fn issue(
    issuer: &Issuer<'static, KeyPair>,
    request: &IssueRequest,
    env: &Env,
) -> Result<KeyPairPem, IssueError> {
    let failed = |source| IssueError::Sign { common_name: request.common_name.clone(), source };
    let key = KeyPair::generate().map_err(failed)?;
    let certificate = params(request, env)?.signed_by(&key, issuer).map_err(failed)?;
    Ok(KeyPairPem { certificate: certificate.pem(), key: key.serialize_pem() })
}

fn params(request: &IssueRequest, env: &Env) -> Result<CertificateParams, IssueError> {
    if request.organizations.len() > MAX_ORGANIZATIONS {
        let common_name = request.common_name.clone();
        return Err(IssueError::TooManyOrganizations { common_name, count: request.organizations.len() });
    }
    let mut params = CertificateParams::default();
    params.distinguished_name = distinguished_name(&request.common_name, &request.organizations);
    params.subject_alt_names = alternative_names(&request.common_name, &request.dns_names, &request.ips)?;
    set_usage(&mut params, request.usage);
    set_validity(&mut params, request.validity, env);
    Ok(params)
}

/// The names of a server as a certificate has them.
pub(crate) fn alternative_names(
    common_name: &str,
    dns_names: &[String],
    ips: &[IpAddr],
) -> Result<Vec<SanType>, IssueError> {
    let host = |name: &String| match name.clone().try_into() {
        Ok(host) => Ok(SanType::DnsName(host)),
        Err(_) => Err(IssueError::HostName { common_name: common_name.to_owned(), name: name.clone() }),
    };
    dns_names.iter().map(host).chain(ips.iter().copied().map(SanType::IpAddress).map(Ok)).collect()
}

/// Makes it the certificate of a client or server, and of nothing else.
pub(crate) fn set_usage(params: &mut CertificateParams, usage: Usage) {
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage.purpose()];
    params.use_authority_key_identifier_extension = true;
}

/// The parameters of a certificate authority's own certificate.
pub(crate) fn authority_params(common_name: &str, validity: Duration, env: &Env) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = distinguished_name(common_name, &[]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_validity(&mut params, validity, env);
    params
}

/// A subject with a user and groups.
pub(crate) fn distinguished_name(common_name: &str, organizations: &[String]) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    for (index, organization) in organizations.iter().enumerate() {
        let ty = match index {
            0 => DnType::OrganizationName,
            _ => DnType::CustomDnType(ORGANIZATION_OID.to_vec()),
        };
        name.push(ty, organization.as_str());
    }
    name.push(DnType::CommonName, common_name);
    name
}

/// `organizationName` of X.520.
const ORGANIZATION_OID: &[u64] = &[2, 5, 4, 10];

/// Sets when it is valid, from now, and a random serial number.
pub(crate) fn set_validity(params: &mut CertificateParams, validity: Duration, env: &Env) {
    set_times(params, BACKDATED, validity, env);
}

/// How far before its making a certificate is valid that was asked for in the API, as upstream has it.
const REQUESTED_BACKDATED: Duration = Duration::from_secs(300);

/// Certificates with less time than this get all of it after they are made.
const SHORT: Duration = Duration::from_secs(8 * 3600);

/// The same for a certificate that was asked for in the API.
pub(crate) fn set_requested_validity(params: &mut CertificateParams, validity: Duration, env: &Env) {
    let left = if validity < SHORT { validity } else { validity.saturating_sub(REQUESTED_BACKDATED) };
    set_times(params, REQUESTED_BACKDATED, left, env);
}

fn set_times(params: &mut CertificateParams, backdated: Duration, left: Duration, env: &Env) {
    let now = env.now();
    let at = |timestamp: Timestamp| {
        let seconds = u64::try_from(timestamp.as_second()).unwrap_or(0);
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)
    };
    params.not_before = at(now.saturating_sub(backdated).unwrap_or(now));
    params.not_after = at(now.saturating_add(left).unwrap_or(now));
    let mut serial = [0; 16];
    env.random().fill(&mut serial);
    // Positive and of full length, so that its encoding has no leading zero.
    serial[0] = (serial[0] & 0x7f) | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
}
