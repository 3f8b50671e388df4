//! The rules of one service: a pure function of its model.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use client::ObjectKey;
use network::Protocol;
use sha2::{Digest, Sha256};

use super::{Address, Family, Frontend, MASQUERADE_MARK};
use crate::model::{Endpoint, Service, ServicePort};

/// What happens to a new connection to a frontend.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Verdict {
    /// One of its endpoints is drawn in a chain shared by all frontends with as many.
    Draw(Draw),
    /// It goes through a chain of its service port.
    Chain(String),
    /// It is answered with a refusal.
    Reject,
    /// It is not answered.
    Drop,
}

/// A shared chain that draws an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Draw {
    pub kind: DrawKind,
    pub family: Family,
    pub endpoints: u32,
}

/// What a shared chain does besides drawing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum DrawKind {
    /// For cluster addresses: masquerades connections from outside the cluster.
    Cluster,
    /// For external and load balancer addresses: masquerades.
    External,
    /// For node ports: masquerades.
    NodePort,
}

/// The maps and chains of drawn numbers exist once for frontends with an address and once for node ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum NumberKind {
    /// Looked up by address, protocol and port.
    Address,
    /// Looked up by protocol and port.
    NodePort,
}

impl NumberKind {
    /// The name of the chain that leads to the endpoints with a number.
    pub fn chain(self, family: Family, number: u32) -> String {
        match self {
            Self::Address => format!("endpoint{}-{number}", family.suffix()),
            Self::NodePort => format!("nodeport-endpoint{}-{number}", family.suffix()),
        }
    }
}

impl Draw {
    /// The chain's name.
    pub fn chain(self) -> String {
        let kind = match self.kind {
            DrawKind::Cluster => "cluster",
            DrawKind::External => "external",
            DrawKind::NodePort => "nodeport",
        };
        format!("{kind}{}-{}", self.family.suffix(), self.endpoints)
    }

    /// Where the drawn number is looked up.
    pub fn numbers(self) -> NumberKind {
        match self.kind {
            DrawKind::Cluster | DrawKind::External => NumberKind::Address,
            DrawKind::NodePort => NumberKind::NodePort,
        }
    }
}

/// The rules of one service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceRules {
    /// What happens at each of its frontends.
    pub(super) verdicts: BTreeMap<Frontend, Verdict>,
    /// The endpoints that shared chains draw from.
    pub(super) endpoints: BTreeMap<(Frontend, u32), SocketAddr>,
    /// Chains of its own, with their rules.
    pub(super) chains: BTreeMap<String, Vec<String>>,
    /// Sets of clients that stay with an endpoint: the family of the clients and the timeout in seconds.
    pub(super) affinity_sets: BTreeMap<String, (Family, u32)>,
    /// The endpoints on this node that may reach themselves through the service.
    pub(super) hairpins: BTreeSet<IpAddr>,
    /// Where UDP packets to a frontend may go.
    pub(super) udp: BTreeMap<Frontend, BTreeSet<IpAddr>>,
}

/// The rules of a service.
pub fn service_rules(key: &ObjectKey, service: &Service) -> ServiceRules {
    let mut rules = ServiceRules::default();
    for port in &service.ports {
        for family in Family::ALL {
            PortRules::new(key, port, family).add(&mut rules);
        }
    }
    rules
}

/// One service port in one address family.
struct PortRules<'a> {
    port: &'a ServicePort,
    family: Family,
    /// A digest of the port's identity, for names.
    id: String,
    cluster: Vec<Endpoint>,
    local: Vec<Endpoint>,
}

impl<'a> PortRules<'a> {
    fn new(key: &ObjectKey, port: &'a ServicePort, family: Family) -> Self {
        let id = digest(&format!("{key}:{}/{}", port.port, port.protocol.as_nft()));
        let of_family = |endpoints: &[Endpoint]| {
            endpoints.iter().filter(|endpoint| Family::of(endpoint.ip) == family).copied().collect()
        };
        Self { port, family, id, cluster: of_family(&port.cluster_endpoints), local: of_family(&port.local_endpoints) }
    }

    fn frontends(&self, ips: &[IpAddr]) -> Vec<Frontend> {
        let mine = ips.iter().filter(|ip| Family::of(**ip) == self.family);
        mine.map(|ip| self.frontend(Address::Ip(*ip), self.port.port)).collect()
    }

    fn frontend(&self, address: Address, port: u16) -> Frontend {
        Frontend { address, protocol: self.port.protocol, port }
    }

    fn add(&self, rules: &mut ServiceRules) {
        let cluster_ips = self.frontends(&self.port.cluster_ips);
        if cluster_ips.is_empty() {
            return; // The service is not of this family.
        }
        self.add_internal(rules, cluster_ips);
        self.add_external(rules);
        for endpoint in self.cluster.iter().chain(&self.local).filter(|endpoint| endpoint.local) {
            rules.hairpins.insert(endpoint.ip);
        }
    }

    fn add_internal(&self, rules: &mut ServiceRules, frontends: Vec<Frontend>) {
        let endpoints = if self.port.internal_local { &self.local } else { &self.cluster };
        let verdict = if self.cluster.is_empty() {
            Verdict::Reject
        } else if endpoints.is_empty() {
            Verdict::Drop
        } else if self.port.affinity_seconds.is_some() {
            let mut chain = vec![format!(
                "{} saddr != @cluster_cidrs{} {}",
                self.family.header(),
                self.family.suffix(),
                set_mark()
            )];
            chain.extend(self.choose(rules, endpoints));
            self.own_chain(rules, "internal", chain)
        } else {
            self.draw(rules, DrawKind::Cluster, endpoints, &frontends)
        };
        self.lead(rules, frontends, &verdict, endpoints);
    }

    fn add_external(&self, rules: &mut ServiceRules) {
        let ips = self.frontends(&self.port.external_ips);
        let balancers = self.frontends(&self.port.load_balancer_ips);
        let node_port = self.port.node_port.map(|port| self.frontend(Address::Node(self.family), port));
        if ips.is_empty() && balancers.is_empty() && node_port.is_none() {
            return;
        }
        let every: Vec<Frontend> = ips.iter().chain(&balancers).chain(&node_port).copied().collect();
        if self.cluster.is_empty() {
            self.lead(rules, every, &Verdict::Reject, &[]);
            return;
        }
        let own = self.port.external_local || self.port.affinity_seconds.is_some();
        let (addresses, node) = if own {
            let chain = self.external_chain(rules);
            let verdict = self.own_chain(rules, "external", chain);
            (verdict.clone(), verdict)
        } else {
            let with_address: Vec<Frontend> = ips.iter().chain(&balancers).copied().collect();
            let addresses = self.draw(rules, DrawKind::External, &self.cluster, &with_address);
            (addresses, self.draw(rules, DrawKind::NodePort, &self.cluster, node_port.as_slice()))
        };
        // Pods and the node itself reach all endpoints whatever the policy, so UDP packets may go to any of them.
        self.lead(rules, ips, &addresses, &self.cluster);
        self.lead(rules, node_port.into_iter().collect(), &node, &self.cluster);
        let balancer_verdict = self.behind_source_ranges(rules, &balancers, addresses);
        self.lead(rules, balancers, &balancer_verdict, &self.cluster);
    }

    /// Traffic from outside with a policy or affinity of its own.
    fn external_chain(&self, rules: &mut ServiceRules) -> Vec<String> {
        let mut chain = Vec::new();
        if !self.port.external_local {
            chain.push(set_mark());
            chain.extend(self.choose(rules, &self.cluster));
            return chain;
        }
        let (header, suffix) = (self.family.header(), self.family.suffix());
        let everywhere = self.choose(rules, &self.cluster);
        let inside = self.own_chain(rules, "inside", everywhere);
        let Verdict::Chain(inside) = inside else { return chain };
        chain.push(format!("{header} saddr @cluster_cidrs{suffix} goto {inside}"));
        chain.push(format!("fib saddr type local {}", set_mark()));
        chain.push(format!("fib saddr type local goto {inside}"));
        if self.local.is_empty() {
            chain.push("drop".to_owned());
        } else {
            chain.extend(self.choose(rules, &self.local));
        }
        chain
    }

    fn behind_source_ranges(&self, rules: &mut ServiceRules, balancers: &[Frontend], to: Verdict) -> Verdict {
        let ranges = self.port.source_ranges.iter().filter(|range| Family::of(range.addr()) == self.family);
        let ranges: Vec<String> = ranges.map(|range| range.trunc().to_string()).collect();
        if self.port.source_ranges.is_empty() || balancers.is_empty() {
            return to;
        }
        let mut chain = Vec::new();
        if ranges.is_empty() {
            chain.push("drop".to_owned());
        } else {
            chain.push(format!("{} saddr != {{ {} }} drop", self.family.header(), ranges.join(", ")));
            match &to {
                Verdict::Draw(draw) => chain.push(format!("goto {}", draw.chain())),
                Verdict::Chain(name) => chain.push(format!("goto {name}")),
                Verdict::Reject | Verdict::Drop => {}
            }
        }
        self.own_chain(rules, "firewall", chain)
    }

    fn lead(&self, rules: &mut ServiceRules, frontends: Vec<Frontend>, verdict: &Verdict, endpoints: &[Endpoint]) {
        for frontend in frontends {
            if self.port.protocol == Protocol::Udp {
                rules.udp.insert(frontend, endpoints.iter().map(|endpoint| endpoint.ip).collect());
            }
            rules.verdicts.insert(frontend, verdict.clone());
        }
    }

    fn draw(&self, rules: &mut ServiceRules, kind: DrawKind, from: &[Endpoint], frontends: &[Frontend]) -> Verdict {
        for frontend in frontends {
            for (number, endpoint) in (0..).zip(from) {
                rules.endpoints.insert((*frontend, number), SocketAddr::new(endpoint.ip, endpoint.port));
            }
        }
        let endpoints = u32::try_from(from.len()).unwrap_or(u32::MAX);
        Verdict::Draw(Draw { kind, family: self.family, endpoints })
    }

    fn own_chain(&self, rules: &mut ServiceRules, kind: &str, chain: Vec<String>) -> Verdict {
        let name = format!("{kind}{}-{}", self.family.suffix(), self.id);
        rules.chains.insert(name.clone(), chain);
        Verdict::Chain(name)
    }

    /// The rules that choose one of some endpoints, by affinity first.
    fn choose(&self, rules: &mut ServiceRules, endpoints: &[Endpoint]) -> Vec<String> {
        let Some(seconds) = self.port.affinity_seconds else {
            let numbered = (0..).zip(endpoints).map(|(n, e): (u32, _)| format!("{n} : {} . {}", e.ip, e.port));
            let map = numbered.collect::<Vec<_>>().join(", ");
            let (protocol, header) = (self.port.protocol.as_nft(), self.family.header());
            let draw = format!("numgen random mod {}", endpoints.len());
            return vec![format!("meta l4proto {protocol} dnat {header} to {draw} map {{ {map} }}")];
        };
        let header = self.family.header();
        let chains: Vec<String> =
            endpoints.iter().map(|endpoint| self.endpoint_chain(rules, endpoint, seconds)).collect();
        let mut chosen: Vec<String> =
            chains.iter().map(|chain| format!("{header} saddr @clients-{chain} goto {chain}")).collect();
        let numbered = (0..).zip(&chains).map(|(n, chain): (u32, _)| format!("{n} : goto {chain}"));
        let map = numbered.collect::<Vec<_>>().join(", ");
        chosen.push(format!("numgen random mod {} vmap {{ {map} }}", endpoints.len()));
        chosen
    }

    /// A chain that remembers the client and leads to one endpoint.
    fn endpoint_chain(&self, rules: &mut ServiceRules, endpoint: &Endpoint, seconds: u32) -> String {
        let (header, suffix) = (self.family.header(), self.family.suffix());
        let to = SocketAddr::new(endpoint.ip, endpoint.port);
        let name = format!("sticky{suffix}-{}", digest(&format!("{} {to}", self.id)));
        let set = format!("clients-{name}");
        let chain = vec![
            format!("update @{set} {{ {header} saddr }}"),
            format!("meta l4proto {} dnat {header} to {to}", self.port.protocol.as_nft()),
        ];
        rules.affinity_sets.insert(set, (self.family, seconds));
        rules.chains.insert(name.clone(), chain);
        name
    }
}

/// The statement that marks a connection for masquerading.
pub(super) fn set_mark() -> String {
    format!("meta mark set meta mark | {MASQUERADE_MARK:#x}")
}

fn digest(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest[..6].iter().map(|byte| format!("{byte:02x}")).collect()
}
