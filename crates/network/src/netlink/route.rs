//! Unicast routes of the main table.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use nix::errno::Errno;

use super::address::family;
use super::{NetlinkError, Socket};

/// A unicast route of the main table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The network that it leads to; a prefix of length 0 is the default route.
    pub destination: IpNet,
    /// The next hop; none where the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// The index of the link.
    pub link: Option<u32>,
    /// Who installed it (`rtm_protocol`).
    pub protocol: u8,
}

impl Socket {
    /// All unicast routes of the main table.
    pub fn routes(&mut self) -> Result<Vec<Route>, NetlinkError> {
        let answers = self.dump(RouteNetlinkMessage::GetRoute(RouteMessage::default()), "list routes")?;
        Ok(answers.into_iter().filter_map(route_of).collect())
    }

    /// Adds a route, or replaces the one to the same network.
    pub fn replace_route(&mut self, route: Route) -> Result<(), NetlinkError> {
        let message = RouteNetlinkMessage::NewRoute(message(route));
        self.request(message, NLM_F_CREATE | NLM_F_REPLACE, || format!("add route to {}", route.destination))
    }

    /// Deletes a route; one that is gone is no error.
    pub fn delete_route(&mut self, route: Route) -> Result<(), NetlinkError> {
        let message = RouteNetlinkMessage::DelRoute(message(route));
        match self.request(message, 0, || format!("delete route to {}", route.destination)) {
            Err(err) if err.is(Errno::ESRCH) => Ok(()),
            other => other,
        }
    }
}

fn message(route: Route) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family(route.destination.addr());
    message.header.destination_prefix_length = route.destination.prefix_len();
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::from(route.protocol);
    message.header.scope = if route.gateway.is_some() { RouteScope::Universe } else { RouteScope::Link };
    message.header.kind = RouteType::Unicast;
    if route.destination.prefix_len() > 0 {
        message.attributes.push(RouteAttribute::Destination(route.destination.network().into()));
    }
    message.attributes.extend(route.gateway.map(|gateway| RouteAttribute::Gateway(gateway.into())));
    message.attributes.extend(route.link.map(RouteAttribute::Oif));
    message
}

fn route_of(message: RouteNetlinkMessage) -> Option<Route> {
    let RouteNetlinkMessage::NewRoute(message) = message else { return None };
    if message.header.table != RouteHeader::RT_TABLE_MAIN || message.header.kind != RouteType::Unicast {
        return None;
    }
    let any = match message.header.address_family {
        netlink_packet_route::AddressFamily::Inet => IpAddr::from([0u8; 4]),
        _ => IpAddr::from([0u8; 16]),
    };
    let (mut destination, mut gateway, mut link) = (any, None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => destination = ip_of(address)?,
            RouteAttribute::Gateway(address) => gateway = ip_of(address),
            RouteAttribute::Oif(index) => link = Some(*index),
            _ => {}
        }
    }
    let destination = IpNet::new(destination, message.header.destination_prefix_length).ok()?;
    Some(Route { destination, gateway, link, protocol: message.header.protocol.into() })
}

fn ip_of(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some(IpAddr::V4(*ip)),
        RouteAddress::Inet6(ip) => Some(IpAddr::V6(*ip)),
        _ => None,
    }
}
