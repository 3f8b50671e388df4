//! A Service and its EndpointSlices as one value.

use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Service as ApiService, ServicePort as SpecPort, ServiceSpec};
use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::endpoints::usable;
use super::{HealthCheck, NodeTopology, Protocol, Service, ServicePort};

/// Services with this label are another proxy's.
const PROXY_NAME_LABEL: &str = "service.kubernetes.io/service-proxy-name";

/// How long a client stays with its endpoint where the service does not say.
const DEFAULT_AFFINITY_SECONDS: i32 = 10800;

/// Whether this proxy serves a service: it has a cluster address and no other proxy's name.
pub fn is_proxied(service: &ApiService) -> bool {
    let other = service.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(PROXY_NAME_LABEL));
    let Some(spec) = &service.spec else { return false };
    let external_name = spec.type_.as_deref() == Some("ExternalName");
    let headless = spec.cluster_ip.as_deref().is_none_or(|ip| ip.is_empty() || ip == "None");
    !other && !external_name && !headless
}

/// What a service means on a node; `None` for one that is not proxied.
pub fn service(service: &ApiService, slices: &[Arc<EndpointSlice>], node: &NodeTopology) -> Option<Service> {
    let spec = service.spec.as_ref().filter(|_| is_proxied(service))?;
    let mut local_ready = 0;
    let mut ports = Vec::new();
    for port in spec.ports.iter().flatten() {
        let usable = usable(port, slices, node);
        local_ready = local_ready.max(usable.local_ready);
        let Some(mut model) = service_port(service, spec, port) else { continue };
        model.cluster_endpoints = usable.cluster;
        model.local_endpoints = usable.local;
        ports.push(model);
    }
    let external_local = spec.external_traffic_policy.as_deref() == Some("Local");
    let node_port = spec.health_check_node_port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0);
    let health_check =
        node_port.filter(|_| external_local).map(|node_port| HealthCheck { node_port, local_endpoints: local_ready });
    Some(Service { ports, health_check })
}

/// Everything of a port but its endpoints; `None` where a number is out of range or the protocol unknown, which the
/// API server does not let in.
fn service_port(service: &ApiService, spec: &ServiceSpec, port: &SpecPort) -> Option<ServicePort> {
    let protocol = match port.protocol.as_deref().unwrap_or("TCP") {
        "TCP" => Protocol::Tcp,
        "UDP" => Protocol::Udp,
        "SCTP" => Protocol::Sctp,
        _ => return None,
    };
    let cluster_ips = match spec.cluster_ips.as_deref() {
        Some(ips) if !ips.is_empty() => parse(ips),
        _ => parse(spec.cluster_ip.as_slice()),
    };
    let affinity = spec.session_affinity.as_deref() == Some("ClientIP");
    let affinity_seconds = || {
        let client_ip = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
        let seconds = client_ip.and_then(|config| config.timeout_seconds).unwrap_or(DEFAULT_AFFINITY_SECONDS);
        u32::try_from(seconds).unwrap_or_default().max(1)
    };
    let is_load_balancer = spec.type_.as_deref() == Some("LoadBalancer");
    Some(ServicePort {
        name: port.name.clone().unwrap_or_default(),
        protocol,
        port: u16::try_from(port.port).ok()?,
        node_port: port.node_port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0),
        cluster_ips,
        external_ips: parse(spec.external_ips.as_deref().unwrap_or_default()),
        load_balancer_ips: if is_load_balancer { load_balancer_ips(service) } else { Vec::new() },
        source_ranges: parse(spec.load_balancer_source_ranges.as_deref().unwrap_or_default()),
        internal_local: spec.internal_traffic_policy.as_deref() == Some("Local"),
        external_local: spec.external_traffic_policy.as_deref() == Some("Local"),
        affinity_seconds: affinity.then(affinity_seconds),
        cluster_endpoints: Vec::new(),
        local_endpoints: Vec::new(),
    })
}

fn load_balancer_ips(service: &ApiService) -> Vec<IpAddr> {
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = status.iter().flat_map(|status| status.ingress.iter().flatten());
    // With ipMode Proxy the load balancer changes the destination itself.
    let ours = ingress.filter(|ingress| ingress.ip_mode.as_deref().is_none_or(|mode| mode == "VIP"));
    ours.filter_map(|ingress| ingress.ip.as_ref()?.parse().ok()).collect()
}

fn parse<T: std::str::FromStr>(texts: &[String]) -> Vec<T> {
    texts.iter().filter_map(|text| text.trim().parse().ok()).collect()
}
