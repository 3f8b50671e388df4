//! TLS with webhooks: which authorities their certificates may come from, and what is said of those that do not.

use std::io;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustls::{CertificateError, ClientConfig};
use tokio_rustls::TlsConnector;

use crate::connect::authorities;

/// TLS with whoever has a certificate of the bundle's authorities; without any, of those that this machine trusts.
pub(super) fn connector(ca_bundle: &str) -> Result<TlsConnector, String> {
    let bundle = BASE64_STANDARD.decode(ca_bundle).map_err(|err| err.to_string())?;
    let roots = authorities(&bundle).map_err(|err| err.to_string())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|err| err.to_string())?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
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
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => "certificate has expired or is not yet valid".to_owned(),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let names: Vec<&str> = presented.iter().map(|name| name_of(name)).collect();
            format!("certificate is valid for {}, not {}", names.join(", "), expected.to_str())
        }
        other => other.to_string(),
    };
    format!("tls: failed to verify certificate: x509: {why}")
}

/// `DnsName("a")` and `IpAddress(1.2.3.4)` without what is around the names.
fn name_of(presented: &str) -> &str {
    let inner = presented.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(presented).trim_matches('"')
}
