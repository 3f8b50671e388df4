//! Finds a free part of a network.

use ipnet::IpNet;

/// The lowest subnet of `cluster` with that mask that overlaps none of `used`.
pub(super) fn first_free(cluster: IpNet, mask: u8, used: &[IpNet]) -> Option<IpNet> {
    let overlaps =
        |part: &IpNet| used.iter().any(|used| used.contains(&part.network()) || part.contains(&used.network()));
    cluster.subnets(mask).ok()?.find(|part| !overlaps(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(cluster: &str, mask: u8, used: &[&str], expected: Option<&str>) {
        let net = |text: &str| text.parse().expect("a network");
        let used: Vec<IpNet> = used.iter().map(|text| net(text)).collect();
        assert_eq!(first_free(net(cluster), mask, &used), expected.map(net));
    }

    #[test]
    fn the_lowest_free_part_is_given() {
        check("10.42.0.0/16", 24, &[], Some("10.42.0.0/24"));
        check("10.42.0.0/16", 24, &["10.42.0.0/24", "10.42.2.0/24"], Some("10.42.1.0/24"));
        check("10.42.0.0/16", 24, &["10.42.0.0/22"], Some("10.42.4.0/24"));
        check("10.42.0.0/16", 24, &["10.42.0.128/25"], Some("10.42.1.0/24"));
        check("10.42.0.0/23", 24, &["10.42.0.0/24", "10.42.1.0/24"], None);
        check("fd00::/56", 64, &["fd00::/64"], Some("fd00:0:0:1::/64"));
    }
}
