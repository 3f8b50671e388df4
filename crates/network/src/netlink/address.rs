//! Addresses of links.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;

use super::{Link, NetlinkError, Socket};

/// An address of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The link's index.
    pub link: u32,
    /// The address and the length of its network's prefix.
    pub net: IpNet,
}

impl Socket {
    /// All addresses of the namespace.
    pub fn addresses(&mut self) -> Result<Vec<Address>, NetlinkError> {
        let answers = self.dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()), "list addresses")?;
        Ok(answers.into_iter().filter_map(address_of).collect())
    }

    /// Gives a link an address; one that it has is no error. Nobody is asked whether he has it too: the addresses are
    /// ours to give, and could not be used for a second while the kernel asked.
    pub fn add_address(&mut self, link: &Link, net: IpNet) -> Result<(), NetlinkError> {
        let mut message = message(link, net);
        if net.addr().is_ipv6() {
            message.header.flags = AddressHeaderFlags::Nodad;
        }
        let message = RouteNetlinkMessage::NewAddress(message);
        self.request(message, NLM_F_CREATE | NLM_F_REPLACE, || format!("add address {net} to {}", link.name))
    }

    /// Takes an address from a link; one that it does not have is no error.
    pub fn delete_address(&mut self, link: &Link, net: IpNet) -> Result<(), NetlinkError> {
        let message = RouteNetlinkMessage::DelAddress(message(link, net));
        match self.request(message, 0, || format!("delete address {net} of {}", link.name)) {
            Err(err) if err.is(Errno::EADDRNOTAVAIL) => Ok(()),
            other => other,
        }
    }
}

fn message(link: &Link, net: IpNet) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(net.addr());
    message.header.prefix_len = net.prefix_len();
    message.header.index = link.index;
    message.attributes = vec![AddressAttribute::Local(net.addr()), AddressAttribute::Address(net.addr())];
    message
}

pub(super) fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

fn address_of(message: RouteNetlinkMessage) -> Option<Address> {
    let RouteNetlinkMessage::NewAddress(message) = message else { return None };
    let find = |wanted: fn(&AddressAttribute) -> Option<IpAddr>| message.attributes.iter().find_map(wanted);
    // `Local` is the interface's own address; `Address` differs from it on point-to-point links only.
    let local = find(|attribute| if let AddressAttribute::Local(ip) = attribute { Some(*ip) } else { None });
    let address = find(|attribute| if let AddressAttribute::Address(ip) = attribute { Some(*ip) } else { None });
    let net = IpNet::new(local.or(address)?, message.header.prefix_len).ok()?;
    Some(Address { link: message.header.index, net })
}
