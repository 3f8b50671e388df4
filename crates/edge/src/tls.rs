//! The server side of TLS.

use std::collections::BTreeSet;
use std::sync::Arc;

use base::Env;
use rustls::{ServerConfig, SupportedProtocolVersion, version};

/// What of TLS a server speaks. Names are Go's, as upstream's flags take them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// Whether nothing older than TLS 1.3 is spoken.
    only_13: bool,
    /// The cipher suites of TLS 1.2; all that are good, if none is named.
    suites: BTreeSet<String>,
}

/// A name means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsSettingsError {
    /// There is no such version.
    #[error("unknown version of TLS {0:?}; use VersionTLS12 or VersionTLS13")]
    Version(String),
    /// There is no such cipher suite, or it is not good enough to be spoken.
    #[error("cipher suite {0:?} is not spoken")]
    Suite(String),
}

impl TlsSettings {
    /// What a least version and cipher suites of TLS 1.2 mean. Those of TLS 1.3 cannot be chosen, as upstream's.
    ///
    /// # Errors
    ///
    /// A name means nothing.
    pub fn new(min_version: &str, suites: &[String]) -> Result<Self, TlsSettingsError> {
        let only_13 = match min_version {
            // TLS 1.2 is the oldest that is spoken at all.
            "" | "VersionTLS10" | "VersionTLS11" | "VersionTLS12" => false,
            "VersionTLS13" => true,
            other => return Err(TlsSettingsError::Version(other.to_owned())),
        };
        let known = rustls::crypto::ring::default_provider().cipher_suites;
        let known: BTreeSet<String> = known.iter().map(|suite| name(*suite)).collect();
        let suites: BTreeSet<String> = suites.iter().map(|suite| canonical(suite)).collect();
        match suites.iter().find(|suite| !known.contains(*suite)) {
            Some(unknown) => Err(TlsSettingsError::Suite(unknown.clone())),
            None => Ok(Self { only_13, suites }),
        }
    }

    fn versions(&self) -> Vec<&'static SupportedProtocolVersion> {
        if self.only_13 { vec![&version::TLS13] } else { vec![&version::TLS13, &version::TLS12] }
    }
}

/// Go knows two of them by shorter names too.
fn canonical(suite: &str) -> String {
    match suite.strip_suffix("_CHACHA20_POLY1305") {
        Some(_) => format!("{suite}_SHA256"),
        None => suite.to_owned(),
    }
}

/// The name of a cipher suite as the standards have it.
fn name(suite: rustls::SupportedCipherSuite) -> String {
    suite.suite().as_str().unwrap_or_default().replace("TLS13_", "TLS_")
}

/// TLS with ALPN for HTTP/2 and HTTP/1.1, asking for client certificates. Whose they are is found out with each request.
///
/// # Errors
///
/// The presenter's certificate cannot be used.
pub fn server_config(
    presenter: Arc<pki::Presenter>,
    settings: &TlsSettings,
    env: &Env,
) -> Result<ServerConfig, rustls::Error> {
    let mut provider = rustls::crypto::ring::default_provider();
    if !settings.suites.is_empty() {
        provider.cipher_suites.retain(|suite| suite.tls13().is_some() || settings.suites.contains(&name(*suite)));
    }
    let mut config = pki::tls_server(provider, &settings.versions(), env)?
        .with_client_cert_verifier(Arc::new(pki::AnyPeer))
        .with_cert_resolver(presenter);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_suites_go_by_gos_names() {
        let suites =
            ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305"].map(str::to_owned);
        let settings = TlsSettings::new("VersionTLS12", &suites).expect("settings");
        assert_eq!((settings.suites.len(), settings.versions().len()), (2, 2));
        let settings = TlsSettings::new("VersionTLS13", &[]).expect("settings");
        assert_eq!(settings.versions().len(), 1);
        let old = "TLS_RSA_WITH_RC4_128_SHA".to_owned();
        assert_eq!(TlsSettings::new("", std::slice::from_ref(&old)), Err(TlsSettingsError::Suite(old)));
        assert_eq!(TlsSettings::new("SSL3", &[]), Err(TlsSettingsError::Version("SSL3".to_owned())));
    }
}
