//! A certificate authority kept in a directory.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base::Env;
use jiff::Timestamp;
use rcgen::{Issuer, KeyPair};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::file::{FileError, read_if_there, write_private};
use crate::issue::{IssueError, IssueRequest, KeyPairPem, authority_params, issue};

const TEN_YEARS: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Why an authority or one of its certificates could not be loaded or made.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is a certificate without its key: making a new authority would cut off all who trust the old one.
    #[error("{} has no key: {} is missing", certificate.display(), key.display())]
    KeyMissing {
        /// The certificate's file.
        certificate: PathBuf,
        /// The missing file.
        key: PathBuf,
    },
    /// A file does not hold what it should.
    #[error("{} is not a certificate or key of an authority: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        reason: String,
    },
    /// The authority's own certificate is over.
    #[error("{} expired at {expired}", path.display())]
    Expired {
        /// The certificate's file.
        path: PathBuf,
        /// When.
        expired: Timestamp,
    },
    /// The authority's key or certificate could not be made.
    #[error("cannot make authority {name:?}: {source}")]
    Generate {
        /// The authority's name.
        name: String,
        /// What the library said.
        source: rcgen::Error,
    },
    /// A certificate could not be issued.
    #[error(transparent)]
    Issue(#[from] IssueError),
}

/// A certificate authority: its certificate, and the key that issues others.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
    certificate_der: CertificateDer<'static>,
    env: Env,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("certificate", &self.certificate_pem).finish_non_exhaustive()
    }
}

impl Authority {
    /// The authority in `<dir>/<name>.crt` and `<dir>/<name>.key`, made (EC P-256, ten years) if there is none.
    pub fn load_or_create(dir: &Path, name: &str, env: &Env) -> Result<Self, AuthorityError> {
        let (certificate_path, key_path) = paths(dir, name);
        let certificate = read_if_there(&certificate_path)?;
        let key = read_if_there(&key_path)?;
        match (certificate, key) {
            (Some(certificate), Some(key)) => Self::load(certificate, &certificate_path, &key, &key_path, env),
            (Some(_), None) => Err(AuthorityError::KeyMissing { certificate: certificate_path, key: key_path }),
            // A key alone is left by a process killed between the two writes; nobody can trust it yet.
            (None, _) => {
                let failed = |source| AuthorityError::Generate { name: name.to_owned(), source };
                let key = KeyPair::generate().map_err(failed)?;
                let common_name = format!("skiff-{name}@{}", env.now().as_second());
                let params = authority_params(&common_name, TEN_YEARS, env);
                let certificate = params.self_signed(&key).map_err(failed)?;
                write_private(&key_path, &key.serialize_pem())?;
                write_private(&certificate_path, &certificate.pem())?;
                Ok(Self {
                    certificate_pem: certificate.pem(),
                    certificate_der: certificate.der().clone(),
                    issuer: Issuer::new(params, key),
                    env: env.clone(),
                })
            }
        }
    }

    fn load(
        certificate_pem: String,
        certificate_path: &Path,
        key_pem: &str,
        key_path: &Path,
        env: &Env,
    ) -> Result<Self, AuthorityError> {
        let malformed = |path: &Path, reason: String| AuthorityError::Malformed { path: path.to_owned(), reason };
        let key = KeyPair::from_pem(key_pem).map_err(|err| malformed(key_path, err.to_string()))?;
        let certificate_der = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
            .map_err(|err| malformed(certificate_path, err.to_string()))?;
        let (_, parsed) =
            X509Certificate::from_der(&certificate_der).map_err(|err| malformed(certificate_path, err.to_string()))?;
        if parsed.public_key().raw != key_info(&key) {
            return Err(malformed(key_path, format!("it is not the key of {}", certificate_path.display())));
        }
        let expires = not_after(&parsed);
        if expires <= env.now() {
            return Err(AuthorityError::Expired { path: certificate_path.to_owned(), expired: expires });
        }
        let issuer = Issuer::from_ca_cert_der(&certificate_der, key)
            .map_err(|err| malformed(certificate_path, err.to_string()))?;
        Ok(Self { issuer, certificate_pem, certificate_der, env: env.clone() })
    }

    /// The authority's certificate, PEM. It may be shown to anyone.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The authority's certificate, DER.
    pub fn certificate_der(&self) -> &CertificateDer<'static> {
        &self.certificate_der
    }

    /// What signs.
    pub(crate) fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }

    /// Issues a certificate for a new key.
    pub fn issue(&self, request: &IssueRequest) -> Result<KeyPairPem, IssueError> {
        issue(&self.issuer, request, &self.env)
    }

    /// The certificate in `<dir>/<name>.crt` and its key in `<dir>/<name>.key`, issued anew if they are missing, say
    /// something other than `request`, come from another authority, or have less than a third of their time left.
    ///
    /// Called at every start, so a component that is restarted now and then never sees its certificate expire.
    pub fn load_or_issue(&self, dir: &Path, name: &str, request: &IssueRequest) -> Result<KeyPairPem, AuthorityError> {
        let (certificate_path, key_path) = paths(dir, name);
        if let (Some(certificate), Some(key)) = (read_if_there(&certificate_path)?, read_if_there(&key_path)?)
            && self.still_good(&certificate, &key, request)
        {
            return Ok(KeyPairPem { certificate, key });
        }
        let pair = self.issue(request)?;
        write_private(&key_path, &pair.key)?;
        write_private(&certificate_path, &pair.certificate)?;
        Ok(pair)
    }

    fn still_good(&self, certificate_pem: &str, key_pem: &str, request: &IssueRequest) -> bool {
        let Ok(der) = CertificateDer::from_pem_slice(certificate_pem.as_bytes()) else { return false };
        let Ok((_, certificate)) = X509Certificate::from_der(&der) else { return false };
        let Ok((_, authority)) = X509Certificate::from_der(&self.certificate_der) else { return false };
        let Ok(key) = KeyPair::from_pem(key_pem) else { return false };
        let remaining = not_after(&certificate).duration_since(self.env.now());
        let third = jiff::SignedDuration::try_from(request.validity / 3).unwrap_or(jiff::SignedDuration::MAX);
        remaining > third
            && certificate.public_key().raw == key_info(&key)
            && certificate.verify_signature(Some(authority.public_key())).is_ok()
            && says(&certificate, request)
    }
}

fn paths(dir: &Path, name: &str) -> (PathBuf, PathBuf) {
    (dir.join(format!("{name}.crt")), dir.join(format!("{name}.key")))
}

/// The key's SubjectPublicKeyInfo, as certificates hold it.
fn key_info(key: &KeyPair) -> Vec<u8> {
    use rcgen::PublicKeyData;
    key.subject_public_key_info()
}

fn not_after(certificate: &X509Certificate<'_>) -> Timestamp {
    Timestamp::from_second(certificate.validity().not_after.timestamp()).unwrap_or(Timestamp::MIN)
}

/// Whether the certificate has the subject and the names that are asked for.
fn says(certificate: &X509Certificate<'_>, request: &IssueRequest) -> bool {
    let subject = certificate.subject();
    let common_names: Vec<&str> = subject.iter_common_name().filter_map(|name| name.as_str().ok()).collect();
    let mut organizations: Vec<&str> = subject.iter_organization().filter_map(|name| name.as_str().ok()).collect();
    organizations.sort_unstable();
    let mut asked: Vec<&str> = request.organizations.iter().map(String::as_str).collect();
    asked.sort_unstable();
    if common_names != [request.common_name.as_str()] || organizations != asked {
        return false;
    }
    let Ok(names) = certificate.subject_alternative_name() else { return false };
    let names = names.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
    let has_host = |host: &String| names.iter().any(|name| matches!(name, GeneralName::DNSName(dns) if dns == host));
    let has_ip = |ip: &std::net::IpAddr| {
        let octets = match ip {
            std::net::IpAddr::V4(ip) => ip.octets().to_vec(),
            std::net::IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        names.iter().any(|name| matches!(name, GeneralName::IPAddress(bytes) if *bytes == octets))
    };
    request.dns_names.iter().all(has_host) && request.ips.iter().all(has_ip)
}

#[cfg(test)]
mod tests;
