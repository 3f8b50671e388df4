//! The part of the table that does not depend on services: sets of addresses, hooks, and the way into the maps.

use std::fmt::Write;

use ipnet::IpNet;

use super::rules::{Draw, DrawKind, NumberKind, set_mark};
use super::script::{Map, REFUSE};
use super::{Family, MASQUERADE_MARK, TableConfig};

/// Writes the sets and chains; the maps of services follow.
pub(super) fn write(text: &mut String, config: &TableConfig) {
    for family in Family::ALL {
        nets(text, "cluster_cidrs", family, &config.cluster_cidrs);
        if !config.node_port_addresses.is_empty() {
            nets(text, "node_port_addresses", family, &config.node_port_addresses);
        }
    }
    if config.localhost_node_ports {
        // route_localnet lets packets from 127.0.0.1 leave the node; none may come in that claim to be or go there.
        chain(
            text,
            "guard",
            Some("filter hook prerouting priority raw"),
            &["iifname != \"lo\" ip daddr 127.0.0.0/8 drop", "iifname != \"lo\" ip saddr 127.0.0.0/8 drop"],
        );
    }
    // A connection to a service without endpoints is answered before any translation.
    for hook in ["input", "forward", "output"] {
        let kind = format!("filter hook {hook} priority -110");
        chain(text, &format!("filter-{hook}"), Some(&kind), &["ct state new jump no-endpoints"]);
    }
    chain(text, "no-endpoints", None, &lookups(config, "no_endpoints", "no_endpoint_nodeports"));
    chain(text, REFUSE, None, &["meta l4proto tcp reject with tcp reset", "reject with icmpx port-unreachable"]);
    for hook in ["prerouting", "output"] {
        let kind = format!("nat hook {hook} priority -100");
        chain(text, &format!("nat-{hook}"), Some(&kind), &["jump services"]);
    }
    chain(text, "services", None, &lookups(config, "services", "nodeports"));
    chain(
        text,
        "nat-postrouting",
        Some("nat hook postrouting priority srcnat"),
        &[
            "ct status dnat ip saddr . ip daddr @hairpins4 masquerade fully-random".to_owned(),
            "ct status dnat ip6 saddr . ip6 daddr @hairpins6 masquerade fully-random".to_owned(),
            format!("meta mark & {MASQUERADE_MARK:#x} == 0 return"),
            format!("meta mark set meta mark ^ {MASQUERADE_MARK:#x}"),
            "masquerade fully-random".to_owned(),
        ],
    );
}

/// The rules of a shared chain.
pub(super) fn draw_rules(draw: Draw, config: &TableConfig) -> Vec<String> {
    let (header, suffix) = (draw.family.header(), draw.family.suffix());
    let number = |number| format!("{number} : goto {}", draw.numbers().chain(draw.family, number));
    let numbers: Vec<String> = (0..draw.endpoints).map(number).collect();
    let choice = format!("numgen random mod {} vmap {{ {} }}", draw.endpoints, numbers.join(", "));
    match draw.kind {
        DrawKind::Cluster if config.cluster_cidrs.is_empty() => vec![choice],
        DrawKind::Cluster => vec![format!("{header} saddr != @cluster_cidrs{suffix} {}", set_mark()), choice],
        DrawKind::External | DrawKind::NodePort => vec![set_mark(), choice],
    }
}

/// The rule of the chain that leads to the endpoints with a number.
pub(super) fn number_rule(kind: NumberKind, family: Family, number: u32) -> String {
    let header = family.header();
    let map = Map::endpoints(kind, number).name(family);
    match kind {
        NumberKind::Address => format!("dnat {header} to {header} daddr . meta l4proto . th dport map @{map}"),
        NumberKind::NodePort => {
            format!("meta nfproto ipv{} dnat {header} to meta l4proto . th dport map @{map}", family.suffix())
        }
    }
}

fn lookups(config: &TableConfig, by_address: &str, by_port: &str) -> Vec<String> {
    let mut rules = Vec::new();
    for family in Family::ALL {
        let (header, suffix) = (family.header(), family.suffix());
        rules.push(format!("{header} daddr . meta l4proto . th dport vmap @{by_address}{suffix}"));
    }
    for family in Family::ALL {
        let (header, suffix) = (family.header(), family.suffix());
        let mut rule = format!("meta nfproto ipv{suffix} fib daddr type local ");
        if !config.node_port_addresses.is_empty() {
            let _ = write!(rule, "{header} daddr @node_port_addresses{suffix} ");
        }
        if !config.localhost_node_ports || family == Family::V6 {
            let loopback = if family == Family::V4 { "127.0.0.0/8" } else { "::1" };
            let _ = write!(rule, "{header} daddr != {loopback} ");
        }
        let _ = write!(rule, "meta l4proto . th dport vmap @{by_port}{suffix}");
        rules.push(rule);
    }
    rules
}

fn nets(text: &mut String, name: &str, family: Family, nets: &[IpNet]) {
    let mine = nets.iter().filter(|net| Family::of(net.addr()) == family);
    let elements: Vec<String> = mine.map(|net| net.trunc().to_string()).collect();
    let _ = writeln!(text, "\tset {name}{} {{", family.suffix());
    let _ = writeln!(text, "\t\ttype {}; flags interval; auto-merge;", family.address_type());
    if !elements.is_empty() {
        let _ = writeln!(text, "\t\telements = {{ {} }}", elements.join(", "));
    }
    text.push_str("\t}\n");
}

/// Writes a chain; `kind` is that of a base chain.
pub(super) fn chain<S: AsRef<str>>(text: &mut String, name: &str, kind: Option<&str>, rules: &[S]) {
    let _ = writeln!(text, "\tchain {name} {{");
    if let Some(kind) = kind {
        let _ = writeln!(text, "\t\ttype {kind}; policy accept;");
    }
    for rule in rules {
        let _ = writeln!(text, "\t\t{}", rule.as_ref());
    }
    text.push_str("\t}\n");
}
