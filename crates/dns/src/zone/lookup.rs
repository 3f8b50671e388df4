//! What the zone says to a question.

use std::net::IpAddr;

use hickory_proto::rr::rdata::{A, AAAA, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::records::service_name;
use super::{EndpointRecords, PortRecord, ServiceKind, ServiceRecords, TTL, Zone, lower};

/// The version of the specification of these names.
const SCHEMA_VERSION: &str = "1.1.0";

/// What the zone says to a question.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// The name exists and has records of the type. The second list is additional: addresses of targets.
    Records(Vec<Record>, Vec<Record>),
    /// The name stands for another, which has to be looked up too.
    Alias(Name),
    /// The name exists, but has no records of the type.
    NoData,
    /// The name does not exist.
    NoName,
    /// The name is not in this zone.
    Elsewhere,
}

impl Zone {
    /// Looks a name up. Owner names in the answer are spelled as in the question.
    pub fn lookup(&self, name: &Name, kind: RecordType) -> Answer {
        let labels: Vec<String> = name.iter().map(lower).collect();
        if let Some(rest) = self.below(&labels) {
            let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
            return self.lookup_below(name, kind, &rest);
        }
        if matches!(labels.last().map(String::as_str), Some("arpa")) {
            return self.lookup_reverse(name, kind);
        }
        Answer::Elsewhere
    }

    /// The SOA record that goes with a negative answer.
    pub fn soa(&self) -> Record {
        let below = |label: &[&str]| {
            let name = Name::from_labels(label.iter().copied()).and_then(|name| name.append_domain(&self.domain));
            name.unwrap_or_else(|_| self.domain.clone())
        };
        // The last number is how long it may be kept that a name does not exist.
        let (refresh, retry, expire) = (7200, 1800, 86400);
        let soa = SOA::new(below(&["ns", "dns"]), below(&["hostmaster"]), self.serial, refresh, retry, expire, TTL);
        Record::from_rdata(self.domain.clone(), TTL, RData::SOA(soa))
    }

    /// The labels before the domain, if the name is in it.
    fn below<'a>(&self, labels: &'a [String]) -> Option<&'a [String]> {
        let rest = labels.len().checked_sub(self.domain_labels.len())?;
        let matches = labels.iter().rev().zip(self.domain_labels.iter()).all(|(a, b)| a == b);
        matches.then(|| &labels[..rest])
    }

    fn lookup_below(&self, name: &Name, kind: RecordType, labels: &[&str]) -> Answer {
        match labels {
            [] => match kind {
                RecordType::SOA => Answer::Records(vec![self.soa()], Vec::new()),
                RecordType::NS => self.name_server(name),
                _ => Answer::NoData,
            },
            ["dns-version"] if kind == RecordType::TXT => {
                let txt = RData::TXT(TXT::new(vec![SCHEMA_VERSION.to_owned()]));
                Answer::Records(vec![Record::from_rdata(name.clone(), TTL, txt)], Vec::new())
            }
            ["dns-version" | "dns" | "svc" | "pod"] => Answer::NoData,
            ["ns", "dns"] => addresses(name, kind, &self.server_ips),
            [namespace, "svc" | "pod"] if self.namespace_exists(namespace) => Answer::NoData,
            [pod, namespace, "pod"] if self.namespace_exists(namespace) => match pod_ip(pod) {
                Some(ip) => addresses(name, kind, &[ip]),
                None => Answer::NoName,
            },
            [rest @ .., service, namespace, "svc"] => {
                match self.services.get(*namespace).and_then(|services| services.get(*service)) {
                    Some(records) => self.lookup_service(name, kind, rest, (namespace, service), records),
                    None => Answer::NoName,
                }
            }
            _ => Answer::NoName,
        }
    }

    fn namespace_exists(&self, namespace: &str) -> bool {
        self.namespaces.contains(namespace) || self.services.contains_key(namespace)
    }

    fn name_server(&self, name: &Name) -> Answer {
        let server = Name::from_labels(["ns", "dns"]).and_then(|server| server.append_domain(&self.domain));
        let Ok(server) = server else { return Answer::NoData };
        let additional = self.server_ips.iter().map(|ip| Record::from_rdata(server.clone(), TTL, rdata(*ip))).collect();
        Answer::Records(vec![Record::from_rdata(name.clone(), TTL, RData::NS(NS(server)))], additional)
    }

    fn lookup_service(
        &self,
        name: &Name,
        kind: RecordType,
        rest: &[&str],
        (namespace, service): (&str, &str),
        records: &ServiceRecords,
    ) -> Answer {
        if let ServiceKind::ExternalName(target) = &records.kind {
            return if rest.is_empty() { Answer::Alias(target.clone()) } else { Answer::NoName };
        }
        let service_name = || service_name(namespace, service, &self.domain).unwrap_or_else(|| name.clone());
        match rest {
            [] => answer_service(name, kind, records, &service_name(), &|_| true),
            [port, protocol] => {
                let (Some(port), Some(protocol)) = (port.strip_prefix('_'), protocol.strip_prefix('_')) else {
                    return Answer::NoName;
                };
                let wanted = |candidate: &PortRecord| candidate.name == port && candidate.protocol == protocol;
                answer_service(name, kind, records, &service_name(), &wanted)
            }
            // An empty name between the service and its ports.
            [protocol] if protocol.starts_with('_') => {
                let wanted = |port: &PortRecord| Some(port.protocol.as_str()) == protocol.strip_prefix('_');
                match answer_service(name, RecordType::SRV, records, &service_name(), &wanted) {
                    Answer::Records(..) => Answer::NoData,
                    other => other,
                }
            }
            [label] => {
                let endpoints: Vec<_> = records.endpoints.iter().filter(|e| e.label == *label).collect();
                answer_endpoints(name, kind, &endpoints, &service_name(), &|_| true)
            }
            _ => Answer::NoName,
        }
    }

    fn lookup_reverse(&self, name: &Name, kind: RecordType) -> Answer {
        let Ok(net) = name.parse_arpa_name() else { return Answer::Elsewhere };
        if net.prefix_len() != net.max_prefix_len() {
            return Answer::Elsewhere;
        }
        let Some(names) = self.reverse.get(&net.addr()) else { return Answer::Elsewhere };
        if kind != RecordType::PTR {
            return Answer::NoData;
        }
        let record = |target: &Name| Record::from_rdata(name.clone(), TTL, RData::PTR(PTR(target.clone())));
        Answer::Records(names.iter().map(|(_, target)| record(target)).collect(), Vec::new())
    }
}

type Wanted<'a> = &'a dyn Fn(&PortRecord) -> bool;

/// A service's own name, or that of one of its ports.
fn answer_service(name: &Name, kind: RecordType, records: &ServiceRecords, service: &Name, wanted: Wanted) -> Answer {
    let ServiceKind::ClusterIp(ips) = &records.kind else {
        let endpoints: Vec<_> = records.endpoints.iter().collect();
        return answer_endpoints(name, kind, &endpoints, service, wanted);
    };
    let ports: Vec<&PortRecord> = records.ports.iter().filter(|port| wanted(port)).collect();
    if ports.is_empty() && !records.ports.is_empty() {
        return Answer::NoName;
    }
    if kind != RecordType::SRV {
        return addresses(name, kind, ips);
    }
    let targets: Vec<_> = ports.iter().map(|port| (port.port, service.clone())).collect();
    let additional = ips.iter().map(|ip| Record::from_rdata(service.clone(), TTL, rdata(*ip))).collect();
    srv(name, targets, additional)
}

/// Some endpoints of a service. Without any, the name does not exist, as the specification says.
fn answer_endpoints(
    name: &Name,
    kind: RecordType,
    endpoints: &[&EndpointRecords],
    service: &Name,
    wanted: Wanted,
) -> Answer {
    let mut ips = Vec::new();
    let (mut targets, mut additional) = (Vec::new(), Vec::new());
    for endpoint in endpoints {
        let ports: Vec<&PortRecord> = endpoint.ports.iter().filter(|port| wanted(port)).collect();
        if ports.is_empty() && !endpoint.ports.is_empty() {
            continue;
        }
        ips.push(endpoint.ip);
        let Ok(target) = service.prepend_label(endpoint.label.as_str()) else { continue };
        additional.push(Record::from_rdata(target.clone(), TTL, rdata(endpoint.ip)));
        targets.extend(ports.iter().map(|port| (port.port, target.clone())));
    }
    if ips.is_empty() {
        return Answer::NoName;
    }
    if kind == RecordType::SRV { srv(name, targets, additional) } else { addresses(name, kind, &ips) }
}

/// SRV records of equal weight.
fn srv(name: &Name, targets: Vec<(u16, Name)>, additional: Vec<Record>) -> Answer {
    if targets.is_empty() {
        return Answer::NoData;
    }
    let weight = u16::try_from(100 / targets.len()).unwrap_or(1).max(1);
    let record = |(port, target)| Record::from_rdata(name.clone(), TTL, RData::SRV(SRV::new(0, weight, port, target)));
    Answer::Records(targets.into_iter().map(record).collect(), additional)
}

fn addresses(name: &Name, kind: RecordType, ips: &[IpAddr]) -> Answer {
    let wanted = |ip: &&IpAddr| match kind {
        RecordType::A => ip.is_ipv4(),
        RecordType::AAAA => ip.is_ipv6(),
        RecordType::ANY => true,
        _ => false,
    };
    let records: Vec<Record> =
        ips.iter().filter(wanted).map(|ip| Record::from_rdata(name.clone(), TTL, rdata(*ip))).collect();
    if records.is_empty() { Answer::NoData } else { Answer::Records(records, Vec::new()) }
}

fn rdata(ip: IpAddr) -> RData {
    match ip {
        IpAddr::V4(ip) => RData::A(A(ip)),
        IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
    }
}

/// The address in a pod's name: `10-42-0-7`, or an IPv6 address with dashes for colons.
fn pod_ip(label: &str) -> Option<IpAddr> {
    label.replace('-', ".").parse().ok().or_else(|| label.replace('-', ":").parse().ok())
}
