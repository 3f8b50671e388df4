//! What one Service contributes to the zone: a pure function of it and its EndpointSlices.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use client::ObjectKey;
use hickory_proto::rr::Name;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;

/// The names of one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceRecords {
    /// What its own name leads to.
    pub kind: ServiceKind,
    /// Its ports; those of a headless service stand at its endpoints.
    pub ports: Vec<PortRecord>,
    /// Its ready endpoints.
    pub endpoints: Vec<EndpointRecords>,
}

/// What a service's own name leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceKind {
    /// Its cluster addresses.
    ClusterIp(Vec<IpAddr>),
    /// Its endpoints.
    Headless,
    /// Another name.
    ExternalName(Name),
}

/// A named port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortRecord {
    /// Its name, in lower case; empty for an unnamed port.
    pub name: String,
    /// The transport protocol in lower case.
    pub protocol: String,
    /// Its number.
    pub port: u16,
}

/// The names of one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointRecords {
    /// The label below the service: the pod's hostname, or the address with dashes.
    pub label: String,
    /// Its address.
    pub ip: IpAddr,
    /// Its ports.
    pub ports: Vec<PortRecord>,
}

/// The names of a service; `None` where it has none, as an external name that is none.
pub fn service_records(service: &Service, slices: &[Arc<EndpointSlice>]) -> Option<ServiceRecords> {
    let spec = service.spec.as_ref()?;
    let kind = if spec.type_.as_deref() == Some("ExternalName") {
        let mut name = Name::from_ascii(spec.external_name.as_deref()?).ok()?;
        name.set_fqdn(true);
        ServiceKind::ExternalName(name)
    } else {
        match spec.cluster_ip.as_deref() {
            Some("None") => ServiceKind::Headless,
            None | Some("") => return None,
            Some(ip) => {
                let all = spec.cluster_ips.clone().filter(|ips| !ips.is_empty()).unwrap_or_else(|| vec![ip.to_owned()]);
                ServiceKind::ClusterIp(all.iter().filter_map(|ip| ip.parse().ok()).collect())
            }
        }
    };
    let ports = spec.ports.iter().flatten().filter_map(|port| {
        Some(port_record(port.name.as_deref(), port.protocol.as_deref(), u16::try_from(port.port).ok()?))
    });
    Some(ServiceRecords { kind, ports: ports.collect(), endpoints: endpoints(slices) })
}

fn port_record(name: Option<&str>, protocol: Option<&str>, port: u16) -> PortRecord {
    PortRecord {
        name: name.unwrap_or_default().to_ascii_lowercase(),
        protocol: protocol.unwrap_or("TCP").to_ascii_lowercase(),
        port,
    }
}

/// The ready endpoints of all slices, each once, in the order of their names.
fn endpoints(slices: &[Arc<EndpointSlice>]) -> Vec<EndpointRecords> {
    let mut found: BTreeMap<(String, IpAddr), EndpointRecords> = BTreeMap::new();
    for slice in slices {
        let ports: Vec<PortRecord> = slice
            .ports
            .iter()
            .flatten()
            .filter_map(|port| {
                let number = u16::try_from(port.port?).ok()?;
                Some(port_record(port.name.as_deref(), port.protocol.as_deref(), number))
            })
            .collect();
        for endpoint in &slice.endpoints {
            let ready = endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true);
            let ip = endpoint.addresses.first().and_then(|ip| ip.parse::<IpAddr>().ok());
            let Some(ip) = ip.filter(|_| ready) else { continue };
            let label = match endpoint.hostname.as_deref().filter(|hostname| !hostname.is_empty()) {
                Some(hostname) => hostname.to_ascii_lowercase(),
                None => ip.to_string().replace(['.', ':'], "-"),
            };
            // A service with more ports than fit into one slice has an endpoint in several of them.
            let records =
                found.entry((label.clone(), ip)).or_insert_with(|| EndpointRecords { label, ip, ports: Vec::new() });
            records
                .ports
                .extend(ports.iter().filter(|port| !records.ports.contains(port)).cloned().collect::<Vec<_>>());
        }
    }
    found.into_values().collect()
}

impl ServiceRecords {
    /// The addresses that lead back to a name: the cluster's, and those of a headless service's endpoints.
    pub(super) fn reverse(&self, key: &ObjectKey, domain: &Name) -> Vec<(IpAddr, Name)> {
        let Some(name) = service_name(key.namespace(), &key.name, domain) else { return Vec::new() };
        match &self.kind {
            ServiceKind::ClusterIp(ips) => ips.iter().map(|ip| (*ip, name.clone())).collect(),
            ServiceKind::Headless => {
                let names =
                    self.endpoints.iter().filter_map(|e| Some((e.ip, name.prepend_label(e.label.as_str()).ok()?)));
                names.collect()
            }
            ServiceKind::ExternalName(_) => Vec::new(),
        }
    }
}

/// `<service>.<namespace>.svc.<domain>`.
pub(super) fn service_name(namespace: &str, service: &str, domain: &Name) -> Option<Name> {
    Name::from_labels([service, namespace, "svc"]).ok()?.append_domain(domain).ok()
}
