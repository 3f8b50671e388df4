//! One network of addresses, or one of each family.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Networks for one purpose: one, or two of different families of which the first is the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Networks {
    primary: IpNet,
    secondary: Option<IpNet>,
}

/// Networks that do not go together.
#[derive(Debug, thiserror::Error)]
#[error("give one network, or two of which one is of IPv4 and one of IPv6, such as 10.43.0.0/16,fd43::/112")]
pub struct NetworksError;

impl Networks {
    /// The networks without what their addresses say beyond their prefixes.
    pub fn new(networks: &[IpNet]) -> Result<Self, NetworksError> {
        match networks {
            [only] => Ok(Self::from(*only)),
            [primary, secondary] if primary.addr().is_ipv4() != secondary.addr().is_ipv4() => {
                Ok(Self { primary: primary.trunc(), secondary: Some(secondary.trunc()) })
            }
            _ => Err(NetworksError),
        }
    }

    /// The first.
    #[must_use]
    pub fn primary(&self) -> IpNet {
        self.primary
    }

    /// All, the primary first.
    pub fn iter(&self) -> impl Iterator<Item = IpNet> + use<> {
        std::iter::once(self.primary).chain(self.secondary)
    }
}

impl From<IpNet> for Networks {
    fn from(network: IpNet) -> Self {
        Self { primary: network.trunc(), secondary: None }
    }
}

/// The address at a position of a network.
#[must_use]
pub fn nth_address(network: &IpNet, position: u128) -> Option<IpAddr> {
    let address = match network {
        IpNet::V4(network) => {
            let position = u32::try_from(position).ok()?;
            IpAddr::V4(Ipv4Addr::from(u32::from(network.network()).checked_add(position)?))
        }
        IpNet::V6(network) => IpAddr::V6(Ipv6Addr::from(u128::from(network.network()).checked_add(position)?)),
    };
    network.contains(&address).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(networks: &[&str], expected: Option<&[&str]>) {
        let networks: Vec<IpNet> = networks.iter().map(|text| text.parse().expect("a network")).collect();
        let made = Networks::new(&networks).ok();
        let texts: Option<Vec<String>> = made.map(|made| made.iter().map(|network| network.to_string()).collect());
        assert_eq!(texts, expected.map(|texts| texts.iter().map(|text| (*text).to_owned()).collect()));
    }

    #[test]
    fn there_is_one_network_of_each_family_at_most() {
        check(&["10.43.0.0/16"], Some(&["10.43.0.0/16"]));
        check(&["fd43::/112", "10.43.1.1/16"], Some(&["fd43::/112", "10.43.0.0/16"]));
        check(&[], None);
        check(&["10.43.0.0/16", "10.44.0.0/16"], None);
        check(&["10.43.0.0/16", "fd43::/112", "fd44::/112"], None);
    }

    #[test]
    fn positions_end_with_the_network() {
        let nth = |network: &str, position| {
            nth_address(&network.parse().expect("a network"), position).map(|address| address.to_string())
        };
        assert_eq!(nth("10.43.0.0/16", 10).as_deref(), Some("10.43.0.10"));
        assert_eq!(nth("fd43::/112", 10).as_deref(), Some("fd43::a"));
        assert_eq!(nth("10.43.0.0/30", 10), None);
    }
}
