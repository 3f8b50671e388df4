//! Collects changes of a table's elements, chains and sets, and writes them as one transaction.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use network::nft::{Batch, Data};

use super::base_chains::number_rule;
use super::rules::{Draw, NumberKind, Verdict};
use super::{Address, Family, Frontend};

/// A named map or set of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Map {
    /// (address, protocol, port) to a chain.
    Services,
    /// (protocol, port) on the node's addresses to a chain.
    NodePorts,
    /// (address, protocol, port) to a refusal.
    NoEndpoints,
    /// (protocol, port) on the node's addresses to a refusal.
    NoEndpointNodePorts,
    /// (address, protocol, port) to the endpoint with a number.
    Endpoints(u32),
    /// (protocol, port) on the node's addresses to the endpoint with a number.
    NodePortEndpoints(u32),
    /// Pairs of the same address: pods that reach themselves.
    Hairpins,
}

impl Map {
    /// Those that do not depend on how many endpoints services have.
    pub const FIXED: [Self; 5] =
        [Self::Services, Self::NodePorts, Self::NoEndpoints, Self::NoEndpointNodePorts, Self::Hairpins];

    /// The map of the endpoints with a number.
    pub fn endpoints(kind: NumberKind, number: u32) -> Self {
        match kind {
            NumberKind::Address => Self::Endpoints(number),
            NumberKind::NodePort => Self::NodePortEndpoints(number),
        }
    }

    /// The name in the table.
    pub fn name(self, family: Family) -> String {
        let suffix = family.suffix();
        match self {
            Self::Services => format!("services{suffix}"),
            Self::NodePorts => format!("nodeports{suffix}"),
            Self::NoEndpoints => format!("no_endpoints{suffix}"),
            Self::NoEndpointNodePorts => format!("no_endpoint_nodeports{suffix}"),
            Self::Endpoints(number) => format!("endpoints{suffix}-{number}"),
            Self::NodePortEndpoints(number) => format!("nodeport_endpoints{suffix}-{number}"),
            Self::Hairpins => format!("hairpins{suffix}"),
        }
    }

    /// Whether it is a map or a set.
    fn object(self) -> &'static str {
        if self == Self::Hairpins { "set" } else { "map" }
    }

    fn types(self, family: Family) -> String {
        let address = family.address_type();
        let (by_address, by_port) = (format!("{address} . inet_proto . inet_service"), "inet_proto . inet_service");
        match self {
            Self::Services | Self::NoEndpoints => format!("type {by_address} : verdict;"),
            Self::NodePorts | Self::NoEndpointNodePorts => format!("type {by_port} : verdict;"),
            Self::Endpoints(_) => format!("type {by_address} : {address} . inet_service;"),
            Self::NodePortEndpoints(_) => format!("type {by_port} : {address} . inet_service;"),
            Self::Hairpins => format!("type {address} . {address};"),
        }
    }

    /// The map in which a verdict on a frontend stands.
    pub fn of_verdict(frontend: &Frontend, verdict: &Verdict) -> Self {
        let refused = matches!(verdict, Verdict::Reject | Verdict::Drop);
        match (frontend.address, refused) {
            (Address::Ip(_), false) => Self::Services,
            (Address::Ip(_), true) => Self::NoEndpoints,
            (Address::Node(_), false) => Self::NodePorts,
            (Address::Node(_), true) => Self::NoEndpointNodePorts,
        }
    }

    /// The map in which an endpoint of a frontend stands.
    pub fn of_endpoint(frontend: &Frontend, number: u32) -> Self {
        match frontend.address {
            Address::Ip(_) => Self::Endpoints(number),
            Address::Node(_) => Self::NodePortEndpoints(number),
        }
    }
}

/// The text of a verdict.
fn verdict_text(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Draw(draw) => format!("goto {}", draw.chain()),
        Verdict::Chain(name) => format!("goto {name}"),
        Verdict::Reject => format!("goto {REFUSE}"),
        Verdict::Drop => "drop".to_owned(),
    }
}

/// An element of one of the maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Element {
    /// What happens at a frontend.
    Verdict(Frontend, Verdict),
    /// An endpoint of a frontend.
    Endpoint(Frontend, SocketAddr),
    /// A pod that reaches itself.
    Hairpin(IpAddr),
}

impl Element {
    fn key_text(&self) -> String {
        match self {
            Self::Verdict(frontend, _) | Self::Endpoint(frontend, _) => frontend.to_string(),
            Self::Hairpin(ip) => format!("{ip} . {ip}"),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Verdict(_, verdict) => format!("{} : {}", self.key_text(), verdict_text(verdict)),
            Self::Endpoint(_, endpoint) => format!("{} : {} . {}", self.key_text(), endpoint.ip(), endpoint.port()),
            Self::Hairpin(_) => self.key_text(),
        }
    }

    fn key(&self) -> Vec<u8> {
        match self {
            Self::Verdict(frontend, _) | Self::Endpoint(frontend, _) => {
                let mut key = if let Address::Ip(ip) = frontend.address { octets(ip) } else { Vec::new() };
                key.extend([frontend.protocol.number(), 0, 0, 0]);
                key.extend(port(frontend.port));
                key
            }
            Self::Hairpin(ip) => [octets(*ip), octets(*ip)].concat(),
        }
    }

    fn data(&self) -> Option<Data> {
        match self {
            Self::Verdict(_, Verdict::Draw(draw)) => Some(Data::Goto(draw.chain())),
            Self::Verdict(_, Verdict::Chain(chain)) => Some(Data::Goto(chain.clone())),
            Self::Verdict(_, Verdict::Reject) => Some(Data::Goto(REFUSE.to_owned())),
            Self::Verdict(_, Verdict::Drop) => Some(Data::Drop),
            Self::Endpoint(_, endpoint) => {
                Some(Data::Value([octets(endpoint.ip()), port(endpoint.port()).to_vec()].concat()))
            }
            Self::Hairpin(_) => None,
        }
    }
}

/// The chain that answers with a refusal.
pub(super) const REFUSE: &str = "refuse";

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn port(port: u16) -> [u8; 4] {
    let [high, low] = port.to_be_bytes();
    [high, low, 0, 0]
}

/// Changes of one transaction.
#[derive(Debug, Default)]
pub(super) struct Script {
    pub delete: BTreeMap<(Map, Family), Vec<Element>>,
    pub add: BTreeMap<(Map, Family), Vec<Element>>,
    pub draws: BTreeSet<Draw>,
    /// Numbers whose map and chain do not exist yet.
    pub numbers: BTreeSet<(NumberKind, Family, u32)>,
    /// Chains that are new or have other rules.
    pub chains: BTreeMap<String, Vec<String>>,
    pub removed_chains: BTreeSet<String>,
    pub sets: BTreeMap<String, (Family, u32)>,
    pub removed_sets: BTreeSet<String>,
}

impl Script {
    /// The script that applies the changes to the table as it is. Empty where there are none.
    ///
    /// What is referred to comes before what refers to it, and goes after it.
    pub fn incremental(&self, table: &str, draw_rules: impl Fn(Draw) -> Vec<String>) -> String {
        let mut text = String::new();
        for (set, (family, seconds)) in &self.sets {
            let _ = writeln!(text, "add set inet {table} {set} {{ {} }}", affinity_set(*family, *seconds));
        }
        for (kind, family, number) in &self.numbers {
            let map = Map::endpoints(*kind, *number);
            let _ = writeln!(text, "add map inet {table} {} {{ {} }}", map.name(*family), map.types(*family));
        }
        let chains = self.all_chains(draw_rules);
        for (name, _) in &chains {
            let _ = writeln!(text, "add chain inet {table} {name}\nflush chain inet {table} {name}");
        }
        for (name, rules) in &chains {
            for rule in rules {
                let _ = writeln!(text, "add rule inet {table} {name} {rule}");
            }
        }
        for (verb, changes) in [("delete", &self.delete), ("add", &self.add)] {
            for ((map, family), elements) in changes.iter().filter(|(_, elements)| !elements.is_empty()) {
                let element = if verb == "add" { Element::text } else { Element::key_text };
                let elements = elements.iter().map(element).collect::<Vec<_>>().join(", ");
                let _ = writeln!(text, "{verb} element inet {table} {} {{ {elements} }}", map.name(*family));
            }
        }
        for verb in ["flush", "delete"] {
            for chain in &self.removed_chains {
                let _ = writeln!(text, "{verb} chain inet {table} {chain}");
            }
        }
        for set in &self.removed_sets {
            let _ = writeln!(text, "delete set inet {table} {set}");
        }
        text
    }

    /// The changes as a batch, if they are changes of elements only and not too many.
    pub fn batch(&self, table: &str) -> Option<Batch> {
        let only_elements = self.draws.is_empty()
            && self.numbers.is_empty()
            && self.chains.is_empty()
            && self.removed_chains.is_empty()
            && self.sets.is_empty()
            && self.removed_sets.is_empty();
        if !only_elements {
            return None;
        }
        let mut batch = Batch::new(table);
        for ((map, family), elements) in &self.delete {
            elements.iter().for_each(|element| batch.delete(&map.name(*family), &element.key()));
        }
        for ((map, family), elements) in &self.add {
            elements.iter().for_each(|element| batch.add(&map.name(*family), &element.key(), element.data().as_ref()));
        }
        Some(batch).filter(Batch::fits)
    }

    /// The body of a whole table that consists of what is added.
    pub fn whole(&self, text: &mut String, draw_rules: impl Fn(Draw) -> Vec<String>) {
        for (set, (family, seconds)) in &self.sets {
            let _ = writeln!(text, "\tset {set} {{ {} }}", affinity_set(*family, *seconds));
        }
        for (name, rules) in self.all_chains(draw_rules) {
            super::base_chains::chain(text, &name, None, &rules);
        }
        let fixed = Map::FIXED.into_iter().flat_map(|map| Family::ALL.map(|family| (map, family)));
        let numbered = self.numbers.iter().map(|(kind, family, number)| (Map::endpoints(*kind, *number), *family));
        for (map, family) in fixed.chain(numbered) {
            let _ = writeln!(text, "\t{} {} {{\n\t\t{}", map.object(), map.name(family), map.types(family));
            if let Some(elements) = self.add.get(&(map, family)).filter(|elements| !elements.is_empty()) {
                let mut elements: Vec<String> = elements.iter().map(Element::text).collect();
                // One state gives one text.
                elements.sort();
                let _ = writeln!(text, "\t\telements = {{\n\t\t\t{}\n\t\t}}", elements.join(",\n\t\t\t"));
            }
            text.push_str("\t}\n");
        }
    }

    /// New and changed chains of every kind, those that others go to first.
    fn all_chains(&self, draw_rules: impl Fn(Draw) -> Vec<String>) -> Vec<(String, Vec<String>)> {
        let numbers = self
            .numbers
            .iter()
            .map(|(kind, family, number)| (kind.chain(*family, *number), vec![number_rule(*kind, *family, *number)]));
        let draws = self.draws.iter().map(|draw| (draw.chain(), draw_rules(*draw)));
        numbers.chain(draws).chain(self.chains.clone()).collect()
    }
}

fn affinity_set(family: Family, seconds: u32) -> String {
    format!("type {}; size 65535; flags dynamic,timeout; timeout {seconds}s;", family.address_type())
}
