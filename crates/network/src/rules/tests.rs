//! The whole table as a snapshot.

use super::*;
use crate::Protocol;

#[test]
fn the_table_of_a_node() {
    let net = |text: &str| text.parse::<IpNet>().expect("a network");
    let host_port = |protocol, host_ip: Option<&str>, host_port| crate::HostPort {
        protocol,
        host_ip: host_ip.map(|ip| ip.parse().expect("an address")),
        host_port,
        container_port: 80,
    };
    let ports = vec![host_port(Protocol::Tcp, None, 8080), host_port(Protocol::Udp, Some("192.0.2.7"), 53)];
    let reservation = |ip: &str, host_ports| Reservation { ips: vec![ip.parse().expect("an address")], host_ports };
    let reservations = BTreeMap::from([
        ("a".to_owned(), reservation("10.42.0.2", ports)),
        ("b".to_owned(), reservation("10.42.0.3", Vec::new())),
    ]);
    let rules = Rules {
        table: "skiff-net",
        bridge: "skiff0",
        pod_cidrs: &[net("10.42.0.0/24")],
        cluster_cidrs: &[net("10.42.0.0/16")],
        reservations: &reservations,
    };
    assert_eq!(rules.script(), include_str!("node.nft"));
}
