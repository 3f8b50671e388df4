//! The endpoints that a service should have, by address type and ports.

use std::collections::BTreeMap;
use std::net::IpAddr;

use client::objects;
use k8s_openapi::api::core::v1::{ObjectReference, Pod, Service, ServicePort};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::pods;

/// Where endpoints can share a slice: address type and ports.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Group {
    pub(super) address_type: String,
    pub(super) ports: Vec<Port>,
}

/// A port in an order that makes equal lists equal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Port {
    name: String,
    port: Option<i32>,
    protocol: String,
    app_protocol: Option<String>,
}

impl Port {
    fn of(port: &EndpointPort) -> Self {
        Self {
            name: port.name.clone().unwrap_or_default(),
            port: port.port,
            protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
            app_protocol: port.app_protocol.clone(),
        }
    }

    pub(super) fn to_api(&self) -> EndpointPort {
        EndpointPort {
            name: Some(self.name.clone()),
            port: self.port,
            protocol: Some(self.protocol.clone()),
            app_protocol: self.app_protocol.clone(),
        }
    }
}

/// The group that a list of ports belongs to.
pub(super) fn group(address_type: &str, ports: &[EndpointPort]) -> Group {
    let mut ports: Vec<Port> = ports.iter().map(Port::of).collect();
    ports.sort();
    Group { address_type: address_type.to_owned(), ports }
}

/// Whether a service has no cluster address.
pub(crate) fn is_headless(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None")
}

/// The desired endpoints in their groups. Every address type of the service is there, be it without endpoints.
pub(super) fn of<'a>(
    service: &Service,
    pods: impl Iterator<Item = &'a Pod>,
    zone_of: &dyn Fn(&str) -> Option<String>,
) -> BTreeMap<Group, Vec<Endpoint>> {
    let mut desired = BTreeMap::new();
    let spec = service.spec.clone().unwrap_or_default();
    if spec.type_.as_deref() == Some("ExternalName") {
        return desired;
    }
    let types = address_types(service);
    let pods: Vec<&Pod> = pods.filter(|pod| !pods::is_terminal(pod)).collect();
    for address_type in types {
        let mut any = false;
        for pod in &pods {
            let addresses = addresses(pod, &address_type);
            if addresses.is_empty() {
                continue;
            }
            let ports: Vec<EndpointPort> =
                spec.ports.iter().flatten().filter_map(|port| endpoint_port(pod, port)).collect();
            any = true;
            let endpoint = endpoint(service, pod, addresses, zone_of);
            desired.entry(group(&address_type, &ports)).or_insert_with(Vec::new).push(endpoint);
        }
        if !any {
            // An empty slice says that the service was looked at and has no endpoints.
            desired.insert(group(&address_type, &[]), Vec::new());
        }
    }
    desired
}

fn address_types(service: &Service) -> Vec<String> {
    let families = service.spec.as_ref().and_then(|spec| spec.ip_families.clone()).unwrap_or_default();
    if families.is_empty() { vec!["IPv4".to_owned()] } else { families }
}

fn addresses(pod: &Pod, address_type: &str) -> Vec<String> {
    let Some(status) = &pod.status else { return Vec::new() };
    let listed = status.pod_ips.iter().flatten().map(|ip| &ip.ip);
    let mut all: Vec<&String> = listed.collect();
    if all.is_empty() {
        all.extend(&status.pod_ip);
    }
    let fits = |ip: &&&String| match ip.parse() {
        Ok(IpAddr::V4(_)) => address_type == "IPv4",
        Ok(IpAddr::V6(_)) => address_type == "IPv6",
        Err(_) => false,
    };
    all.iter().filter(fits).map(|ip| (*ip).clone()).collect()
}

fn endpoint_port(pod: &Pod, port: &ServicePort) -> Option<EndpointPort> {
    Some(EndpointPort {
        name: Some(port.name.clone().unwrap_or_default()),
        port: Some(find_port(pod, port)?),
        protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
        app_protocol: port.app_protocol.clone(),
    })
}

/// The pod's port that a service port leads to; a name is looked up among the ports of its containers.
pub(crate) fn find_port(pod: &Pod, port: &ServicePort) -> Option<i32> {
    let name = match &port.target_port {
        None | Some(IntOrString::Int(0)) => return Some(port.port),
        Some(IntOrString::Int(number)) => return Some(*number),
        Some(IntOrString::String(name)) if name.is_empty() => return Some(port.port),
        Some(IntOrString::String(name)) => name,
    };
    let protocol = port.protocol.as_deref().unwrap_or("TCP");
    let spec = pod.spec.as_ref()?;
    // Init containers that go on running beside the others serve as well.
    let sidecars =
        spec.init_containers.iter().flatten().filter(|init| init.restart_policy.as_deref() == Some("Always"));
    let ports = spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
    let mut found = ports.filter(|candidate| {
        candidate.name.as_ref() == Some(name) && candidate.protocol.as_deref().unwrap_or("TCP") == protocol
    });
    found.next().map(|found| found.container_port)
}

fn endpoint(
    service: &Service,
    pod: &Pod,
    addresses: Vec<String>,
    zone_of: &dyn Fn(&str) -> Option<String>,
) -> Endpoint {
    let spec = pod.spec.as_ref();
    let publish = service.spec.as_ref().and_then(|spec| spec.publish_not_ready_addresses) == Some(true);
    let serving = pods::is_ready(pod);
    let terminating = objects::is_deleting(pod);
    let node = Some(pods::node_name(pod)).filter(|name| !name.is_empty());
    let subdomain = spec.and_then(|spec| spec.subdomain.as_ref());
    let hostname = spec.and_then(|spec| spec.hostname.clone()).filter(|name| !name.is_empty());
    Endpoint {
        addresses,
        conditions: Some(EndpointConditions {
            ready: Some(publish || (serving && !terminating)),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        node_name: node.map(str::to_owned),
        zone: node.and_then(zone_of),
        hostname: hostname.filter(|_| subdomain == service.metadata.name.as_ref()),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
        ..Endpoint::default()
    }
}

#[cfg(test)]
mod tests {
    use testkit::{Maker, pod, service};

    use super::*;

    fn endpoints(service: Maker<Service>, pods: Vec<Maker<Pod>>) -> BTreeMap<Group, Vec<Endpoint>> {
        let pods: Vec<Pod> = pods.into_iter().map(Maker::build).collect();
        of(&service.build(), pods.iter(), &|node| Some(format!("zone-of-{node}")))
    }

    /// The endpoints as `address ready serving terminating`, all groups together.
    #[track_caller]
    fn check(service: Maker<Service>, pods: Vec<Maker<Pod>>, expected: &[&str]) {
        let flag = |flag: Option<bool>| if flag == Some(true) { 'y' } else { 'n' };
        let got: Vec<String> = endpoints(service, pods)
            .values()
            .flatten()
            .map(|endpoint| {
                let conditions = endpoint.conditions.clone().unwrap_or_default();
                let flags = [conditions.ready, conditions.serving, conditions.terminating].map(flag);
                format!("{} {}{}{}", endpoint.addresses[0], flags[0], flags[1], flags[2])
            })
            .collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn conditions_tell_ready_serving_and_terminating_apart() {
        let web = || service("web").port("", 80, 8080);
        let at = |ip: &str| pod(ip).ip(ip).node("n");
        check(
            web(),
            vec![
                at("10.0.0.1").ready(),
                at("10.0.0.2"),
                at("10.0.0.3").ready().deleting(1),
                at("10.0.0.4").deleting(1),
            ],
            &["10.0.0.1 yyn", "10.0.0.2 nnn", "10.0.0.3 nyy", "10.0.0.4 nny"],
        );
        check(web(), vec![at("10.0.0.1").phase("Succeeded"), pod("no-ip").ready()], &[]);
        let publishing = web().with(|made| {
            made.spec.get_or_insert_default().publish_not_ready_addresses = Some(true);
        });
        check(publishing, vec![at("10.0.0.2"), at("10.0.0.4").deleting(1)], &["10.0.0.2 ynn", "10.0.0.4 yny"]);
    }

    #[test]
    fn named_target_ports_split_pods_by_what_they_mean() {
        let web = service("web").named_port("http", 80, "web");
        let serving = |name: &str, port: i32| pod(name).container("c", "i").port("web", port, "TCP").ip(name).ready();
        let got = endpoints(
            web,
            vec![
                serving("10.0.0.1", 8080),
                serving("10.0.0.2", 9090),
                serving("10.0.0.3", 8080),
                pod("10.0.0.4").container("c", "i").ip("10.0.0.4").ready(),
            ],
        );
        let sizes: Vec<(Vec<Option<i32>>, usize)> = got
            .iter()
            .map(|(group, endpoints)| (group.ports.iter().map(|port| port.port).collect(), endpoints.len()))
            .collect();
        assert_eq!(sizes, [(vec![], 1), (vec![Some(8080)], 2), (vec![Some(9090)], 1)]);
    }

    #[test]
    fn a_service_without_pods_has_an_empty_group_for_each_family() {
        let dual = service("web").port("", 80, 80).with(|made| {
            made.spec.get_or_insert_default().ip_families = Some(vec!["IPv4".to_owned(), "IPv6".to_owned()]);
        });
        let got = endpoints(dual, vec![]);
        assert_eq!(got.keys().map(|group| group.address_type.as_str()).collect::<Vec<_>>(), ["IPv4", "IPv6"]);
    }

    #[test]
    fn pods_of_a_headless_service_have_host_names_of_their_own() {
        let named = |subdomain: &str| {
            let subdomain = subdomain.to_owned();
            pod("db-0").ip("10.0.0.1").ready().node("n").with(move |made| {
                let spec = made.spec.get_or_insert_default();
                spec.hostname = Some("db-0".to_owned());
                spec.subdomain = Some(subdomain);
            })
        };
        for (subdomain, expected) in [("db", Some("db-0")), ("other", None)] {
            let got = endpoints(service("db").cluster_ip("None"), vec![named(subdomain)]);
            let endpoint = &got.values().next().expect("one group")[0];
            assert_eq!(endpoint.hostname.as_deref(), expected);
            assert_eq!(endpoint.zone.as_deref(), Some("zone-of-n"));
        }
    }
}
