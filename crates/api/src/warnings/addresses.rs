//! Addresses and networks that are not written in their one true form.

use serde_json::Value;

use super::{Found, list, text};
use crate::field::{Path, quote};
use crate::validation::names;

/// An address in a field that takes any way of writing one.
pub(super) fn ip(address: &str, path: &Path, found: &mut Found) {
    let Some(read) = names::sloppy_ip(address) else { return };
    let (shown, canonical) = (quote(address), read.to_canonical());
    match address.parse::<std::net::IpAddr>() {
        Ok(parsed) if parsed == canonical => {
            if parsed.is_ipv6() && parsed.to_string() != address {
                let canonical = quote(&parsed.to_string());
                let why = format!("IPv6 address {shown} should be in RFC 5952 canonical format ({canonical})");
                found.add(path, why);
            }
        }
        _ => {
            let other = quote(&canonical.to_string());
            let why = format!(
                "non-standard IP address {shown} will be considered invalid in a future Kubernetes release: use {other}"
            );
            found.add(path, why);
        }
    }
}

/// A network in such a field.
pub(super) fn cidr(network: &str, path: &Path, found: &mut Found) {
    let Some(read) = names::sloppy_cidr(network) else { return };
    let (shown, canonical) = (quote(network), read.trunc());
    let is_standard = network.parse::<ipnet::IpNet>().is_ok_and(|parsed| parsed == canonical)
        && network.split_once('/').is_some_and(|(_, length)| length == "0" || !length.starts_with('0'));
    let other = quote(&canonical.to_string());
    if !is_standard {
        let why = format!(
            "non-standard CIDR value {shown} will be considered invalid in a future Kubernetes release: use {other}"
        );
        found.add(path, why);
    } else if network.contains(':') && canonical.to_string() != network {
        found.add(path, format_args!("IPv6 CIDR value {shown} should be in RFC 5952 canonical format ({other})"));
    }
}

/// Those that the controller writes are none of anybody's doing.
pub(super) fn endpoints(object: &Value, _: Option<&Value>, found: &mut Found) {
    if text(object, "/metadata/labels/endpoints.kubernetes.io~1managed-by") == "endpoint-controller" {
        return;
    }
    for (index, subset) in list(object, "/subsets").iter().enumerate() {
        for field in ["addresses", "notReadyAddresses"] {
            let list_path = Path::new("subsets").index(index).child(field);
            for (index, address) in list(subset, &format!("/{field}")).iter().enumerate() {
                ip(text(address, "/ip"), &list_path.index(index).child("ip"), found);
            }
        }
    }
}

pub(super) fn endpoint_slice(object: &Value, _: Option<&Value>, found: &mut Found) {
    if text(object, "/metadata/labels/endpointslice.kubernetes.io~1managed-by") == "endpointslice-controller.k8s.io"
        || text(object, "/addressType") == "FQDN"
    {
        return;
    }
    for (index, endpoint) in list(object, "/endpoints").iter().enumerate() {
        let list_path = Path::new("endpoints").index(index).child("addresses");
        for (index, address) in list(endpoint, "/addresses").iter().enumerate() {
            ip(address.as_str().unwrap_or_default(), &list_path.index(index), found);
        }
    }
}

pub(super) fn network_policy(object: &Value, _: Option<&Value>, found: &mut Found) {
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        for (index, rule) in list(object, &format!("/spec/{direction}")).iter().enumerate() {
            let list_path = Path::new("spec").child(direction).index(index).child(peers);
            for (index, peer) in list(rule, &format!("/{peers}")).iter().enumerate() {
                let path = list_path.index(index).child("ipBlock");
                cidr(text(peer, "/ipBlock/cidr"), &path.child("cidr"), found);
                for (index, network) in list(peer, "/ipBlock/except").iter().enumerate() {
                    let path = path.child("except").index(index);
                    cidr(network.as_str().unwrap_or_default(), &path, found);
                }
            }
        }
    }
}
