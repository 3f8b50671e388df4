//! Services, apart from the addresses and ports that are allocated.

use serde_json::Value;

use super::Object;
use super::edit::{child, each, is_empty, is_unset, made, set, text};

pub(super) fn service(object: &mut Object) {
    let spec = made(object, "spec");
    set(spec, "sessionAffinity", "None");
    match text(spec, "sessionAffinity") {
        "ClientIP" => {
            let affinity = made(made(spec, "sessionAffinityConfig"), "clientIP");
            set(affinity, "timeoutSeconds", 10800);
        }
        _ => {
            spec.remove("sessionAffinityConfig");
        }
    }
    set(spec, "type", "ClusterIP");
    for port in each(spec, "ports") {
        set(port, "protocol", "TCP");
        let unset = is_unset(port, "targetPort") || port.get("targetPort").and_then(Value::as_i64) == Some(0);
        if let Some(number) = port.get("port").cloned().filter(|_| unset) {
            port.insert("targetPort".to_owned(), number);
        }
    }
    let service_type = text(spec, "type").to_owned();
    let outside = matches!(service_type.as_str(), "NodePort" | "LoadBalancer");
    if outside || (service_type == "ClusterIP" && !is_empty(spec, "externalIPs")) {
        set(spec, "externalTrafficPolicy", "Cluster");
    }
    if outside || service_type == "ClusterIP" {
        set(spec, "internalTrafficPolicy", "Cluster");
    }
    if service_type == "LoadBalancer" {
        set(spec, "allocateLoadBalancerNodePorts", true);
        let balancer = child(object, "status").and_then(|status| child(status, "loadBalancer"));
        for ingress in balancer.into_iter().flat_map(|balancer| each(balancer, "ingress")) {
            if !is_unset(ingress, "ip") {
                set(ingress, "ipMode", "VIP");
            }
        }
    }
}
