//! What a Service says about its addresses and ports.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::Value;

use super::Family;

/// The cluster IP of a Service without one.
pub(super) const HEADLESS: &str = "None";

/// A text; nothing where it is left out.
pub(super) fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

/// A list of texts.
pub(super) fn texts(object: &Value, path: &str) -> Vec<String> {
    let list = object.pointer(path).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(|text| Some(text.as_str()?.to_owned())).collect()
}

/// The cluster IPs.
pub(super) fn cluster_ips(object: &Value) -> Vec<String> {
    texts(object, "/spec/clusterIPs")
}

/// The families, as they are written.
pub(super) fn ip_families(object: &Value) -> Vec<String> {
    texts(object, "/spec/ipFamilies")
}

/// The policy, as it is written.
pub(super) fn policy(object: &Value) -> &str {
    text(object, "/spec/ipFamilyPolicy")
}

/// Sets a field of the spec.
pub(super) fn set(object: &mut Value, field: &str, value: impl Into<Value>) {
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        spec.insert(field.to_owned(), value.into());
    }
}

/// Removes a field of the spec.
pub(super) fn unset(object: &mut Value, field: &str) {
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        spec.remove(field);
    }
}

/// The type; the default where it is left out.
pub(super) fn service_type(object: &Value) -> &str {
    match text(object, "/spec/type") {
        "" => "ClusterIP",
        ty => ty,
    }
}

/// Whether it has cluster IPs, be it none of them.
pub(super) fn needs_cluster_ip(object: &Value) -> bool {
    !object.is_null() && service_type(object) != "ExternalName"
}

/// Whether it has no cluster IP on purpose.
pub(super) fn is_headless(object: &Value) -> bool {
    cluster_ips(object).first().is_some_and(|ip| ip == HEADLESS)
}

/// Whether its pods are found by their labels.
pub(super) fn has_selector(object: &Value) -> bool {
    object.pointer("/spec/selector").and_then(Value::as_object).is_some_and(|selector| !selector.is_empty())
}

/// Whether its ports may be open on the nodes.
pub(super) fn needs_node_ports(object: &Value) -> bool {
    matches!(service_type(object), "NodePort" | "LoadBalancer")
}

/// Whether ports that name no node port are given one.
pub(super) fn is_given_node_ports(object: &Value) -> bool {
    match service_type(object) {
        "NodePort" => true,
        "LoadBalancer" => {
            object.pointer("/spec/allocateLoadBalancerNodePorts").and_then(Value::as_bool).unwrap_or(true)
        }
        _ => false,
    }
}

/// Whether load balancers ask nodes for the health of its endpoints.
pub(super) fn needs_health_check_port(object: &Value) -> bool {
    service_type(object) == "LoadBalancer" && text(object, "/spec/externalTrafficPolicy") == "Local"
}

/// Whether it can be reached from outside the cluster.
pub(super) fn is_reachable(object: &Value) -> bool {
    let has_external_ips =
        || object.pointer("/spec/externalIPs").and_then(Value::as_array).is_some_and(|ips| !ips.is_empty());
    needs_node_ports(object) || (service_type(object) == "ClusterIP" && has_external_ips())
}

/// The ports.
pub(super) fn ports(object: &Value) -> &[Value] {
    object.pointer("/spec/ports").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The ports, to be changed.
pub(super) fn ports_mut(object: &mut Value) -> &mut [Value] {
    object.pointer_mut("/spec/ports").and_then(Value::as_array_mut).map(Vec::as_mut_slice).unwrap_or_default()
}

/// The node port of a port, if it has one.
pub(super) fn node_port(port: &Value) -> Option<u16> {
    port.get("nodePort").and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0)
}

/// All node ports.
pub(super) fn node_ports(object: &Value) -> BTreeSet<u16> {
    ports(object).iter().filter_map(node_port).collect()
}

/// The port at which nodes answer load balancers, if it has one.
pub(super) fn health_check_port(object: &Value) -> Option<u16> {
    let port = object.pointer("/spec/healthCheckNodePort").and_then(Value::as_u64)?;
    u16::try_from(port).ok().filter(|port| *port != 0)
}

/// Addresses that a Service has.
pub(super) fn owned_addresses(object: &Value) -> Vec<IpAddr> {
    cluster_ips(object).iter().filter_map(|ip| ip.parse().ok()).collect()
}

/// Ports of nodes that a Service has.
pub(super) fn owned_ports(object: &Value) -> BTreeSet<u16> {
    let mut owned = node_ports(object);
    owned.extend(health_check_port(object).filter(|_| needs_health_check_port(object)));
    owned
}

/// The family of an address as it is written.
pub(super) fn family_of(address: &str) -> Option<Family> {
    Some(Family::of(address.parse().ok()?))
}
