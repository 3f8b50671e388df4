//! Routes to the pods of other nodes, through the nodes' own addresses.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::ReservationError;
use crate::netlink::{Link, NetlinkError, Route, Socket};

/// The routing protocol number (`rtm_protocol`) of the routes that are ours; it stands in no registry of the kernel.
pub const ROUTE_PROTOCOL: u8 = 83;

/// Where another node's pods are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeRoute {
    /// The other node's pod CIDR.
    pub pod_cidr: IpNet,
    /// An address of the other node on a network that this node is on too.
    pub node_ip: IpAddr,
}

/// Routes that could not be set; the others were.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// The routes could not be listed.
    #[error(transparent)]
    List(NetlinkError),
    /// The routes could not be written down.
    #[error(transparent)]
    Note(#[from] ReservationError),
    /// Some routes were refused; `ENETUNREACH` means that the node is not on a network of this one.
    #[error("{}", failed.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Refused {
        /// One error a route.
        failed: Vec<NetlinkError>,
    },
}

/// Makes the kernel's routes to other nodes the given ones. Only what differs is touched. Blocking.
pub(crate) fn sync(cluster_cidrs: &[IpNet], wanted: &[NodeRoute]) -> Result<(), RouteError> {
    let mut socket = Socket::open().map_err(RouteError::List)?;
    let current = socket.routes().map_err(RouteError::List)?;
    let (remove, add) = diff(&current, cluster_cidrs, wanted);
    let mut failed = Vec::new();
    for route in remove {
        failed.extend(socket.delete_route(route).err());
    }
    for route in add {
        failed.extend(socket.replace_route(route).err());
    }
    if failed.is_empty() { Ok(()) } else { Err(RouteError::Refused { failed }) }
}

/// Makes a network reachable on a link.
pub(crate) fn to_link(socket: &mut Socket, destination: IpNet, link: &Link) -> Result<(), NetlinkError> {
    socket.replace_route(Route { destination, gateway: None, link: Some(link.index), protocol: ROUTE_PROTOCOL })
}

/// What to delete and what to add (which replaces a route to the same network).
///
/// Two instances on one machine have different cluster CIDRs, so a route of ours outside this one's is the other's.
fn diff(current: &[Route], cluster_cidrs: &[IpNet], wanted: &[NodeRoute]) -> (Vec<Route>, Vec<Route>) {
    let ours = |route: &&Route| {
        route.protocol == ROUTE_PROTOCOL && cluster_cidrs.iter().any(|cidr| cidr.contains(&route.destination))
    };
    let current: Vec<Route> = current.iter().filter(ours).copied().collect();
    let wanted: Vec<Route> = wanted
        .iter()
        .map(|route| Route {
            destination: route.pod_cidr.trunc(),
            gateway: Some(route.node_ip),
            link: None,
            protocol: ROUTE_PROTOCOL,
        })
        .collect();
    let same = |a: &Route, b: &Route| (a.destination, a.gateway) == (b.destination, b.gateway);
    let remove = current.iter().filter(|route| !wanted.iter().any(|want| want.destination == route.destination));
    let add = wanted.iter().filter(|want| !current.iter().any(|route| same(route, want)));
    (remove.copied().collect(), add.copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(destination: &str, gateway: &str, protocol: u8) -> Route {
        Route {
            destination: destination.parse().expect("a network"),
            gateway: Some(gateway.parse().expect("an address")),
            link: Some(2),
            protocol,
        }
    }

    #[test]
    fn only_what_differs_is_touched() {
        let current = [
            route("0.0.0.0/0", "192.0.2.1", 3),
            route("10.42.1.0/24", "192.0.2.11", ROUTE_PROTOCOL),
            route("10.42.2.0/24", "192.0.2.12", ROUTE_PROTOCOL),
            route("10.42.3.0/24", "192.0.2.13", ROUTE_PROTOCOL),
            route("10.99.3.0/24", "192.0.2.13", ROUTE_PROTOCOL),
        ];
        let wanted = [("10.42.1.0/24", "192.0.2.11"), ("10.42.2.0/24", "192.0.2.99"), ("10.42.4.0/24", "192.0.2.14")]
            .map(|(cidr, ip)| NodeRoute {
                pod_cidr: cidr.parse().expect("a network"),
                node_ip: ip.parse().expect("an address"),
            });
        let (remove, add) = diff(&current, &["10.42.0.0/16".parse().expect("a network")], &wanted);
        let destinations = |routes: &[Route]| routes.iter().map(|r| r.destination.to_string()).collect::<Vec<_>>();
        assert_eq!(destinations(&remove), ["10.42.3.0/24"]);
        assert_eq!(destinations(&add), ["10.42.2.0/24", "10.42.4.0/24"]);
    }
}
