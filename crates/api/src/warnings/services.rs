//! Services and ingresses.

use serde_json::Value;

use super::{Found, addresses, entries, list, text};
use crate::field::Path;

const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
const MODE: &str = "service.kubernetes.io/topology-mode";
const INGRESS_CLASS: &str = "kubernetes.io/ingress.class";

pub(super) fn service(object: &Value, _: Option<&Value>, found: &mut Found) {
    if entries(object, "/metadata/annotations").any(|(key, _)| key == HINTS) {
        found.say(format!("annotation {HINTS} is deprecated, please use {MODE} instead"));
    }
    let path = Path::new("spec");
    let kind = text(object, "/spec/type");
    let is_headless = kind == "ClusterIP" && text(object, "/spec/clusterIP") == "None";
    let ips = |field: &str, found: &mut Found| {
        for (index, address) in list(object, &format!("/spec/{field}")).iter().enumerate() {
            let address = address.as_str().unwrap_or_default();
            addresses::ip(address, &path.child(field).index(index), found);
        }
    };
    if !is_headless {
        ips("clusterIPs", found);
    }
    let has_external_ips = !list(object, "/spec/externalIPs").is_empty();
    let load_balancer_ip = text(object, "/spec/loadBalancerIP");
    if is_headless {
        if !load_balancer_ip.is_empty() {
            found.say("spec.loadBalancerIP is ignored for headless services");
        }
        if has_external_ips {
            found.say("spec.externalIPs is ignored for headless services");
        }
        if text(object, "/spec/sessionAffinity") != "None" {
            found.say("spec.SessionAffinity is ignored for headless services");
        }
    }
    ips("externalIPs", found);
    addresses::ip(load_balancer_ip, &path.child("loadBalancerIP"), found);
    for (index, network) in list(object, "/spec/loadBalancerSourceRanges").iter().enumerate() {
        let network = network.as_str().unwrap_or_default().trim();
        addresses::cidr(network, &path.child("loadBalancerSourceRanges").index(index), found);
    }
    if kind == "ExternalName" && has_external_ips {
        found.say("spec.externalIPs is ignored when spec.type is \"ExternalName\"");
    }
    if kind != "ExternalName" && !text(object, "/spec/externalName").is_empty() {
        found.say("spec.externalName is ignored when spec.type is not \"ExternalName\"");
    }
    if text(object, "/spec/trafficDistribution") == "PreferClose" {
        found.say("spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"");
    }
}

pub(super) fn ingress(object: &Value, old: Option<&Value>, found: &mut Found) {
    let is_said = !super::has(object, "/spec/ingressClassName");
    if old.is_none() && is_said && entries(object, "/metadata/annotations").any(|(key, _)| key == INGRESS_CLASS) {
        found.say(format!("annotation \"{INGRESS_CLASS}\" is deprecated, please use 'spec.ingressClassName' instead"));
    }
}
