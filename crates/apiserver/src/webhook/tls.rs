//! TLS with webhooks: which authorities their certificates may come from, and what is said of those that do not.

use std::io;
use std::net::IpAddr;

use base::Env;
use jiff::Timestamp;
use rustls::{CertificateError, ClientConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};

use super::credentials::ClientCertificate;
use crate::connect::authorities;

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate or its key cannot be read.
    #[error("a certificate or key is not PEM: {0}")]
    Pem(#[from] rustls_pki_types::pem::Error),
    /// They do not fit together.
    #[error("a certificate cannot be used: {0}")]
    Rustls(#[from] rustls::Error),
}

/// TLS with whoever has a certificate of the authorities in a PEM text; without any, of those that this machine
/// trusts. `client` is shown to those who ask for a certificate: it and its key in PEM.
pub(crate) fn config(
    authorities_pem: &[u8],
    client: Option<&ClientCertificate>,
    env: &Env,
) -> Result<ClientConfig, TlsError> {
    let builder = pki::tls_client(env)?.with_root_certificates(authorities(authorities_pem)?);
    let mut config = match client {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect::<Result<Vec<_>, _>>()?;
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes())?)?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// What upstream says of a handshake that failed.
pub(super) fn failure(err: &io::Error) -> String {
    let Some(rustls) = err.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return match err.kind() {
            io::ErrorKind::UnexpectedEof => "EOF".to_owned(),
            _ => err.to_string(),
        };
    };
    let rustls::Error::InvalidCertificate(reason) = rustls else { return format!("tls: {rustls}") };
    let why = match reason {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "certificate signed by unknown authority".to_owned()
        }
        CertificateError::Expired | CertificateError::NotValidYet => NOT_VALID_NOW.to_owned(),
        CertificateError::ExpiredContext { time, not_after } => {
            format!("{NOT_VALID_NOW}: current time {} is after {}", shown(*time), shown(*not_after))
        }
        CertificateError::NotValidYetContext { time, not_before } => {
            format!("{NOT_VALID_NOW}: current time {} is before {}", shown(*time), shown(*not_before))
        }
        CertificateError::NotValidForNameContext { expected, presented } => wrong_name(&expected.to_str(), presented),
        other => other.to_string(),
    };
    format!("tls: failed to verify certificate: x509: {why}")
}

/// What upstream says of a certificate whose time is another.
const NOT_VALID_NOW: &str = "certificate has expired or is not yet valid";

fn shown(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX).to_string()
}

/// What upstream says of a certificate for other hosts: of a name, the names that it is for, of an address, the
/// addresses. They come as `DnsName("a")` and `IpAddress(1.2.3.4)`.
fn wrong_name(host: &str, presented: &[String]) -> String {
    let is_address = host.parse::<IpAddr>().is_ok();
    let kind = if is_address { "IpAddress(" } else { "DnsName(" };
    let names = presented.iter().filter_map(|name| name.strip_prefix(kind)?.strip_suffix(')'));
    let names: Vec<&str> = names.map(|name| name.trim_matches('"')).collect();
    match (names.as_slice(), is_address) {
        ([], true) => format!("cannot validate certificate for {host} because it doesn't contain any IP SANs"),
        ([], false) => format!("certificate is not valid for any names, but wanted to match {host}"),
        _ => format!("certificate is valid for {}, not {host}", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustls_pki_types::ServerName;

    use super::*;

    #[track_caller]
    fn check(reason: CertificateError, expected: &str) {
        let err = io::Error::other(rustls::Error::InvalidCertificate(reason));
        assert_eq!(failure(&err), format!("tls: failed to verify certificate: x509: {expected}"));
    }

    #[test]
    fn certificates_of_another_time_are_told_with_both_times() {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        check(
            CertificateError::ExpiredContext { time: at(90), not_after: at(60) },
            "certificate has expired or is not yet valid: current time 1970-01-01T00:01:30Z is after 1970-01-01T00:01:00Z",
        );
        check(
            CertificateError::NotValidYetContext { time: at(90), not_before: at(120) },
            "certificate has expired or is not yet valid: current time 1970-01-01T00:01:30Z is before 1970-01-01T00:02:00Z",
        );
    }

    #[test]
    fn certificates_of_other_hosts_are_told_with_the_hosts() {
        let wrong = |host: &str, presented: &[&str]| CertificateError::NotValidForNameContext {
            expected: ServerName::try_from(host.to_owned()).expect("a name"),
            presented: presented.iter().map(|name| (*name).to_owned()).collect(),
        };
        let (name, address) = ("DnsName(\"a.example\")", "IpAddress(192.0.2.1)");
        check(wrong("b.example", &[name, address]), "certificate is valid for a.example, not b.example");
        check(wrong("192.0.2.2", &[name, address]), "certificate is valid for 192.0.2.1, not 192.0.2.2");
        let why = "cannot validate certificate for 192.0.2.2 because it doesn't contain any IP SANs";
        check(wrong("192.0.2.2", &[name]), why);
        let why = "certificate is not valid for any names, but wanted to match b.example";
        check(wrong("b.example", &[address]), why);
    }
}
