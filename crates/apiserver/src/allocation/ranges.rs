//! ServiceCIDRs: the networks that cluster IPs are of.
//!
//! The one that is called `kubernetes` holds the networks that this server is configured with; others may be added.

use std::net::IpAddr;

use api::status::Status;
use ipnet::IpNet;
use serde_json::{Value, json};

use crate::access::Identity;
use crate::bootstrap::create;
use crate::registry::{Caller, Part, Registry, Scope, Writer};

/// The name of the configured networks.
const DEFAULT: &str = "kubernetes";

/// Who writes the status: upstream's part of the server that keeps this object.
const WRITER: Writer<'static> = Writer { manager: "kubernetes-service-cidr-controller", subresource: "status" };

/// The resource.
pub(super) fn scope() -> Result<Scope<'static>, Status> {
    let resource = api::kinds::find("networking.k8s.io", "v1", "servicecidrs").ok_or_else(Status::no_such_resource)?;
    Ok(Scope { resource, namespace: None })
}

/// The networks that addresses may be taken from now. Those of the configuration count while no object says otherwise.
pub(super) fn usable(registry: &Registry) -> Result<Vec<IpNet>, Status> {
    let snapshot = registry.resource_cache(scope()?.resource)?.snapshot(0);
    let (mut networks, mut has_default) = (Vec::new(), false);
    for range in snapshot.range(None) {
        has_default |= range.name() == DEFAULT;
        let range = range.value();
        if !api::meta::is_deleting(&range) && is_ready(&range) != Some(false) {
            networks.extend(cidrs(&range));
        }
    }
    if !has_default {
        networks.extend(registry.config.service_cluster_ip_range.iter());
    }
    Ok(networks)
}

/// Whether an address of a network may be a Service's: all but those that mean the network itself.
pub(super) fn has(network: &IpNet, address: IpAddr) -> bool {
    network.contains(&address)
        && address != network.network()
        && (network.addr().is_ipv6() || address != network.broadcast())
}

fn cidrs(range: &Value) -> Vec<IpNet> {
    let cidrs = range.pointer("/spec/cidrs").and_then(Value::as_array);
    cidrs.into_iter().flatten().filter_map(|cidr| cidr.as_str()?.parse().ok()).collect()
}

/// What the range's condition says, if it has one.
fn is_ready(range: &Value) -> Option<bool> {
    let conditions = range.pointer("/status/conditions").and_then(Value::as_array);
    let ready = conditions.into_iter().flatten().find(|condition| condition["type"] == "Ready")?;
    Some(ready["status"] == "True")
}

/// Makes the object of the configured networks, adds a second family to it, and says that it is ready. Networks that
/// differ otherwise are left alone: addresses of Services are of them.
pub(crate) async fn keep(registry: &Registry) -> Result<(), Status> {
    let scope = scope()?;
    let configured: Vec<IpNet> = registry.config.service_cluster_ip_range.iter().collect();
    if registry.cached(scope.resource, DEFAULT).is_none() {
        let object = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": DEFAULT},
            "spec": {"cidrs": configured},
        });
        create(registry, scope, object).await?;
        registry.fresh().await?;
    }
    let Some(current) = registry.cached(scope.resource, DEFAULT) else { return Ok(()) };
    let current = current.value();
    if api::meta::is_deleting(&current) {
        return Ok(());
    }
    let networks = cidrs(&current);
    let identity = Identity::server();
    if networks != configured {
        if networks.len() != 1 || configured.first() != networks.first() {
            tracing::warn!(?networks, ?configured, "the default ServiceCIDR has other networks than are configured");
            return Ok(());
        }
        let change = |current: &Value| {
            let mut changed = current.clone();
            changed["spec"]["cidrs"] = json!(configured);
            Ok(changed)
        };
        registry.update(scope, DEFAULT, Part::Main, Caller::server(&identity), &change).await?;
    }
    if is_ready(&current).is_some() {
        return Ok(());
    }
    let now = api::meta::format_time(registry.env.now());
    let change = |current: &Value| {
        let mut changed = current.clone();
        changed["status"]["conditions"] = json!([{
            "type": "Ready", "status": "True", "reason": "", "message": "Kubernetes default Service CIDR is ready",
            "lastTransitionTime": now,
        }]);
        Ok(changed)
    };
    let caller = Caller { subresource: "status", writer: Some(WRITER), ..Caller::of(&identity) };
    registry.update(scope, DEFAULT, Part::Status, caller, &change).await.map(drop)
}
