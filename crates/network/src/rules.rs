//! The text of the node's nftables table: masquerade, host ports and guards of the bridge.

use std::collections::BTreeMap;
use std::fmt::Write;

use ipnet::IpNet;

use crate::reservations::Reservation;

/// What the table is made of.
#[derive(Debug)]
pub(crate) struct Rules<'a> {
    pub table: &'a str,
    pub bridge: &'a str,
    pub pod_cidrs: &'a [IpNet],
    pub cluster_cidrs: &'a [IpNet],
    pub reservations: &'a BTreeMap<String, Reservation>,
}

/// One address family: what differs between IPv4 and IPv6 rules.
struct Family {
    suffix: &'static str,
    header: &'static str,
    address: &'static str,
    loopback: &'static str,
    multicast: &'static str,
    is_v4: bool,
}

const FAMILIES: [Family; 2] = [
    Family {
        suffix: "4",
        header: "ip",
        address: "ipv4_addr",
        loopback: "127.0.0.0/8",
        multicast: "224.0.0.0/4",
        is_v4: true,
    },
    Family { suffix: "6", header: "ip6", address: "ipv6_addr", loopback: "::1", multicast: "ff00::/8", is_v4: false },
];

impl Rules<'_> {
    /// The script that puts the table in the place of any earlier one, in one transaction.
    ///
    /// Established connections keep their translation: connection tracking holds it, not the table.
    pub fn script(&self) -> String {
        let mut text = format!("add table inet {0}\ndelete table inet {0}\ntable inet {0} {{\n", self.table);
        let families: Vec<_> = FAMILIES.iter().filter(|family| self.has(family)).collect();
        for family in &families {
            self.sets(&mut text, family);
        }
        self.guards(&mut text, &families);
        self.nat(&mut text, &families);
        text.push_str("}\n");
        text
    }

    fn has(&self, family: &Family) -> bool {
        self.pod_cidrs.iter().any(|cidr| matches!(cidr, IpNet::V4(_)) == family.is_v4)
    }

    fn sets(&self, text: &mut String, family: &Family) {
        let Family { suffix, address, .. } = family;
        let nets = |nets: &[IpNet]| {
            let of_family = nets.iter().filter(|net| matches!(net, IpNet::V4(_)) == family.is_v4);
            of_family.map(|net| net.trunc().to_string()).collect()
        };
        set(
            text,
            &format!("set pod_cidrs{suffix}"),
            &format!("{address}; flags interval; auto-merge"),
            nets(self.pod_cidrs),
        );
        let cluster: Vec<IpNet> = self.cluster_cidrs.iter().chain(self.pod_cidrs).copied().collect();
        set(
            text,
            &format!("set cluster_cidrs{suffix}"),
            &format!("{address}; flags interval; auto-merge"),
            nets(&cluster),
        );

        let (mut any, mut bound, mut pods) = (Vec::new(), Vec::new(), Vec::new());
        for reservation in self.reservations.values().filter(|reservation| !reservation.host_ports.is_empty()) {
            let Some(pod) = reservation.ips.iter().find(|ip| ip.is_ipv4() == family.is_v4) else { continue };
            pods.push(format!("{pod} . {pod}"));
            for port in &reservation.host_ports {
                let from = format!("{} . {}", port.protocol.as_nft(), port.host_port);
                let to = format!("{pod} . {}", port.container_port);
                match port.bound_ip() {
                    None => any.push(format!("{from} : {to}")),
                    Some(ip) if ip.is_ipv4() == family.is_v4 => bound.push(format!("{ip} . {from} : {to}")),
                    Some(_) => {}
                }
            }
        }
        let target = format!("{address} . inet_service");
        set(text, &format!("map host_ports{suffix}"), &format!("inet_proto . inet_service : {target}"), any);
        let key = format!("{address} . inet_proto . inet_service");
        set(text, &format!("map host_ip_ports{suffix}"), &format!("{key} : {target}"), bound);
        set(text, &format!("set host_port_pods{suffix}"), &format!("{address} . {address}"), pods);
    }

    /// Pods must not reach the node's loopback addresses, which `route_localnet` of the bridge would allow; and they are
    /// not told to reach each other directly, because all their traffic is routed.
    fn guards(&self, text: &mut String, families: &[&Family]) {
        let bridge = self.bridge;
        text.push_str("\tchain guard {\n\t\ttype filter hook prerouting priority raw; policy accept;\n");
        for Family { header, loopback, .. } in families {
            line(text, &format!("iifname \"{bridge}\" {header} daddr {loopback} drop"));
            line(text, &format!("iifname \"{bridge}\" {header} saddr {loopback} drop"));
        }
        text.push_str("\t}\n\tchain redirects {\n\t\ttype filter hook output priority filter; policy accept;\n");
        line(text, &format!("oifname \"{bridge}\" icmp type redirect drop"));
        text.push_str("\t}\n");
    }

    fn nat(&self, text: &mut String, families: &[&Family]) {
        // nft knows the name `dstnat` (-100) in the prerouting hook only.
        for hook in ["prerouting", "output"] {
            let _ = writeln!(text, "\tchain {hook} {{\n\t\ttype nat hook {hook} priority -100; policy accept;");
            line(text, "fib daddr type local jump host_ports");
            text.push_str("\t}\n");
        }
        text.push_str("\tchain host_ports {\n");
        for Family { suffix, header, .. } in families {
            let port = "meta l4proto . th dport map";
            line(text, &format!("dnat {header} to {header} daddr . {port} @host_ip_ports{suffix}"));
            line(text, &format!("meta nfproto ipv{suffix} dnat {header} to {port} @host_ports{suffix}"));
        }
        text.push_str("\t}\n\tchain postrouting {\n\t\ttype nat hook postrouting priority srcnat; policy accept;\n");
        for Family { suffix, header, loopback, multicast, .. } in families {
            line(text, &format!("oifname \"{}\" {header} saddr {loopback} masquerade", self.bridge));
            line(text, &format!("{header} saddr . {header} daddr @host_port_pods{suffix} masquerade"));
            line(
                text,
                &format!(
                    "{header} saddr @pod_cidrs{suffix} {header} daddr != @cluster_cidrs{suffix} \
                     {header} daddr != {multicast} masquerade fully-random"
                ),
            );
        }
        text.push_str("\t}\n");
    }
}

fn set(text: &mut String, head: &str, kind: &str, elements: Vec<String>) {
    let _ = write!(text, "\t{head} {{\n\t\ttype {kind};\n");
    if !elements.is_empty() {
        let _ = writeln!(text, "\t\telements = {{ {} }}", elements.join(", "));
    }
    text.push_str("\t}\n");
}

fn line(text: &mut String, rule: &str) {
    let _ = writeln!(text, "\t\t{rule}");
}

#[cfg(test)]
mod tests;
