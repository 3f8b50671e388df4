//! Cluster IPs of a Service, one of each of its families: which it needs, and where they are written.

use std::net::IpAddr;

use api::field::{FieldError, Path};
use api::status::Status;
use serde_json::Value;

use super::families::prefers_as_before;
use super::fields::{cluster_ips, ip_families, is_headless, needs_cluster_ip, set};
use super::{Family, Refused, invalid};

/// An address that a Service is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Its place among the Service's.
    index: usize,
    /// Its family.
    pub(super) family: Family,
    /// The address itself, where the client has named it.
    pub(super) named: Option<IpAddr>,
}

/// The addresses that `object` needs beyond those of `old`.
pub(super) fn wanted(object: &Value, old: &Value) -> Vec<Wanted> {
    if !needs_cluster_ip(object) || is_headless(object) || prefers_as_before(object, old) {
        return Vec::new();
    }
    let families = ip_families(object);
    let first = match needs_cluster_ip(old) {
        false => 0,
        // All but the way from one family to two leaves the addresses as they are.
        true if !is_headless(old) && ip_families(old).len() == 1 && families.len() == 2 => 1,
        true => return Vec::new(),
    };
    let ips = cluster_ips(object);
    let wanted = families.iter().enumerate().skip(first).filter_map(|(index, family)| {
        let named = ips.get(index).and_then(|ip| ip.parse().ok());
        Some(Wanted { index, family: Family::named(family)?, named })
    });
    wanted.collect()
}

/// Writes an address that was given into its place.
pub(super) fn write(object: &mut Value, wanted: Wanted, given: IpAddr) {
    let mut ips = cluster_ips(object);
    if wanted.named.is_none() {
        ips.resize(ips.len().max(wanted.index + 1), String::new());
        ips[wanted.index] = given.to_string();
    }
    if wanted.index == 0 {
        set(object, "clusterIP", ips[0].as_str());
    }
    set(object, "clusterIPs", ips);
}

/// 422 for an address that the client has named and cannot have.
pub(super) fn refusal(object: &Value, wanted: IpAddr, refused: &Refused) -> Status {
    let why = match refused {
        Refused::Taken | Refused::Full => "provided IP is already allocated",
        Refused::NotInRange => "the provided network does not match the current range",
    };
    let path = Path::new("spec").child("clusterIPs");
    let why = format!("failed to allocate IP {wanted}: {why}");
    invalid(api::meta::name(object), vec![FieldError::invalid(&path, cluster_ips(object), why)])
}
