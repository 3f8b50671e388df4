//! Links: bridges, veth pairs, and what is asked of any interface.

use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoPortKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo,
    LinkMessage,
};
use nix::errno::Errno;

use super::{NetlinkError, Socket};

/// A network interface as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// The largest packet that it sends.
    pub mtu: u32,
    /// The index of the bridge whose port it is.
    pub controller: Option<u32>,
    /// Whether it is administratively up.
    pub up: bool,
}

/// A veth pair to create: one end here, one in another namespace.
#[derive(Clone, Copy, Debug)]
pub struct Veth<'a> {
    /// The name of the end in the socket's namespace.
    pub name: &'a str,
    /// The index of the bridge that this end becomes a port of.
    pub controller: Option<u32>,
    /// The name of the other end.
    pub peer: &'a str,
    /// The namespace of the other end.
    pub peer_netns: BorrowedFd<'a>,
    /// The other end's hardware address.
    pub peer_mac: [u8; 6],
    /// The largest packet, on both ends.
    pub mtu: u32,
}

impl Socket {
    /// All links of the namespace.
    pub fn links(&mut self) -> Result<Vec<Link>, NetlinkError> {
        let answers = self.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()), "list links")?;
        Ok(answers.into_iter().filter_map(link_of).collect())
    }

    /// The link with a name.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>, NetlinkError> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        match self.get(RouteNetlinkMessage::GetLink(message), || format!("get link {name}")) {
            Ok(answers) => Ok(answers.into_iter().find_map(link_of)),
            Err(err) if err.is(Errno::ENODEV) => Ok(None),
            Err(err) => Err(err),
        }
    }

    /// Creates a bridge that is up.
    pub fn add_bridge(&mut self, name: &str, mac: [u8; 6], mtu: u32) -> Result<(), NetlinkError> {
        let mut message = up();
        message.attributes = vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::Address(mac.to_vec()),
            LinkAttribute::Mtu(mtu),
            LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]),
        ];
        self.new_link(message, || format!("create bridge {name}"))
    }

    /// Creates a veth pair, each end in its namespace from the start; this one is up, the other is not.
    pub fn add_veth(&mut self, veth: Veth<'_>) -> Result<(), NetlinkError> {
        // The kernel brings the peer up before the pair is joined, and refuses: whoever is in its namespace does it.
        let mut peer = LinkMessage::default();
        peer.attributes = vec![
            LinkAttribute::IfName(veth.peer.to_owned()),
            LinkAttribute::Address(veth.peer_mac.to_vec()),
            LinkAttribute::Mtu(veth.mtu),
            LinkAttribute::NetNsFd(veth.peer_netns.as_raw_fd()),
        ];
        let mut message = up();
        message.attributes = vec![LinkAttribute::IfName(veth.name.to_owned()), LinkAttribute::Mtu(veth.mtu)];
        message.attributes.extend(veth.controller.map(LinkAttribute::Controller));
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]));
        self.new_link(message, || format!("create veth {}", veth.name))
    }

    fn new_link(&mut self, message: LinkMessage, operation: impl FnOnce() -> String) -> Result<(), NetlinkError> {
        self.request(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL, operation)
    }

    /// Lets a bridge send a packet back through the port that it came from.
    pub fn set_hairpin(&mut self, port: &Link) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        message.header.index = port.index;
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::PortKind(InfoPortKind::Bridge),
            LinkInfo::PortData(InfoPortData::BridgePort(vec![InfoBridgePort::HairpinMode(true)])),
        ]));
        self.request(RouteNetlinkMessage::NewLink(message), 0, || format!("set hairpin mode of {}", port.name))
    }

    /// Sets a link administratively up.
    pub fn set_up(&mut self, link: &Link) -> Result<(), NetlinkError> {
        let mut message = up();
        message.header.index = link.index;
        self.request(RouteNetlinkMessage::SetLink(message), 0, || format!("set link {} up", link.name))
    }

    /// Changes the largest packet of a link.
    pub fn set_mtu(&mut self, link: &Link, mtu: u32) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        message.header.index = link.index;
        message.attributes.push(LinkAttribute::Mtu(mtu));
        self.request(RouteNetlinkMessage::SetLink(message), 0, || format!("set mtu of {} to {mtu}", link.name))
    }

    /// Deletes a link; a link that is gone is no error.
    pub fn delete_link(&mut self, name: &str) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        match self.request(RouteNetlinkMessage::DelLink(message), 0, || format!("delete link {name}")) {
            Err(err) if err.is(Errno::ENODEV) => Ok(()),
            other => other,
        }
    }
}

fn up() -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.flags |= LinkFlags::Up;
    message.header.change_mask |= LinkFlags::Up;
    message
}

fn link_of(message: RouteNetlinkMessage) -> Option<Link> {
    let RouteNetlinkMessage::NewLink(message) = message else { return None };
    let up = message.header.flags.contains(LinkFlags::Up);
    let mut link = Link { index: message.header.index, name: String::new(), mtu: 0, controller: None, up };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Controller(index) => link.controller = Some(index),
            _ => {}
        }
    }
    Some(link)
}
