//! The node's side of the pod network in the kernel: the bridge, its addresses, and a pod's veth pair.

use std::fs::File;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::Path;

use ipnet::IpNet;
use sha2::{Digest, Sha256};

use crate::addresses::gateway;
use crate::netlink::{Link, NetlinkError, Route, Socket, Veth};

/// The name of a pod's interface.
pub(crate) const POD_INTERFACE: &str = "eth0";

/// `rtm_protocol` of what is set up by hand at boot.
const PROTOCOL_BOOT: u8 = 3;

/// Makes the bridge as it should be and returns it.
pub(crate) fn ensure(socket: &mut Socket, name: &str, pod_cidrs: &[IpNet], mtu: u32) -> Result<Link, NetlinkError> {
    if socket.link(name)?.is_none() {
        // An address of its own, for a bridge without one takes its lowest port's and changes it with the ports.
        let digest = Sha256::digest(name.as_bytes());
        socket.add_bridge(name, [0x02, digest[0], digest[1], digest[2], digest[3], digest[4]], mtu)?;
    }
    let bridge = socket.link(name)?.ok_or_else(|| NetlinkError {
        operation: format!("get link {name}"),
        error: nix::errno::Errno::ENODEV.into(),
    })?;
    if !bridge.up {
        socket.set_up(&bridge)?;
    }
    if bridge.mtu != mtu {
        socket.set_mtu(&bridge, mtu)?;
    }
    let wanted: Vec<IpNet> = pod_cidrs.iter().map(|cidr| with_prefix(gateway(*cidr), cidr.prefix_len())).collect();
    for address in socket.addresses()?.into_iter().filter(|address| address.link == bridge.index) {
        let link_local = matches!(address.net, IpNet::V6(net) if net.addr().is_unicast_link_local());
        if !wanted.contains(&address.net) && !link_local {
            socket.delete_address(&bridge, address.net)?;
        }
    }
    for net in wanted {
        socket.add_address(&bridge, net)?;
    }
    Ok(bridge)
}

/// The name of the node's end of a sandbox's veth pair.
pub(crate) fn veth_name(instance: &str, sandbox_id: &str) -> String {
    let digest = Sha256::new().chain_update(instance).chain_update([0]).chain_update(sandbox_id).finalize();
    let mut name = "veth".to_owned();
    for byte in &digest[..5] {
        name.push_str(&format!("{byte:02x}"));
    }
    name
}

/// Gives the namespace its interface, replacing one that an attempt before a crash left behind.
pub(crate) fn plug(bridge: &str, name: &str, netns: &Path, ips: &[IpAddr], mtu: u32) -> Result<(), PlugError> {
    let mut socket = Socket::open()?;
    let bridge = socket.link(bridge)?.ok_or_else(|| PlugError::NoBridge(bridge.to_owned()))?;
    socket.delete_link(name)?;
    let namespace = File::open(netns).map_err(|error| PlugError::Open { path: netns.to_owned(), error })?;
    socket.add_veth(Veth {
        name,
        controller: Some(bridge.index),
        peer: POD_INTERFACE,
        peer_netns: namespace.as_fd(),
        peer_mac: mac_of(ips),
        mtu,
    })?;
    if let Some(port) = socket.link(name)? {
        socket.set_hairpin(&port)?;
    }
    Ok(())
}

/// A hardware address that is always the same for an IP address, so that no neighbour's memory of it is ever wrong.
fn mac_of(ips: &[IpAddr]) -> [u8; 6] {
    match ips.first() {
        Some(IpAddr::V4(ip)) => {
            let [a, b, c, d] = ip.octets();
            [0x0a, 0x58, a, b, c, d]
        }
        Some(IpAddr::V6(ip)) => {
            let digest = Sha256::digest(ip.octets());
            [0x0a, 0x58, digest[0], digest[1], digest[2], digest[3]]
        }
        None => [0x0a, 0x58, 0, 0, 0, 0],
    }
}

/// Inside the pod's namespace: addresses, a route to the gateway and the default route through it.
pub(crate) fn configure_pod(ips: &[IpAddr], gateways: &[IpAddr]) -> Result<(), PlugError> {
    let mut socket = Socket::open()?;
    let mut named = |name: &str| socket.link(name)?.ok_or_else(|| PlugError::NoInterface(name.to_owned()));
    let (loopback, interface) = (named("lo")?, named(POD_INTERFACE)?);
    socket.set_up(&loopback)?;
    socket.set_up(&interface)?;
    for ip in ips {
        socket.add_address(&interface, host_net(*ip))?;
    }
    for gateway in gateways {
        let on_link = Route {
            destination: host_net(*gateway),
            gateway: None,
            link: Some(interface.index),
            protocol: PROTOCOL_BOOT,
        };
        socket.replace_route(on_link)?;
        let any = if gateway.is_ipv4() { IpAddr::from([0u8; 4]) } else { IpAddr::from([0u8; 16]) };
        let default = Route { destination: with_prefix(any, 0), gateway: Some(*gateway), ..on_link };
        socket.replace_route(default)?;
    }
    Ok(())
}

/// The MTU of the interface with the default route, which is what packets between nodes go through.
pub(crate) fn detect_mtu(socket: &mut Socket) -> Result<u32, NetlinkError> {
    let default = socket.routes()?.into_iter().find(|route| route.destination.prefix_len() == 0);
    let links = socket.links()?;
    let mtu = default.and_then(|route| links.iter().find(|link| Some(link.index) == route.link)).map(|link| link.mtu);
    Ok(mtu.unwrap_or(1500))
}

fn host_net(ip: IpAddr) -> IpNet {
    IpNet::from(ip)
}

fn with_prefix(ip: IpAddr, prefix_len: u8) -> IpNet {
    IpNet::new(ip, prefix_len).unwrap_or_else(|_| IpNet::from(ip))
}

/// A pod that could not be connected.
#[derive(Debug, thiserror::Error)]
pub enum PlugError {
    /// The kernel refused a request.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The bridge is gone.
    #[error("bridge {0} is missing")]
    NoBridge(String),
    /// The pod's namespace lacks an interface that it should have.
    #[error("interface {0} is missing in the pod's network namespace")]
    NoInterface(String),
    /// The pod's namespace cannot be opened.
    #[error("open network namespace {}: {error}", path.display())]
    Open {
        /// The namespace's path.
        path: std::path::PathBuf,
        /// Why it failed.
        #[source]
        error: std::io::Error,
    },
}
