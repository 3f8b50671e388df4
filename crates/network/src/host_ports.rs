//! Ports of the node that lead to a pod.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Protocol {
    /// TCP.
    #[serde(rename = "TCP")]
    Tcp,
    /// UDP.
    #[serde(rename = "UDP")]
    Udp,
    /// SCTP.
    #[serde(rename = "SCTP")]
    Sctp,
}

impl Protocol {
    /// The number in packets.
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }

    /// The name in nftables rules.
    pub fn as_nft(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

/// A port of the node that leads to a port of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HostPort {
    /// The transport protocol.
    pub protocol: Protocol,
    /// The node address on which the port is open; none for all of them (`0.0.0.0` and `::` are read as none).
    pub host_ip: Option<IpAddr>,
    /// The port of the node.
    pub host_port: u16,
    /// The port of the pod.
    pub container_port: u16,
}

impl HostPort {
    /// The address that the port is bound to, without the unspecified ones.
    pub(crate) fn bound_ip(&self) -> Option<IpAddr> {
        self.host_ip.filter(|ip| !ip.is_unspecified())
    }

    fn collides(&self, other: &Self) -> bool {
        let same_address = match (self.bound_ip(), other.bound_ip()) {
            (Some(a), Some(b)) => a == b,
            _ => true,
        };
        self.protocol == other.protocol && self.host_port == other.host_port && same_address
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(ip) = self.bound_ip() {
            write!(f, "{ip}:")?;
        }
        write!(f, "{}/{}", self.host_port, self.protocol.as_nft())
    }
}

/// The first of `wanted` that a sandbox other than `sandbox_id` has, with that sandbox's id.
pub(crate) fn collision<'a>(
    taken: &'a BTreeMap<String, Vec<HostPort>>,
    sandbox_id: &str,
    wanted: &[HostPort],
) -> Option<(HostPort, &'a str)> {
    let others = || taken.iter().filter(|(id, _)| *id != sandbox_id);
    wanted.iter().find_map(|port| {
        let (id, _) = others().find(|(_, theirs)| theirs.iter().any(|their| their.collides(port)))?;
        Some((*port, id.as_str()))
    })
}
