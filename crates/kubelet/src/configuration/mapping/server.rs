//! The kubelet's own server.

use super::super::document::KubeletConfiguration;
use super::{Config, count};

pub(super) fn set(from: &KubeletConfiguration, config: &mut Config) {
    config.port = count(from.port);
    let endpoint = &from.container_runtime_endpoint;
    config.cri_socket = endpoint.strip_prefix("unix://").unwrap_or(endpoint).into();
    // The default is all addresses, of the family that the node has: upstream's takes IPv6's connections too.
    if from.address != KubeletConfiguration::default().address
        && let Ok(address) = from.address.parse()
    {
        config.bind_address = address;
    }
}
