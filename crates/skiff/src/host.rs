//! What this machine says about itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use anyhow::{Context, Result, bail};
use base::Networks;

/// The host name, in lower case as node names must be.
pub fn name() -> Result<String> {
    let names = rustix::system::uname();
    let name = names.nodename().to_str().context("the host name is not UTF-8; set --node-name")?;
    Ok(name.to_lowercase())
}

/// The addresses from which this machine would speak to the world, of the families that pods have: those of the default
/// routes' interfaces. Only the first family must have one.
pub fn addresses(pods: Networks) -> Result<Vec<IpAddr>> {
    let found: Vec<Option<IpAddr>> = pods.iter().map(|network| address(network.addr().is_ipv4())).collect();
    if found.first().is_some_and(Option::is_none) {
        bail!("this machine has no default route to find its address by; set --node-ip");
    }
    Ok(found.into_iter().flatten().collect())
}

/// Connecting a datagram socket picks a route and sends nothing. The addresses are reserved for documentation.
fn address(is_ipv4: bool) -> Option<IpAddr> {
    let (any, far): (IpAddr, IpAddr) = match is_ipv4 {
        true => (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(192, 0, 2, 1).into()),
        false => (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    let routed = socket.connect((far, 53)).and_then(|()| socket.local_addr()).ok()?;
    Some(routed.ip()).filter(|ip| !ip.is_unspecified())
}
