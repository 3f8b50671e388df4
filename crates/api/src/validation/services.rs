//! Services, endpoints and endpoint slices.

use std::collections::BTreeSet;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{EndpointAddress, Endpoints, Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::{EndpointHints, EndpointSlice};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::json;

use super::rules::NameRule;
use super::{check, names};
use crate::field::{ErrorList, FieldError, Path};

const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
/// An endpoint says so many things about where it is at most.
const MAX_TOPOLOGY: usize = 16;
/// An endpoint is meant for so many zones or nodes at most.
const MAX_HINTS: usize = 8;

const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
const TOPOLOGY_HINTS: &str = "service.kubernetes.io/topology-aware-hints";
const TOPOLOGY_MODE: &str = "service.kubernetes.io/topology-mode";

const ONLY_LOAD_BALANCER: &str = "may only be used when `type` is 'LoadBalancer'";

/// Judges a service.
pub(super) fn service(service: &Service, errors: &mut ErrorList) {
    topology(service, errors);
    let path = Path::new("spec");
    let spec = service.spec.clone().unwrap_or_default();
    let kind = check::text(&spec.type_);
    let ports = spec.ports.as_deref().unwrap_or_default();
    if ports.is_empty() && !is_headless(&spec) && kind != "ExternalName" {
        errors.push(FieldError::required(&path.child("ports"), ""));
    }
    if is_headless(&spec) && ["LoadBalancer", "NodePort"].contains(&kind) {
        let why = format!("may not be set to 'None' for {kind} services");
        errors.push(FieldError::invalid(&path.child("clusterIPs").index(0), "None", why));
    }
    if kind == "ExternalName" {
        external_name(&spec, &path, errors);
    }
    service_ports(ports, &path.child("ports"), errors);
    check::labels(errors, &path.child("selector"), spec.selector.as_ref());
    session_affinity(&spec, &path, errors);
    cluster_ips(&spec, &path, errors);
    for (index, address) in spec.external_ips.iter().flatten().enumerate() {
        let path = path.child("externalIPs").index(index);
        let before = errors.len();
        check::ip(errors, &path, address);
        if errors.len() == before {
            usable_ip(errors, &path, address);
        }
    }
    let kinds = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
    check::required_one_of(errors, &path.child("type"), kind, &kinds);
    repeated_ports(ports, kind, &path.child("ports"), errors);
    source_ranges(service, &spec, kind == "LoadBalancer", errors);
    load_balancer(&spec, kind == "LoadBalancer", &path, errors);
    external_traffic(&spec, kind, &path, errors);
    let policies = ["Cluster", "Local"];
    let internal_path = path.child("internalTrafficPolicy");
    check::optional_one_of(errors, &internal_path, &spec.internal_traffic_policy, &policies);
    let distributions = ["PreferClose", "PreferSameZone", "PreferSameNode"];
    let distribution_path = path.child("trafficDistribution");
    check::optional_one_of(errors, &distribution_path, &spec.traffic_distribution, &distributions);
}

/// The annotation that was renamed must not say something else under its new name.
fn topology(service: &Service, errors: &mut ErrorList) {
    let annotation = |name: &str| service.metadata.annotations.as_ref().and_then(|all| all.get(name));
    if let (Some(mode), Some(hints)) = (annotation(TOPOLOGY_MODE), annotation(TOPOLOGY_HINTS))
        && mode != hints
    {
        let path = Path::new("metadata").child("annotations").key(TOPOLOGY_MODE);
        let why = format!("must match annotations[{TOPOLOGY_HINTS}] when both are specified");
        errors.push(FieldError::invalid(&path, mode.as_str(), why));
    }
}

fn service_ports(ports: &[ServicePort], list: &Path, errors: &mut ErrorList) {
    let mut seen = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let path = list.index(index);
        let name = check::text(&port.name);
        if name.is_empty() {
            if ports.len() > 1 {
                errors.push(FieldError::required(&path.child("name"), ""));
            }
        } else {
            check::invalid(errors, &path.child("name"), name, names::dns_label(name));
            if !seen.insert(name) {
                errors.push(FieldError::duplicate(&path.child("name"), name));
            }
        }
        check::invalid(errors, &path.child("port"), port.port, names::port_number(i64::from(port.port)));
        check::required_one_of(errors, &path.child("protocol"), check::text(&port.protocol), &PROTOCOLS);
        // A target that is not given is the port itself.
        let target = port.target_port.clone().unwrap_or(IntOrString::Int(port.port));
        check::port(errors, &path.child("targetPort"), &target);
        if let Some(application) = &port.app_protocol {
            let judged = names::qualified_name(application);
            check::invalid(errors, &path.child("appProtocol"), application.as_str(), judged);
        }
    }
}

/// Judges what ports of a service must not have in common.
fn repeated_ports(ports: &[ServicePort], kind: &str, list: &Path, errors: &mut ErrorList) {
    let node_ports = || {
        let entries = ports.iter().enumerate().map(|(index, port)| (index, port, port.node_port.unwrap_or(0)));
        entries.filter(|(_, _, node_port)| *node_port != 0)
    };
    for (index, _, _) in node_ports().filter(|_| kind == "ClusterIP") {
        let path = list.index(index).child("nodePort");
        errors.push(FieldError::forbidden(&path, "may not be used when `type` is 'ClusterIP'"));
    }
    let mut seen = BTreeSet::new();
    for (index, port, node_port) in node_ports() {
        if !seen.insert((check::text(&port.protocol), node_port)) {
            errors.push(FieldError::duplicate(&list.index(index).child("nodePort"), node_port));
        }
    }
    let mut seen = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let protocol = check::text(&port.protocol);
        if !seen.insert((protocol, port.port)) {
            errors.push(FieldError::duplicate(&list.index(index), json!({"protocol": protocol, "port": port.port})));
        }
    }
}

fn external_name(spec: &ServiceSpec, path: &Path, errors: &mut ErrorList) {
    if spec.cluster_ips.as_ref().is_some_and(|ips| !ips.is_empty()) {
        let why = "may not be set for ExternalName services";
        errors.push(FieldError::forbidden(&path.child("clusterIPs"), why));
    }
    let families = [
        ("ipFamilies", spec.ip_families.as_ref().is_some_and(|families| !families.is_empty())),
        ("ipFamilyPolicy", spec.ip_family_policy.is_some()),
    ];
    for (field, _) in families.into_iter().filter(|(_, set)| *set) {
        errors.push(FieldError::forbidden(&path.child(field), "may not be set for ExternalName services"));
    }
    let name = check::text(&spec.external_name);
    let name = name.strip_suffix('.').unwrap_or(name);
    check::required_name(errors, &path.child("externalName"), name, names::dns_subdomain);
}

fn session_affinity(spec: &ServiceSpec, path: &Path, errors: &mut ErrorList) {
    let affinity = check::text(&spec.session_affinity);
    check::required_one_of(errors, &path.child("sessionAffinity"), affinity, &["ClientIP", "None"]);
    let path = path.child("sessionAffinityConfig");
    match (affinity, &spec.session_affinity_config) {
        ("ClientIP", config) => {
            let client = config.as_ref().and_then(|config| config.client_ip.as_ref());
            let client_path = path.child("clientIP");
            let missing = match (config, client) {
                (None, _) => &path,
                (Some(_), None) => &client_path,
                _ => &client_path.child("timeoutSeconds"),
            };
            match client.and_then(|client| client.timeout_seconds) {
                None => errors.push(FieldError::required(missing, "when session affinity type is ClientIP")),
                Some(seconds) if !(1..=86400).contains(&seconds) => {
                    let path = path.child("clientIP").child("timeoutSeconds");
                    let why = "must be greater than 0 and less than 86400";
                    errors.push(FieldError::invalid(&path, seconds, why));
                }
                Some(_) => {}
            }
        }
        ("None", Some(_)) => {
            errors.push(FieldError::forbidden(&path, "must not be set when session affinity is None"));
        }
        _ => {}
    }
}

/// Judges what a service asks for.
pub(super) fn addresses(service: &Service, errors: &mut ErrorList) {
    if let Some(spec) = &service.spec {
        cluster_ips(spec, &Path::new("spec"), errors);
    }
}

fn cluster_ips(spec: &ServiceSpec, path: &Path, errors: &mut ErrorList) {
    if check::text(&spec.type_) == "ExternalName" {
        return;
    }
    let ips_path = path.child("clusterIPs");
    let ips = spec.cluster_ips.as_deref().unwrap_or_default();
    let invalid = |why: &str| FieldError::invalid(&ips_path, ips.to_vec(), why);
    match (check::text(&spec.cluster_ip), ips.first()) {
        ("", Some(_)) => errors.push(invalid("must be empty when `clusterIP` is not specified")),
        ("", None) => {}
        (_, None) => errors.push(FieldError::required(&ips_path, "")),
        (first, Some(ip)) if ip != first => errors.push(invalid("first value must match `clusterIP`")),
        _ => {}
    }
    let families_path = path.child("ipFamilies");
    let families = spec.ip_families.as_deref().unwrap_or_default();
    for (index, family) in families.iter().enumerate() {
        check::one_of(errors, &families_path.index(index), family, &["IPv4", "IPv6"]);
        if families[..index].contains(family) {
            errors.push(FieldError::duplicate(&families_path.index(index), family.as_str()));
        }
    }
    let policies = ["PreferDualStack", "RequireDualStack", "SingleStack"];
    check::optional_one_of(errors, &path.child("ipFamilyPolicy"), &spec.ip_family_policy, &policies);
    let is_headless = ips.first().is_some_and(|ip| ip == "None");
    if is_headless && ips.len() > 1 {
        errors.push(invalid("'None' must be the first and only value"));
    }
    let mut are_ips = !is_headless;
    for (index, ip) in ips.iter().enumerate().skip(usize::from(is_headless)) {
        let judged = names::ip(ip);
        are_ips &= judged.is_empty();
        check::invalid(errors, &ips_path.index(index), ip.as_str(), judged);
    }
    if ips.len() > 2 {
        errors.push(invalid("may only hold up to 2 values"));
    }
    if !are_ips {
        return;
    }
    let is_v6 = |ip: &String| ip.contains(':');
    if ips.len() > 1 && ips.iter().map(is_v6).collect::<BTreeSet<_>>().len() < 2 {
        errors.push(invalid("may specify no more than one IP for each IP family"));
    }
    for (index, (ip, family)) in ips.iter().zip(families).enumerate() {
        if (family == "IPv6") != is_v6(ip) {
            let why = format!("expected an {family} value as indicated by `ipFamilies[{index}]`");
            errors.push(FieldError::invalid(&ips_path.index(index), ip.as_str(), why));
        }
    }
}

/// Who may use the load balancer, by the field or by the annotation that was before it.
fn source_ranges(service: &Service, spec: &ServiceSpec, is_load_balancer: bool, errors: &mut ErrorList) {
    let ranges = spec.load_balancer_source_ranges.as_deref().unwrap_or_default();
    let annotation = service.metadata.annotations.as_ref().and_then(|all| all.get(SOURCE_RANGES));
    // The capital letter is upstream's.
    let path = Path::new("spec").child("LoadBalancerSourceRanges");
    let annotation_path = Path::new("metadata").child("annotations").key(SOURCE_RANGES);
    let path = if ranges.is_empty() { &annotation_path } else { &path };
    if !is_load_balancer && (!ranges.is_empty() || annotation.is_some()) {
        errors.push(FieldError::forbidden(path, ONLY_LOAD_BALANCER));
    }
    for (index, range) in ranges.iter().enumerate() {
        let range = range.trim();
        check::invalid(errors, &path.index(index), range, names::cidr(range));
    }
    if let Some(annotation) = annotation.filter(|annotation| ranges.is_empty() && !annotation.trim().is_empty()) {
        for range in annotation.split(',').map(str::trim) {
            check::invalid(errors, path, range, names::cidr(range));
        }
    }
}

fn load_balancer(spec: &ServiceSpec, is_load_balancer: bool, path: &Path, errors: &mut ErrorList) {
    if is_load_balancer {
        if spec.allocate_load_balancer_node_ports.is_none() {
            // Upstream leaves out the spec.
            errors.push(FieldError::required(&Path::new("allocateLoadBalancerNodePorts"), ""));
        }
        if let Some(class) = &spec.load_balancer_class {
            let judged = names::qualified_name(class);
            check::invalid(errors, &path.child("loadBalancerClass"), class.as_str(), judged);
        }
        return;
    }
    if spec.allocate_load_balancer_node_ports.is_some() {
        errors.push(FieldError::forbidden(&path.child("allocateLoadBalancerNodePorts"), ONLY_LOAD_BALANCER));
    }
    if spec.load_balancer_class.is_some() {
        errors.push(FieldError::forbidden(&path.child("loadBalancerClass"), ONLY_LOAD_BALANCER));
    }
}

fn external_traffic(spec: &ServiceSpec, kind: &str, path: &Path, errors: &mut ErrorList) {
    let policy = check::text(&spec.external_traffic_policy);
    let policy_path = path.child("externalTrafficPolicy");
    let has_external_ips = spec.external_ips.as_ref().is_some_and(|ips| !ips.is_empty());
    let reachable = matches!(kind, "NodePort" | "LoadBalancer") || (kind == "ClusterIP" && has_external_ips);
    if reachable {
        let policies = ["Cluster", "Local"];
        check::optional_one_of(errors, &policy_path, &spec.external_traffic_policy, &policies);
    } else if !policy.is_empty() {
        let why = "may only be set for externally-accessible services";
        errors.push(FieldError::invalid(&policy_path, policy, why));
    }
    let port = spec.health_check_node_port.unwrap_or(0);
    let path = path.child("healthCheckNodePort");
    if kind == "LoadBalancer" && policy == "Local" {
        // What is not asked for is allocated.
        if port != 0 {
            check::invalid(errors, &path, port, names::port_number(i64::from(port)));
        }
    } else if port != 0 {
        let why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        errors.push(FieldError::invalid(&path, port, why));
    }
}

/// An address that traffic can be sent to.
fn usable_ip(errors: &mut ErrorList, path: &Path, text: &str) {
    let Some(address) = names::sloppy_ip(text) else {
        errors.push(FieldError::invalid(path, text, "must be a valid IP address"));
        return;
    };
    let address = address.to_canonical();
    let (link_local, link_local_multicast) = match address {
        IpAddr::V4(v4) => (v4.is_link_local(), v4.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(v6) => (v6.segments()[0] & 0xffc0 == 0xfe80, v6.segments()[0] & 0xff0f == 0xff02),
    };
    let unspecified = format!("may not be unspecified ({text})");
    for (is, why) in [
        (address.is_unspecified(), unspecified.as_str()),
        (address.is_loopback(), "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
        (link_local, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
        (link_local_multicast, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"),
    ] {
        if is {
            errors.push(FieldError::invalid(path, text, why));
        }
    }
}

/// A service may gain a second address and lose it again; the others stay.
fn cluster_ips_update(new: &ServiceSpec, old: &ServiceSpec, path: &Path, errors: &mut ErrorList) {
    if is_headless(new) && is_headless(old) {
        return;
    }
    let (now, before) =
        (new.cluster_ips.as_deref().unwrap_or_default(), old.cluster_ips.as_deref().unwrap_or_default());
    let list = path.child("clusterIPs");
    second_dropped(new, (now, before), &list, ("primary clusterIP can not be unset", "clusterIP"), errors);
    for index in changed(now, before) {
        errors.push(FieldError::invalid(&list.index(index), check::json(&new.cluster_ips), "may not change once set"));
    }
}

/// The same for families; headless services may change theirs.
fn families_update(new: &ServiceSpec, old: &ServiceSpec, path: &Path, errors: &mut ErrorList) {
    if is_headless(new) || is_headless(old) {
        return;
    }
    let (now, before) =
        (new.ip_families.as_deref().unwrap_or_default(), old.ip_families.as_deref().unwrap_or_default());
    let list = path.child("ipFamilies");
    second_dropped(new, (now, before), &list, ("primary ipFamily can not be unset", "ipFamily"), errors);
    for _ in changed(now, before) {
        // Upstream shows the addresses where their number is another.
        let shown = if now.len() == before.len() { check::json(now) } else { check::json(&new.cluster_ips) };
        errors.push(FieldError::invalid(&list.index(0), shown, "may not change once set"));
    }
}

fn is_headless(spec: &ServiceSpec) -> bool {
    spec.cluster_ips.as_ref().is_some_and(|ips| ips.len() == 1 && ips[0] == "None")
}

/// What differs of what both lists have; of lists of different lengths only the first counts.
fn changed(now: &[String], before: &[String]) -> Vec<usize> {
    let counted = if now.len() == before.len() { now.len() } else { now.len().min(before.len()).min(1) };
    (0..counted).filter(|index| now[*index] != before[*index]).collect()
}

/// Who gives up the second value must ask for a single family.
fn second_dropped(
    new: &ServiceSpec,
    (now, before): (&[String], &[String]),
    list: &Path,
    (unset, what): (&str, &str),
    errors: &mut ErrorList,
) {
    if now.len() >= before.len() {
        return;
    }
    if now.is_empty() {
        errors.push(FieldError::invalid(&list.index(0), json!(null), unset));
    }
    if now.len() == 1 && new.ip_family_policy.as_deref() != Some("SingleStack") {
        let why = format!("must be set to 'SingleStack' when releasing the secondary {what}");
        let path = Path::new("spec").child("ipFamilyPolicy");
        errors.push(FieldError::invalid(&path, check::json(&new.ip_family_policy), why));
    }
}

/// Judges an update of a service.
pub(super) fn service_update(new: &Service, old: &Service, errors: &mut ErrorList) {
    let path = Path::new("spec");
    let (new, old) = (new.spec.clone().unwrap_or_default(), old.spec.clone().unwrap_or_default());
    let external = |spec: &ServiceSpec| check::text(&spec.type_) == "ExternalName";
    if external(&new) || external(&old) {
        return;
    }
    let why = "may not change once set";
    cluster_ips_update(&new, &old, &path, errors);
    families_update(&new, &old, &path, errors);
    if check::text(&new.type_) == "LoadBalancer" && check::text(&old.type_) == "LoadBalancer" {
        let path = path.child("loadBalancerClass");
        if new.load_balancer_class != old.load_balancer_class {
            errors.push(FieldError::invalid(&path, check::json(&new.load_balancer_class), why));
        }
    }
    let checked = |spec: &ServiceSpec| {
        check::text(&spec.type_) == "LoadBalancer" && check::text(&spec.external_traffic_policy) == "Local"
    };
    if checked(&new) && checked(&old) {
        let (now, before) = (new.health_check_node_port.unwrap_or(0), old.health_check_node_port.unwrap_or(0));
        if now != before {
            errors.push(FieldError::forbidden(&path.child("healthCheckNodePort"), check::IMMUTABLE));
        }
    }
}

/// Judges an update of the status of a service.
pub(super) fn service_status(new: &Service, _: &Service, errors: &mut ErrorList) {
    let path = Path::new("status").child("loadBalancer").child("ingress");
    let balanced = new.spec.as_ref().is_some_and(|spec| check::text(&spec.type_) == "LoadBalancer");
    let balancer = new.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let list = balancer.and_then(|balancer| balancer.ingress.as_deref()).unwrap_or_default();
    if !balanced && !list.is_empty() {
        errors.push(FieldError::forbidden(&path, "may only be used when `spec.type` is 'LoadBalancer'"));
        return;
    }
    for (index, ingress) in list.iter().enumerate() {
        let path = path.index(index);
        let (ip, mode) = (check::text(&ingress.ip), check::text(&ingress.ip_mode));
        way_in(ip, "", &path, errors);
        let mode_path = path.child("ipMode");
        if !ip.is_empty() && ingress.ip_mode.is_none() {
            errors.push(FieldError::required(&mode_path, "must be specified when `ip` is set"));
        } else if ip.is_empty() && ingress.ip_mode.is_some() {
            errors.push(FieldError::forbidden(&mode_path, "may not be specified when `ip` is not set"));
        } else if ingress.ip_mode.is_some() {
            check::one_of(errors, &mode_path, mode, &["Proxy", "VIP"]);
        }
        way_in("", check::text(&ingress.hostname), &path, errors);
    }
}

/// Where traffic comes in: an address or a name, of a service or of an ingress.
pub(super) fn way_in(ip: &str, hostname: &str, path: &Path, errors: &mut ErrorList) {
    if !ip.is_empty() {
        check::ip(errors, &path.child("ip"), ip);
    }
    if !hostname.is_empty() {
        check::invalid(errors, &path.child("hostname"), hostname, names::dns_subdomain(hostname));
        if names::sloppy_ip(hostname).is_some() {
            let why = "must be a DNS name, not an IP address";
            errors.push(FieldError::invalid(&path.child("hostname"), hostname, why));
        }
    }
}

/// Judges endpoints.
pub(super) fn endpoints(endpoints: &Endpoints, errors: &mut ErrorList) {
    for (index, subset) in endpoints.subsets.iter().flatten().enumerate() {
        let path = Path::new("subsets").index(index);
        let ready = subset.addresses.as_deref().unwrap_or_default();
        let not_ready = subset.not_ready_addresses.as_deref().unwrap_or_default();
        if ready.is_empty() && not_ready.is_empty() {
            errors.push(FieldError::required(&path, "must specify `addresses` or `notReadyAddresses`"));
        }
        for (field, addresses) in [("addresses", ready), ("notReadyAddresses", not_ready)] {
            for (index, address) in addresses.iter().enumerate() {
                endpoint_address(address, &path.child(field).index(index), errors);
            }
        }
        let ports = subset.ports.as_deref().unwrap_or_default();
        for (index, port) in ports.iter().enumerate() {
            let path = path.child("ports").index(index);
            let name = check::text(&port.name);
            if name.is_empty() && ports.len() > 1 {
                errors.push(FieldError::required(&path.child("name"), ""));
            }
            check::optional_name(errors, &path.child("name"), name, names::dns_label);
            check::invalid(errors, &path.child("port"), port.port, names::port_number(i64::from(port.port)));
            check::required_one_of(errors, &path.child("protocol"), check::text(&port.protocol), &PROTOCOLS);
            if let Some(application) = &port.app_protocol {
                let judged = names::qualified_name(application);
                check::invalid(errors, &path.child("appProtocol"), application.as_str(), judged);
            }
        }
    }
}

/// Upstream tells twice of what is no address.
fn endpoint_address(address: &EndpointAddress, path: &Path, errors: &mut ErrorList) {
    check::ip(errors, &path.child("ip"), &address.ip);
    check::optional_name(errors, &path.child("hostname"), check::text(&address.hostname), names::dns_label);
    if let Some(name) = &address.node_name {
        check::invalid(errors, &path.child("nodeName"), name.as_str(), names::dns_subdomain(name));
    }
    usable_ip(errors, &path.child("ip"), &address.ip);
}

/// Judges an endpoint slice.
pub(super) fn endpoint_slice(slice: &EndpointSlice, errors: &mut ErrorList) {
    let kind = slice.address_type.as_str();
    check::required_one_of(errors, &Path::new("addressType"), kind, &["FQDN", "IPv4", "IPv6"]);
    let list = Path::new("endpoints");
    if slice.endpoints.len() > 1000 {
        errors.push(FieldError::too_many(&list, slice.endpoints.len(), 1000));
        return;
    }
    for (index, endpoint) in slice.endpoints.iter().enumerate() {
        let path = list.index(index);
        let addresses_path = path.child("addresses");
        if endpoint.addresses.is_empty() {
            errors.push(FieldError::required(&addresses_path, "must contain at least 1 address"));
        } else if endpoint.addresses.len() > 100 {
            errors.push(FieldError::too_many(&addresses_path, endpoint.addresses.len(), 100));
        }
        for (index, address) in endpoint.addresses.iter().enumerate() {
            slice_address(address, kind, &addresses_path.index(index), errors);
        }
        check::optional_name(errors, &path.child("hostname"), check::text(&endpoint.hostname), names::dns_label);
        check::optional_name(errors, &path.child("nodeName"), check::text(&endpoint.node_name), names::dns_subdomain);
        let topology = endpoint.deprecated_topology.as_ref();
        if topology.is_some_and(|topology| topology.len() > MAX_TOPOLOGY) {
            let count = topology.map_or(0, std::collections::BTreeMap::len);
            errors.push(FieldError::too_many(&path.child("deprecatedTopology"), count, MAX_TOPOLOGY));
        }
        check::labels(errors, &path.child("deprecatedTopology"), topology);
        if let Some(found) = &endpoint.hints {
            hints(found, &path.child("hints"), errors);
        }
    }
    let list = Path::new("ports");
    let ports = slice.ports.as_deref().unwrap_or_default();
    if ports.len() > 20_000 {
        errors.push(FieldError::too_many(&list, ports.len(), 20_000));
        return;
    }
    let mut seen = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let path = list.index(index);
        let name = check::text(&port.name);
        check::optional_name(errors, &path.child("name"), name, names::dns_label);
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(&path.child("name"), name));
        }
        check::required_one_of(errors, &path.child("protocol"), check::text(&port.protocol), &PROTOCOLS);
        if let Some(number) = port.port {
            check::invalid(errors, &path.child("port"), number, names::port_number(i64::from(number)));
        }
        let application = check::text(&port.app_protocol);
        check::optional_name(errors, &path.child("appProtocol"), application, names::qualified_name);
    }
}

/// Judges for which zones and nodes an endpoint is meant.
fn hints(hints: &EndpointHints, path: &Path, errors: &mut ErrorList) {
    let zones: Vec<&str> = hints.for_zones.iter().flatten().map(|zone| zone.name.as_str()).collect();
    let nodes: Vec<&str> = hints.for_nodes.iter().flatten().map(|node| node.name.as_str()).collect();
    for (field, names, rule) in
        [("forZones", zones, names::label_value as NameRule), ("forNodes", nodes, names::dns_subdomain as NameRule)]
    {
        let list = path.child(field);
        if names.len() > MAX_HINTS {
            errors.push(FieldError::too_many(&list, names.len(), MAX_HINTS));
            continue;
        }
        for (index, name) in names.iter().enumerate() {
            let path = list.index(index).child("name");
            if names[..index].contains(name) {
                errors.push(FieldError::duplicate(&path, *name));
            }
            check::invalid(errors, &path, *name, rule(name));
        }
    }
}

fn slice_address(address: &str, kind: &str, path: &Path, errors: &mut ErrorList) {
    match kind {
        "FQDN" => check::invalid(errors, path, address, names::fully_qualified_domain(address)),
        "IPv4" | "IPv6" => {
            let judged = names::ip(address);
            if !judged.is_empty() {
                check::invalid(errors, path, address, judged);
                return;
            }
            if address.contains(':') != (kind == "IPv6") {
                let article = format!("must be an {kind} address");
                errors.push(FieldError::invalid(path, address, article));
            }
            usable_ip(errors, path, address);
        }
        _ => {}
    }
}

/// Judges an update of an endpoint slice.
pub(super) fn endpoint_slice_update(new: &EndpointSlice, old: &EndpointSlice, errors: &mut ErrorList) {
    check::immutable(errors, &Path::new("addressType"), &new.address_type, &old.address_type);
}
