//! What this machine says about itself.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

use anyhow::{Context, Result, bail};

/// The host name, in lower case as node names must be.
pub fn name() -> Result<String> {
    let name = nix::unistd::gethostname().context("cannot read the host name; set --node-name")?;
    Ok(name.to_string_lossy().to_lowercase())
}

/// The address from which this machine would speak to the world: that of the default route's interface.
pub fn address() -> Result<IpAddr> {
    // Connecting a datagram socket picks a route and sends nothing. The address is one reserved for documentation.
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("cannot open a socket")?;
    let routed = socket.connect((Ipv4Addr::new(192, 0, 2, 1), 53)).and_then(|()| socket.local_addr());
    match routed {
        Ok(address) if !address.ip().is_unspecified() => Ok(address.ip()),
        _ => bail!("this machine has no default route to find its address by; set --node-ip"),
    }
}
