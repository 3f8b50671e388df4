//! The sandbox's connection to the pod network.

use std::net::IpAddr;

use cri::{PodSandboxConfig, PortMapping};
use network::{Attach, AttachError, HostPort, Reservation};

use super::{SandboxPaths, SandboxRecord, is_host_network};
use crate::engine::Engine;
use crate::id::SandboxId;

/// Why a sandbox is not connected.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// This runtime was built without a pod network.
    #[error("this runtime has no pod network; only pods with hostNetwork can run")]
    NoNetwork,
    /// A port mapping makes no sense.
    #[error("invalid port mapping {host_ip}:{host_port}->{container_port}")]
    PortMapping {
        /// As given.
        host_ip: String,
        /// As given.
        host_port: i32,
        /// As given.
        container_port: i32,
    },
    /// The pod network refused.
    #[error(transparent)]
    Attach(#[from] AttachError),
}

/// Connects the sandbox: its addresses, none in the machine's own network.
pub(super) async fn connect(
    engine: &Engine,
    id: &SandboxId,
    config: &PodSandboxConfig,
    paths: &SandboxPaths,
) -> Result<Vec<IpAddr>, ConnectError> {
    if is_host_network(config) {
        return Ok(Vec::new());
    }
    let network = engine.network.as_ref().ok_or(ConnectError::NoNetwork)?;
    let attach = Attach { sandbox_id: id.to_string(), netns: paths.namespace("net"), host_ports: host_ports(config)? };
    Ok(network.attach(attach).await?.ips)
}

/// What a sandbox was given when it was connected, if it was.
pub(crate) fn reservation(record: &SandboxRecord) -> Option<Reservation> {
    let host_ports = host_ports(&record.config).ok()?;
    (!record.ips.is_empty()).then(|| Reservation { ips: record.ips.clone(), host_ports })
}

fn host_ports(config: &PodSandboxConfig) -> Result<Vec<HostPort>, ConnectError> {
    config.port_mappings.iter().filter(|mapping| mapping.host_port > 0).map(host_port).collect()
}

fn host_port(mapping: &PortMapping) -> Result<HostPort, ConnectError> {
    let invalid = || ConnectError::PortMapping {
        host_ip: mapping.host_ip.clone(),
        host_port: mapping.host_port,
        container_port: mapping.container_port,
    };
    let protocol = match mapping.protocol() {
        cri::Protocol::Tcp => network::Protocol::Tcp,
        cri::Protocol::Udp => network::Protocol::Udp,
        cri::Protocol::Sctp => network::Protocol::Sctp,
    };
    let host_ip = match mapping.host_ip.as_str() {
        "" => None,
        ip => Some(ip.parse().map_err(|_| invalid())?),
    };
    Ok(HostPort {
        protocol,
        host_ip,
        host_port: mapping.host_port.try_into().map_err(|_| invalid())?,
        container_port: mapping.container_port.try_into().map_err(|_| invalid())?,
    })
}
