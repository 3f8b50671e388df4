//! TLS by an environment's clock: where a simulation owns the time, certificates end by it.

use std::sync::Arc;

use base::Env;
use rustls::client::ClientConfig;
use rustls::server::ServerConfig;
use rustls::time_provider::TimeProvider;
use rustls::{ConfigBuilder, WantsVerifier};
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

/// The same for a server's side.
pub fn tls_server(env: &Env) -> Result<ConfigBuilder<ServerConfig, WantsVerifier>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ServerConfig::builder_with_details(provider, Clock::new(env)).with_safe_default_protocol_versions()
}
