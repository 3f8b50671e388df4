//! Where pods, services and nodes are.

use std::net::{IpAddr, SocketAddr};

use api::status::Status;
use serde_json::Value;

use super::dial::Security;
use crate::pipeline::Core;
use crate::registry::{ReadVersion, Scope};

/// The port of kubelets that do not report one.
const KUBELET_PORT: u16 = 10250;

/// The port of a pod, without one named, by whether TLS is spoken.
const HTTP_PORTS: [u16; 2] = [80, 443];

/// A name as `proxy` takes it: `name`, `name:port` or `scheme:name:port`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reference<'a> {
    is_https: bool,
    name: &'a str,
    port: &'a str,
}

/// Somewhere to connect to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) address: SocketAddr,
    pub(super) security: Security,
}

impl<'a> Reference<'a> {
    /// Takes a name apart; `what` says of what it is.
    pub(super) fn parse(text: &'a str, what: &str) -> Result<Self, Status> {
        let invalid = || Status::bad_request(format!("invalid {what} request {}", api::field::quote(text)));
        let parts: Vec<&str> = text.split(':').collect();
        let (scheme, name, port) = match parts.as_slice() {
            [name] => ("", *name, ""),
            [name, port] => ("", *name, *port),
            [scheme, name, port] => (*scheme, *name, *port),
            _ => return Err(invalid()),
        };
        if name.is_empty() || !matches!(scheme, "" | "http" | "https") {
            return Err(invalid());
        }
        Ok(Self { is_https: scheme == "https", name, port })
    }

    fn security(&self) -> Security {
        if self.is_https { Security::Tls } else { Security::Plain }
    }

    fn at(&self, ip: &str, port: Option<u16>) -> Result<Location, Status> {
        let ip = proxyable(ip)?;
        let port = match (port, self.port) {
            (Some(port), _) => port,
            (None, "") => HTTP_PORTS[usize::from(self.is_https)],
            (None, port) => port.parse().map_err(|_| {
                let quoted = api::field::quote(port);
                Status::service_unavailable(format!(
                    "error trying to reach service: dial tcp: lookup tcp/{quoted}: unknown port"
                ))
            })?,
        };
        Ok(Location { address: SocketAddr::new(ip, port), security: self.security() })
    }
}

/// An address that clients may be led to: none of this machine's own.
fn proxyable(ip: &str) -> Result<IpAddr, Status> {
    let refused = || Status::bad_request("address not allowed");
    let ip: IpAddr = ip.parse().map_err(|_| refused())?;
    let is_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    if is_local || ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() { Err(refused()) } else { Ok(ip) }
}

/// An object that must be there.
pub(super) async fn object(core: &Core, plural: &str, namespace: Option<&str>, name: &str) -> Result<Value, Status> {
    let resource = api::kinds::find("", "v1", plural).ok_or_else(Status::no_such_resource)?;
    let scope = Scope { resource, namespace };
    Ok(core.registry.get(scope, name, ReadVersion::Latest).await?.value())
}

/// A port of a pod: the one that is named, or its first.
pub(super) async fn pod(core: &Core, namespace: Option<&str>, reference: &Reference<'_>) -> Result<Location, Status> {
    let pod = object(core, "pods", namespace, reference.name).await?;
    let ip = pod.pointer("/status/podIP").and_then(Value::as_str).unwrap_or_default();
    let mut containers = pod.pointer("/spec/containers").and_then(Value::as_array).into_iter().flatten();
    let first = containers.find_map(|container| container.pointer("/ports/0/containerPort")?.as_u64());
    let first = first.and_then(|port| u16::try_from(port).ok()).filter(|_| reference.port.is_empty());
    reference.at(ip, first)
}

/// A port of one of the pods behind a service.
pub(super) async fn service(
    core: &Core,
    namespace: Option<&str>,
    reference: &Reference<'_>,
) -> Result<Location, Status> {
    let name = reference.name;
    let none =
        || Status::service_unavailable(format!("no endpoints available for service {}", api::field::quote(name)));
    let port = match reference.port.parse::<u64>() {
        Err(_) => reference.port.to_owned(),
        Ok(number) => port_name(&object(core, "services", namespace, name).await?, number)?,
    };
    let endpoints = object(core, "endpoints", namespace, name).await?;
    let mut candidates = addresses(&endpoints, &port);
    let random = core.registry.env.random();
    while !candidates.is_empty() {
        let index = usize::try_from(random.below(candidates.len() as u64)).unwrap_or(0);
        let (address, port) = candidates.swap_remove(index);
        if is_a_pods(core, address) {
            return reference.at(address["ip"].as_str().unwrap_or_default(), Some(port));
        }
    }
    Err(none())
}

fn port_name(service: &Value, number: u64) -> Result<String, Status> {
    let mut ports = service.pointer("/spec/ports").and_then(Value::as_array).into_iter().flatten();
    let port = ports.find(|port| port["port"].as_u64() == Some(number)).ok_or_else(|| {
        let name = api::field::quote(api::meta::name(service));
        Status::service_unavailable(format!("no service port {number} found for service {name}"))
    })?;
    Ok(port["name"].as_str().unwrap_or_default().to_owned())
}

/// The ready addresses that have a port of this name, with its number.
fn addresses<'a>(endpoints: &'a Value, port: &str) -> Vec<(&'a Value, u16)> {
    let list = |value: &'a Value| value.as_array().into_iter().flatten();
    let mut found = Vec::new();
    for subset in list(&endpoints["subsets"]) {
        let named = list(&subset["ports"]).find(|each| each["name"].as_str().unwrap_or_default() == port);
        let number = named.and_then(|port| u16::try_from(port["port"].as_u64()?).ok());
        if let Some(number) = number {
            found.extend(list(&subset["addresses"]).map(|address| (address, number)));
        }
    }
    found
}

/// Whether the address is of the pod that it says it is of: anything else could be written into endpoints.
fn is_a_pods(core: &Core, address: &Value) -> bool {
    let reference = &address["targetRef"];
    if reference["kind"] != "Pod" {
        return false;
    }
    let (namespace, name) = (reference["namespace"].as_str(), reference["name"].as_str().unwrap_or_default());
    let Some(pod) = core.registry.cached_by("", "v1", "pods", namespace, name) else { return false };
    let pod = pod.value();
    let mut ips = pod.pointer("/status/podIPs").and_then(Value::as_array).into_iter().flatten();
    pod["status"]["podIP"] == address["ip"] || ips.any(|ip| ip["ip"] == address["ip"])
}

/// A node's kubelet, or another port of the node.
pub(super) fn node(core: &Core, reference: &Reference<'_>) -> Result<Location, Status> {
    let address = kubelet(core, reference.name)?;
    if reference.port.is_empty() || reference.port == address.port().to_string() {
        return Ok(Location { address, security: Security::Kubelet { insecure: false } });
    }
    reference.at(&address.ip().to_string(), None)
}

/// Where a node's kubelet listens, from its status.
pub(super) fn kubelet(core: &Core, node: &str) -> Result<SocketAddr, Status> {
    let found = core.registry.cached_by("", "v1", "nodes", None, node);
    let node = found.ok_or_else(|| Status::not_found("", "nodes", node))?.value();
    let addresses = node.pointer("/status/addresses").and_then(Value::as_array).cloned().unwrap_or_default();
    let of_type = |wanted: &str| {
        addresses.iter().find(|a| a["type"] == wanted).and_then(|a| a["address"].as_str()?.parse::<IpAddr>().ok())
    };
    let address = of_type("InternalIP").or_else(|| of_type("ExternalIP"));
    let address = address
        .ok_or_else(|| Status::unclassified(format!("no preferred addresses found; known addresses: {addresses:?}")))?;
    let port = node.pointer("/status/daemonEndpoints/kubeletEndpoint/Port").and_then(Value::as_u64);
    let port = port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0).unwrap_or(KUBELET_PORT);
    Ok(SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<(bool, &str, &str), &str>) {
        let parsed = Reference::parse(text, "service").map(|r| (r.is_https, r.name, r.port));
        assert_eq!(parsed.map_err(|status| status.message.clone()), expected.map_err(str::to_owned), "{text}");
    }

    #[test]
    fn names_may_carry_scheme_and_port() {
        check("web", Ok((false, "web", "")));
        check("web:http", Ok((false, "web", "http")));
        check("https:web:443", Ok((true, "web", "443")));
        check(":web:", Ok((false, "web", "")));
        check("ftp:web:21", Err("invalid service request \"ftp:web:21\""));
        check("a:b:c:d", Err("invalid service request \"a:b:c:d\""));
        check("https::443", Err("invalid service request \"https::443\""));
    }

    #[test]
    fn the_machines_own_addresses_are_out_of_reach() {
        for ip in ["", "x", "127.0.0.1", "169.254.169.254", "0.0.0.0", "224.0.0.1", "::1", "fe80::1", "ff02::1"] {
            assert_eq!(proxyable(ip).map_err(|status| status.code), Err(400), "{ip}");
        }
        assert!(proxyable("10.42.0.5").is_ok() && proxyable("fd00::5").is_ok());
    }
}
