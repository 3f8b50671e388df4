//! The server side of TLS.

use std::sync::Arc;

use base::Env;
use rustls::ServerConfig;

/// TLS 1.2 and 1.3 with ALPN for HTTP/2 and HTTP/1.1, asking for client certificates. Whose they are is found out with
/// each request.
///
/// # Errors
///
/// The presenter's certificate cannot be used.
pub fn server_config(presenter: Arc<pki::Presenter>, env: &Env) -> Result<ServerConfig, rustls::Error> {
    let mut config =
        pki::tls_server(env)?.with_client_cert_verifier(Arc::new(pki::AnyPeer)).with_cert_resolver(presenter);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
