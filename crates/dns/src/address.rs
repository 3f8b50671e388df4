//! The cluster DNS addresses on the loopback interface.

use std::net::IpAddr;

use network::netlink::{NetlinkError, Socket};

/// Puts the addresses on the loopback interface; those that are there are no error. Blocking.
pub(crate) fn add(addresses: &[IpAddr]) -> Result<(), NetlinkError> {
    if addresses.is_empty() {
        return Ok(());
    }
    let mut socket = Socket::open()?;
    if let Some(loopback) = socket.link("lo")? {
        socket.set_up(&loopback)?;
        for address in addresses {
            socket.add_address(&loopback, (*address).into())?;
        }
    }
    Ok(())
}

/// Takes the cluster DNS addresses from the loopback interface; those that are not there are no error. Blocking.
///
/// Needed only after a process that could not end by itself.
pub fn cleanup(addresses: &[IpAddr]) -> Result<(), NetlinkError> {
    if addresses.is_empty() {
        return Ok(());
    }
    let mut socket = Socket::open()?;
    if let Some(loopback) = socket.link("lo")? {
        for address in addresses {
            socket.delete_address(&loopback, (*address).into())?;
        }
    }
    Ok(())
}
