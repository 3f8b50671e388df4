//! The nftables data plane: from the model to rules, and from two states of the rules to one transaction.

mod base_chains;
mod data_plane;
mod rules;
mod script;
mod table;

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use network::Protocol;

pub use data_plane::DataPlane;
pub use rules::{ServiceRules, service_rules};
pub use table::{Change, StaleFlow, Table, Update};

/// The bit of the packet mark that says: masquerade this connection.
pub const MASQUERADE_MARK: u32 = 0x4000;

/// What the table needs to know of the node.
#[derive(Clone, Debug)]
pub struct TableConfig {
    /// The table's name.
    pub name: String,
    /// The addresses of all pods: traffic from elsewhere to cluster addresses is masqueraded. Nothing is where empty.
    pub cluster_cidrs: Vec<IpNet>,
    /// The node's addresses on which node ports are open; all of them where empty.
    pub node_port_addresses: Vec<IpNet>,
    /// Whether node ports are open on 127.0.0.1.
    pub localhost_node_ports: bool,
}

/// An address family: rules, sets and maps exist once for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The family of an address.
    pub fn of(ip: IpAddr) -> Self {
        if ip.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// The digit at the end of names.
    fn suffix(self) -> &'static str {
        match self {
            Self::V4 => "4",
            Self::V6 => "6",
        }
    }

    /// The name of the header in rules.
    fn header(self) -> &'static str {
        match self {
            Self::V4 => "ip",
            Self::V6 => "ip6",
        }
    }

    /// The type of an address in sets.
    fn address_type(self) -> &'static str {
        match self {
            Self::V4 => "ipv4_addr",
            Self::V6 => "ipv6_addr",
        }
    }
}

/// Where connections of a service port arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frontend {
    /// The address.
    pub address: Address,
    /// The transport protocol.
    pub protocol: Protocol,
    /// The port.
    pub port: u16,
}

/// The address of a [`Frontend`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// A cluster, external or load balancer address.
    Ip(IpAddr),
    /// Every address of the node on which node ports are open.
    Node(Family),
}

impl Frontend {
    fn family(&self) -> Family {
        match self.address {
            Address::Ip(ip) => Family::of(ip),
            Address::Node(family) => family,
        }
    }
}

impl fmt::Display for Frontend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Address::Ip(ip) = self.address {
            write!(f, "{ip} . ")?;
        }
        write!(f, "{} . {}", self.protocol.as_nft(), self.port)
    }
}

#[cfg(test)]
mod tests;
