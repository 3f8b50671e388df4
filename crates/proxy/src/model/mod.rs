//! What the cluster's services mean on this node: pure functions from API objects to values.

mod endpoints;
mod service;

use std::net::IpAddr;

use ipnet::IpNet;
pub use network::Protocol;

pub use service::{is_proxied, service};

/// What of a node decides over its endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeTopology {
    /// The node's name.
    pub name: String,
    /// Its zone, from the label `topology.kubernetes.io/zone`.
    pub zone: Option<String>,
}

/// One endpoint of a service port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// Its address.
    pub ip: IpAddr,
    /// Its port.
    pub port: u16,
    /// Whether it is on this node.
    pub local: bool,
}

/// A service as this node sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// One a port of its spec.
    pub ports: Vec<ServicePort>,
    /// The port on which load balancers ask whether this node has endpoints.
    pub health_check: Option<HealthCheck>,
}

/// What is answered on a service's health check node port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// The node's port.
    pub node_port: u16,
    /// How many ready endpoints this node has.
    pub local_endpoints: usize,
}

/// One port of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Its name in the service's spec; empty for an unnamed port.
    pub name: String,
    /// The transport protocol.
    pub protocol: Protocol,
    /// The port on cluster, external and load balancer addresses.
    pub port: u16,
    /// The port on the node's addresses.
    pub node_port: Option<u16>,
    /// The cluster addresses.
    pub cluster_ips: Vec<IpAddr>,
    /// The external addresses.
    pub external_ips: Vec<IpAddr>,
    /// The addresses of load balancers that leave packets' destination as it is.
    pub load_balancer_ips: Vec<IpAddr>,
    /// Who may use the load balancer addresses; everybody where empty.
    pub source_ranges: Vec<IpNet>,
    /// Whether traffic to cluster addresses stays on this node.
    pub internal_local: bool,
    /// Whether traffic from outside stays on this node, with its source address.
    pub external_local: bool,
    /// For how many seconds a client stays with its endpoint.
    pub affinity_seconds: Option<u32>,
    /// The endpoints for traffic that may leave the node.
    pub cluster_endpoints: Vec<Endpoint>,
    /// The endpoints for traffic that stays on this node.
    pub local_endpoints: Vec<Endpoint>,
}

#[cfg(test)]
mod tests;
