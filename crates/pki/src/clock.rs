//! TLS by an environment's clock: where a simulation owns the time, certificates end by it.

use std::sync::Arc;

use base::Env;
use rustls::client::ClientConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::ServerConfig;
use rustls::time_provider::TimeProvider;
use rustls::{ConfigBuilder, SupportedProtocolVersion, WantsVerifier};
use rustls_pki_types::UnixTime;

/// The time of an environment, as TLS asks for it.
#[derive(Debug)]
pub struct Clock(Env);

impl Clock {
    /// The clock of `env`.
    pub fn new(env: &Env) -> Arc<Self> {
        Arc::new(Self(env.clone()))
    }

    /// The time now.
    pub fn now(env: &Env) -> UnixTime {
        let seconds = u64::try_from(env.now().as_second()).unwrap_or_default();
        UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds))
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(Self::now(&self.0))
    }
}

/// What every client's side of TLS begins with: ring's algorithms, TLS 1.2 and 1.3, the clock of `env`.
pub fn tls_client(env: &Env) -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_details(provider, Clock::new(env)).with_safe_default_protocol_versions()
}

/// What every server's side of TLS begins with: algorithms, versions, the clock of `env`.
pub fn tls_server(
    provider: CryptoProvider,
    versions: &[&'static SupportedProtocolVersion],
    env: &Env,
) -> Result<ConfigBuilder<ServerConfig, WantsVerifier>, rustls::Error> {
    ServerConfig::builder_with_details(Arc::new(provider), Clock::new(env)).with_protocol_versions(versions)
}
