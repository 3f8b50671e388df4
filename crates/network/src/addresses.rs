//! Which address a pod gets: the next free one of each pod CIDR.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

/// No address is left.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("no free address in pod CIDR {cidr}")]
pub struct AllocateError {
    /// The exhausted network.
    pub cidr: IpNet,
}

/// The address of the bridge: the first after the network's own.
pub(crate) fn gateway(cidr: IpNet) -> IpAddr {
    offset(cidr, 1)
}

/// The first free address after `last` (or from the start), going round; so that an address that was just given back is
/// the last to be used again.
pub(crate) fn next_free(cidr: IpNet, last: Option<IpAddr>, used: &BTreeSet<IpAddr>) -> Result<IpAddr, AllocateError> {
    // Offset 0 is the network, 1 the bridge; the highest IPv4 address is the broadcast address.
    let size = 1u128.checked_shl(u32::from(cidr.max_prefix_len() - cidr.prefix_len())).unwrap_or(u128::MAX);
    let end = if matches!(cidr, IpNet::V4(_)) { size.saturating_sub(1) } else { size };
    let start = last.filter(|last| cidr.contains(last)).map_or(2, |last| number(last) - number(cidr.network()) + 1);
    let candidates = (start.max(2)..end).chain(2..start.min(end));
    // At most one more candidate than there are used addresses has to be looked at.
    candidates.map(|n| offset(cidr, n)).find(|ip| !used.contains(ip)).ok_or(AllocateError { cidr })
}

fn number(ip: impl std::borrow::Borrow<IpAddr>) -> u128 {
    match ip.borrow() {
        IpAddr::V4(ip) => u128::from(ip.to_bits()),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

fn offset(cidr: IpNet, n: u128) -> IpAddr {
    let number = number(cidr.network()) + n;
    match cidr {
        IpNet::V4(_) => IpAddr::from((u32::try_from(number).unwrap_or(u32::MAX)).to_be_bytes()),
        IpNet::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(number)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(cidr: &str, last: Option<&str>, used: &[&str], expected: Option<&str>) {
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        let used = used.iter().map(|text| ip(text)).collect();
        let next = next_free(cidr.parse().expect("a network"), last.map(ip), &used);
        assert_eq!(next.ok(), expected.map(ip));
    }

    #[test]
    fn addresses_go_round() {
        check("10.42.0.0/24", None, &[], Some("10.42.0.2"));
        check("10.42.0.0/24", Some("10.42.0.2"), &[], Some("10.42.0.3"));
        check("10.42.0.0/24", Some("10.42.0.254"), &["10.42.0.2"], Some("10.42.0.3"));
        check("10.42.0.0/24", Some("10.99.0.254"), &[], Some("10.42.0.2"));
        check("fd00::/64", Some("fd00::ff"), &["fd00::100"], Some("fd00::101"));
    }

    #[test]
    fn a_full_network_has_none() {
        check("10.42.0.0/30", None, &[], Some("10.42.0.2"));
        check("10.42.0.0/30", Some("10.42.0.2"), &["10.42.0.2"], None);
        check("10.42.0.0/31", None, &[], None);
    }

    #[test]
    fn the_bridge_has_the_first() {
        assert_eq!(gateway("10.42.3.0/24".parse().expect("a network")).to_string(), "10.42.3.1");
    }
}
