//! Ingresses, ingress classes and network policies.

use ipnet::IpNet;
use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, IPAddress, IPBlock, Ingress, IngressBackend, IngressClass, IngressRule, NetworkPolicy,
    NetworkPolicyPeer, NetworkPolicyPort, ServiceCIDR,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{check, names, services};
use crate::field::{ErrorList, FieldError, Path};

const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";

/// Judges what a new ingress must not have.
pub(super) fn ingress_create(ingress: &Ingress, errors: &mut ErrorList) {
    let class = ingress.spec.as_ref().and_then(|spec| spec.ingress_class_name.as_ref());
    let annotation = ingress.metadata.annotations.as_ref().and_then(|all| all.get(CLASS_ANNOTATION));
    if let (Some(annotation), Some(class)) = (annotation, class)
        && annotation != class
    {
        let path = Path::new("annotations").child(CLASS_ANNOTATION);
        // Upstream takes the same class twice by now; the records have these words.
        let why = "can not be set when the class field is also set";
        errors.push(FieldError::invalid(&path, annotation.as_str(), why));
    }
}

/// Judges an ingress.
pub(super) fn ingress(ingress: &Ingress, errors: &mut ErrorList) {
    let path = Path::new("spec");
    let spec = ingress.spec.clone().unwrap_or_default();
    let rules = spec.rules.as_deref().unwrap_or_default();
    if rules.is_empty() && spec.default_backend.is_none() {
        let why = "either `defaultBackend` or `rules` must be specified";
        errors.push(FieldError::invalid(&path, check::json(rules), why));
    }
    if let Some(found) = &spec.default_backend {
        backend(found, &path.child("defaultBackend"), errors);
    }
    for (index, found) in rules.iter().enumerate() {
        rule(found, &path.child("rules").index(index), errors);
    }
    for (index, tls) in spec.tls.iter().flatten().enumerate() {
        let path = path.child("tls").index(index);
        for (index, name) in tls.hosts.iter().flatten().enumerate() {
            check::invalid(errors, &path.child("hosts").index(index), name.as_str(), host_name(name));
        }
        check::optional_name(errors, &path.child("secretName"), check::text(&tls.secret_name), names::dns_subdomain);
    }
    if let Some(class) = &spec.ingress_class_name {
        check::invalid(errors, &path.child("ingressClassName"), class.as_str(), names::dns_subdomain(class));
    }
}

fn host_name(name: &str) -> Vec<String> {
    if name.contains('*') { names::wildcard_dns_subdomain(name) } else { names::dns_subdomain(name) }
}

fn rule(rule: &IngressRule, path: &Path, errors: &mut ErrorList) {
    let host = check::text(&rule.host);
    if !host.is_empty() {
        let path = path.child("host");
        if names::sloppy_ip(host).is_some() {
            errors.push(FieldError::invalid(&path, host, "must be a DNS name, not an IP address"));
        }
        check::invalid(errors, &path, host, host_name(host));
    }
    let Some(http) = &rule.http else {
        return;
    };
    let path = path.child("http").child("paths");
    if http.paths.is_empty() {
        errors.push(FieldError::required(&path, ""));
    }
    for (index, found) in http.paths.iter().enumerate() {
        http_path(found, &path.index(index), errors);
    }
}

fn http_path(found: &HTTPIngressPath, path: &Path, errors: &mut ErrorList) {
    let text = check::text(&found.path);
    let text_path = path.child("path");
    let mut refuse = |why: String| errors.push(FieldError::invalid(&text_path, text, why));
    match found.path_type.as_str() {
        "Exact" | "Prefix" => {
            if !text.starts_with('/') {
                refuse("must be an absolute path".to_owned());
            }
            for part in ["//", "/./", "/../", "%2f", "%2F"].into_iter().filter(|part| text.contains(part)) {
                refuse(format!("must not contain '{part}'"));
            }
            for end in ["/..", "/."].into_iter().filter(|end| text.ends_with(end)) {
                refuse(format!("cannot end with '{end}'"));
            }
        }
        "ImplementationSpecific" => {
            if !text.is_empty() && !text.starts_with('/') {
                refuse("must be an absolute path".to_owned());
            }
        }
        "" => {
            errors.push(FieldError::required(&path.child("pathType"), "pathType must be specified"));
            return;
        }
        other => {
            let supported = ["Exact", "ImplementationSpecific", "Prefix"];
            errors.push(FieldError::not_supported(&path.child("pathType"), other, &supported));
        }
    }
    backend(&found.backend, &path.child("backend"), errors);
}

fn backend(backend: &IngressBackend, path: &Path, errors: &mut ErrorList) {
    match (&backend.resource, &backend.service) {
        (Some(_), Some(_)) => {
            errors.push(FieldError::invalid(path, "", "cannot set both resource and service backends"));
        }
        (None, None) => errors.push(FieldError::invalid(path, "", "resource or service backend is required")),
        (Some(resource), None) => {
            let path = path.child("resource");
            typed_reference(check::text(&resource.api_group), &resource.kind, &resource.name, &path, errors);
        }
        (None, Some(service)) => {
            let service_path = path.child("service");
            check::required_name(errors, &service_path.child("name"), &service.name, names::dns_1035_label);
            let port = service.port.clone().unwrap_or_default();
            let (name, number) = (check::text(&port.name), port.number.unwrap_or(0));
            let port_path = service_path.child("port");
            match (name.is_empty(), number == 0) {
                (false, false) => {
                    errors.push(FieldError::invalid(path, "", "cannot set both port name & port number"));
                }
                (true, true) => errors.push(FieldError::required(path, "port name or number is required")),
                (false, true) => check::invalid(errors, &port_path.child("name"), name, names::port_name(name)),
                (true, false) => {
                    let judged = names::port_number(i64::from(number));
                    check::invalid(errors, &port_path.child("number"), number, judged);
                }
            }
        }
    }
}

/// A reference to an object of any kind.
fn typed_reference(group: &str, kind: &str, name: &str, path: &Path, errors: &mut ErrorList) {
    check::optional_name(errors, &path.child("apiGroup"), group, names::dns_subdomain);
    for (field, value) in [("kind", kind), ("name", name)] {
        if value.is_empty() {
            errors.push(FieldError::required(&path.child(field), format!("{field} is required")));
        } else {
            check::invalid(errors, &path.child(field), value, names::path_segment(value));
        }
    }
}

/// Judges an update of the status of an ingress.
pub(super) fn ingress_status(new: &Ingress, _: &Ingress, errors: &mut ErrorList) {
    let list = Path::new("status").child("loadBalancer").child("ingress");
    let balancer = new.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    for (index, found) in balancer.iter().flat_map(|balancer| balancer.ingress.iter().flatten()).enumerate() {
        let path = list.index(index);
        services::way_in(check::text(&found.ip), check::text(&found.hostname), &path, errors);
    }
}

/// Judges an ingress class.
pub(super) fn ingress_class(class: &IngressClass, errors: &mut ErrorList) {
    let path = Path::new("spec");
    let spec = class.spec.clone().unwrap_or_default();
    let controller = check::text(&spec.controller);
    if controller.len() > 250 {
        errors.push(FieldError::too_long(&path.child("controller"), 250));
    }
    check::required_name(errors, &path.child("controller"), controller, names::domain_prefixed_path);
    let Some(parameters) = &spec.parameters else {
        return;
    };
    let path = path.child("parameters");
    typed_reference(check::text(&parameters.api_group), &parameters.kind, &parameters.name, &path, errors);
    let namespace = check::text(&parameters.namespace);
    let namespace_path = path.child("namespace");
    match check::text(&parameters.scope) {
        "Namespace" if namespace.is_empty() => {
            errors.push(FieldError::required(&namespace_path, "`parameters.scope` is set to 'Namespace'"));
        }
        "Namespace" => check::invalid(errors, &namespace_path, namespace, names::dns_label(namespace)),
        "Cluster" => {
            if !namespace.is_empty() {
                errors.push(FieldError::forbidden(&namespace_path, "`parameters.scope` is set to 'Cluster'"));
            }
        }
        scope => check::required_one_of(errors, &path.child("scope"), scope, &["Cluster", "Namespace"]),
    }
}

/// Judges an update of an ingress class.
pub(super) fn ingress_class_update(new: &IngressClass, old: &IngressClass, errors: &mut ErrorList) {
    let controller = |class: &IngressClass| class.spec.as_ref().and_then(|spec| spec.controller.clone());
    check::immutable(errors, &Path::new("spec").child("controller"), &controller(new), &controller(old));
}

/// Judges a new IP address.
pub(super) fn ip_address(address: &IPAddress, errors: &mut ErrorList) {
    let path = Path::new("spec").child("parentRef");
    let Some(parent) = address.spec.as_ref().map(|spec| &spec.parent_ref) else {
        errors.push(FieldError::required(&path, ""));
        return;
    };
    if parent.name.is_empty() && parent.resource.is_empty() && parent.group.is_none() {
        // The type cannot tell an empty reference from none.
        errors.push(FieldError::required(&path, ""));
        return;
    }
    check::optional_name(errors, &path.child("group"), check::text(&parent.group), names::dns_subdomain);
    check::required_name(errors, &path.child("resource"), &parent.resource, names::path_segment);
    check::required_name(errors, &path.child("name"), &parent.name, names::path_segment);
    check::optional_name(errors, &path.child("namespace"), check::text(&parent.namespace), names::path_segment);
}

/// Judges an update of an IP address.
pub(super) fn ip_address_update(new: &IPAddress, old: &IPAddress, errors: &mut ErrorList) {
    let parent = |address: &IPAddress| address.spec.as_ref().map(|spec| spec.parent_ref.clone());
    check::immutable(errors, &Path::new("spec").child("parentRef"), &parent(new), &parent(old));
}

/// Judges a new range of service addresses.
pub(super) fn service_cidr(range: &ServiceCIDR, errors: &mut ErrorList) {
    let path = Path::new("spec").child("cidrs");
    let spec = range.spec.clone().unwrap_or_default();
    let cidrs = spec.cidrs.as_deref().unwrap_or_default();
    let mut refuse = |why: &str| errors.push(FieldError::invalid(&path, check::json(&spec), why));
    match cidrs {
        [] => errors.push(FieldError::required(&path, "at least one CIDR required")),
        [first, second] if !different_families(first, second) => {
            refuse("may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64");
        }
        [_] | [_, _] => {
            for (index, cidr) in cidrs.iter().enumerate() {
                check::invalid(errors, &path.index(index), cidr.as_str(), names::canonical_cidr(cidr));
            }
        }
        _ => refuse("may only hold up to 2 values"),
    }
}

fn different_families(first: &str, second: &str) -> bool {
    match (first.parse::<IpNet>(), second.parse::<IpNet>()) {
        (Ok(first), Ok(second)) => matches!(first, IpNet::V4(_)) != matches!(second, IpNet::V4(_)),
        _ => false,
    }
}

/// Judges an update of a range of service addresses: it may gain a network of its other family.
pub(super) fn service_cidr_update(new: &ServiceCIDR, old: &ServiceCIDR, errors: &mut ErrorList) {
    let path = Path::new("spec").child("cidrs");
    let cidrs = |range: &ServiceCIDR| range.spec.as_ref().and_then(|spec| spec.cidrs.clone()).unwrap_or_default();
    let (now, before) = (cidrs(new), cidrs(old));
    let is_second = before.len() == 1 && now.len() == 2;
    if now.len() != before.len() && !is_second {
        errors.push(FieldError::invalid(&path, now, check::IMMUTABLE));
        return;
    }
    for (index, (new, old)) in now.iter().zip(&before).enumerate() {
        if new != old {
            errors.push(FieldError::invalid(&path.index(index), new.as_str(), check::IMMUTABLE));
        }
    }
    if is_second {
        service_cidr(new, errors);
    }
}

/// Judges a network policy.
pub(super) fn network_policy(policy: &NetworkPolicy, errors: &mut ErrorList) {
    let path = Path::new("spec");
    let spec = policy.spec.clone().unwrap_or_default();
    if let Some(selector) = &spec.pod_selector {
        check::label_selector(errors, &path.child("podSelector"), selector);
    }
    for (index, rule) in spec.ingress.iter().flatten().enumerate() {
        let path = path.child("ingress").index(index);
        policy_ports(rule.ports.as_deref(), &path, errors);
        policy_peers(rule.from.as_deref(), &path.child("from"), errors);
    }
    for (index, rule) in spec.egress.iter().flatten().enumerate() {
        let path = path.child("egress").index(index);
        policy_ports(rule.ports.as_deref(), &path, errors);
        policy_peers(rule.to.as_deref(), &path.child("to"), errors);
    }
    let types = spec.policy_types.as_deref().unwrap_or_default();
    let path = path.child("policyTypes");
    if types.len() > 2 {
        let why = "may not specify more than two policyTypes";
        errors.push(FieldError::invalid(&path, types.to_vec(), why));
        return;
    }
    for (index, kind) in types.iter().enumerate() {
        check::one_of(errors, &path.index(index), kind, &["Egress", "Ingress"]);
    }
}

fn policy_ports(ports: Option<&[NetworkPolicyPort]>, path: &Path, errors: &mut ErrorList) {
    for (index, port) in ports.unwrap_or_default().iter().enumerate() {
        let path = path.child("ports").index(index);
        check::optional_one_of(errors, &path.child("protocol"), &port.protocol, &["SCTP", "TCP", "UDP"]);
        if let Some(number) = &port.port {
            check::port(errors, &path.child("port"), number);
        }
        let Some(end) = port.end_port else {
            continue;
        };
        let (shown, why) = match &port.port {
            None => (end, "may not be specified when `port` is not specified"),
            Some(IntOrString::String(_)) => (end, "may not be specified when `port` is non-numeric"),
            Some(IntOrString::Int(start)) => {
                check::invalid(errors, &path.child("endPort"), end, names::port_number(i64::from(end)));
                if end >= *start {
                    continue;
                }
                // Upstream shows the port here, not its end.
                (*start, "must be greater than or equal to `port`")
            }
        };
        errors.push(FieldError::invalid(&path.child("endPort"), shown, why));
    }
}

fn policy_peers(peers: Option<&[NetworkPolicyPeer]>, path: &Path, errors: &mut ErrorList) {
    for (index, peer) in peers.unwrap_or_default().iter().enumerate() {
        let path = path.index(index);
        let selectors = [("podSelector", &peer.pod_selector), ("namespaceSelector", &peer.namespace_selector)];
        let mut selected = false;
        for (field, selector) in selectors {
            if let Some(selector) = selector {
                selected = true;
                check::label_selector(errors, &path.child(field), selector);
            }
        }
        match &peer.ip_block {
            None if !selected => errors.push(FieldError::required(&path, "must specify a peer")),
            None => {}
            Some(block) => {
                ip_block(block, &path.child("ipBlock"), errors);
                if selected {
                    errors.push(FieldError::forbidden(&path, "may not specify both ipBlock and another peer"));
                }
            }
        }
    }
}

fn ip_block(block: &IPBlock, path: &Path, errors: &mut ErrorList) {
    check::required_name(errors, &path.child("cidr"), &block.cidr, names::cidr);
    let Some(outer) = names::sloppy_cidr(&block.cidr) else {
        return;
    };
    for (index, inner) in block.except.iter().flatten().enumerate() {
        let path = path.child("except").index(index);
        check::invalid(errors, &path, inner.as_str(), names::cidr(inner));
        if let Some(net) = names::sloppy_cidr(inner)
            && !(outer.contains(&net) && outer.prefix_len() < net.prefix_len())
        {
            errors.push(FieldError::invalid(&path, inner.as_str(), "must be a strict subset of `cidr`"));
        }
    }
}
