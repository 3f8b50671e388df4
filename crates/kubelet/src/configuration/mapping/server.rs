//! The kubelet's own server.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use edge::TlsSettings;

use super::super::document::KubeletConfiguration;
use super::{Config, count};
use crate::server::AccessSettings;

pub(super) fn set(from: &KubeletConfiguration, config: &mut Config) {
    config.port = count(from.port);
    config.enable_server = from.enable_server;
    config.debugging_handlers = from.enable_debugging_handlers;
    config.system_logs = from.enable_system_log_handler;
    config.system_log_query = from.enable_system_log_query;
    config.healthz = from.healthz_bind_address.parse().ok().map(|ip: IpAddr| (ip, count(from.healthz_port)).into());
    config.healthz = config.healthz.filter(|address: &SocketAddr| address.port() != 0);
    // The names have been judged.
    config.tls = TlsSettings::new(&from.tls_min_version, &from.tls_cipher_suites).unwrap_or_default();
    config.access = AccessSettings {
        anonymous: from.authentication.anonymous.enabled,
        tokens: from.authentication.webhook.enabled,
        token: from.authentication.webhook.cache_ttl.get(),
        asks: from.authorization.mode == "Webhook",
        allowed: from.authorization.webhook.cache_authorized_ttl.get(),
        denied: from.authorization.webhook.cache_unauthorized_ttl.get(),
    };
    let socket = |endpoint: &str| PathBuf::from(endpoint.strip_prefix("unix://").unwrap_or(endpoint));
    config.cri_socket = socket(&from.container_runtime_endpoint);
    config.image_socket = Some(socket(&from.image_service_endpoint)).filter(|path| !path.as_os_str().is_empty());
    // The default is all addresses, of the family that the node has: upstream's takes IPv6's connections too.
    if from.address != KubeletConfiguration::default().address
        && let Ok(address) = from.address.parse()
    {
        config.bind_address = address;
    }
}
