//! What a changed Service keeps of what it was given, and what its new type cannot have.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::fields::{
    cluster_ips, health_check_port, ip_families, is_reachable, needs_cluster_ip, needs_health_check_port,
    needs_node_ports, node_port, node_ports, policy, ports, ports_mut, service_type, set, text, unset,
};
use crate::strategy::copy_at;

/// Brings what a client sent in line with what it may have meant.
pub(super) fn over(object: &mut Value, old: &Value) {
    if old.is_null() {
        if !text(object, "/spec/clusterIP").is_empty() && cluster_ips(object).is_empty() {
            follow_cluster_ip(object);
        }
        return;
    }
    keep_given(object, old);
    drop_what_the_type_lacks(object, old);
    // Clients that know only `clusterIP` set only that.
    if text(object, "/spec/clusterIP") != text(old, "/spec/clusterIP") && cluster_ips(object) == cluster_ips(old) {
        follow_cluster_ip(object);
    }
}

fn follow_cluster_ip(object: &mut Value) {
    match text(object, "/spec/clusterIP").to_owned() {
        address if address.is_empty() => unset(object, "clusterIPs"),
        address => set(object, "clusterIPs", json!([address])),
    }
}

/// A client that leaves out what it was given keeps it.
fn keep_given(object: &mut Value, old: &Value) {
    if needs_cluster_ip(object) && needs_cluster_ip(old) {
        if text(object, "/spec/clusterIP").is_empty() {
            copy_at(object, old, &["spec", "clusterIP"]);
        }
        if cluster_ips(object).is_empty() {
            copy_at(object, old, &["spec", "clusterIPs"]);
        }
    }
    if needs_node_ports(object) && needs_node_ports(old) {
        let (now, before) = (node_ports(object), node_ports(old));
        // By name: anything else of a port may have changed.
        let name = |port: &Value| port.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        let given: HashMap<String, Option<u16>> = ports(old).iter().map(|port| (name(port), node_port(port))).collect();
        for port in ports_mut(object).iter_mut().filter(|port| node_port(port).is_none()) {
            let before_by_name = given.get(&name(port)).copied().flatten();
            if let Some(kept) = before_by_name.filter(|kept| !(now.contains(kept) && before.contains(kept))) {
                port["nodePort"] = kept.into();
            }
        }
    }
    if needs_health_check_port(object) && needs_health_check_port(old) && health_check_port(object).is_none() {
        copy_at(object, old, &["spec", "healthCheckNodePort"]);
    }
}

/// A client that only changes the type does not mean to keep what the new type cannot have.
fn drop_what_the_type_lacks(object: &mut Value, old: &Value) {
    let is_balanced = |service: &Value| service_type(service) == "LoadBalancer";
    let ends = |has: fn(&Value) -> bool| has(old) && !has(object);
    let same = |field: &str| object["spec"].get(field) == old["spec"].get(field);
    let mut dropped = Vec::new();
    if ends(needs_cluster_ip) {
        if cluster_ips(object) == cluster_ips(old) {
            dropped.extend(["clusterIP", "clusterIPs"]);
        }
        if ip_families(object) == ip_families(old) {
            dropped.push("ipFamilies");
        }
        if policy(object) == policy(old) {
            dropped.push("ipFamilyPolicy");
        }
    }
    if ends(needs_health_check_port) && health_check_port(object) == health_check_port(old) {
        dropped.push("healthCheckNodePort");
    }
    if is_balanced(old) && !is_balanced(object) {
        dropped.extend(["allocateLoadBalancerNodePorts", "loadBalancerClass"].into_iter().filter(|field| same(field)));
    }
    if ends(is_reachable) && same("externalTrafficPolicy") {
        dropped.push("externalTrafficPolicy");
    }
    // Who names a node port that was not there means it.
    let drops_ports = ends(needs_node_ports) && node_ports(object).is_subset(&node_ports(old));
    dropped.into_iter().for_each(|field| unset(object, field));
    if drops_ports {
        for port in ports_mut(object).iter_mut().filter_map(Value::as_object_mut) {
            port.remove("nodePort");
        }
    }
    if !is_balanced(object) && object.pointer("/status/loadBalancer").is_some() {
        object["status"]["loadBalancer"] = json!({});
    }
}
