//! Where the pods behind a service are: the one way in which this server itself reaches services, for extension API
//! servers and for webhooks.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use api::field::quote;
use serde_json::Value;

use crate::cache::{Cache, Object};

/// The label by which an EndpointSlice names its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Why a service cannot be reached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Missing {
    /// There is none.
    #[error("service {} not found", quote(.0))]
    Service(String),
    /// It has no such port.
    #[error("no service port {port} found for service {}", quote(.service))]
    Port { service: String, port: u16 },
    /// Nothing says where its pods are.
    #[error("no endpoints available for service {}", quote(.0))]
    Slices(String),
    /// None of its pods is ready at the port of this name.
    #[error("no endpoints available for service {}", quote(.service))]
    Endpoints { service: String, port: String },
}

/// The addresses of the pods behind a port of a service.
pub(crate) fn of_service(cache: &Cache, namespace: &str, name: &str, port: u16) -> Result<Vec<SocketAddr>, Missing> {
    let slices = api::kinds::find("discovery.k8s.io", "v1", "endpointslices")
        .and_then(|resource| cache.resource(resource))
        .map(|cache| cache.snapshot(0));
    let slices = slices.iter().flat_map(|slices| slices.range(Some(namespace)));
    let slices = slices.filter(|slice| slice.labels.get(SERVICE_NAME).is_some_and(|service| service == name));
    let slices: Vec<Value> = slices.map(|slice| slice.value()).collect();
    let service = service(cache, namespace, name).map(|service| service.value());
    addresses(name, port, service.as_ref(), &slices)
}

/// The host that a service of type `ExternalName` stands for.
pub(crate) fn external_name(cache: &Cache, namespace: &str, name: &str) -> Option<String> {
    let service = service(cache, namespace, name)?.value();
    let is_external = service.pointer("/spec/type").and_then(Value::as_str) == Some("ExternalName");
    service.pointer("/spec/externalName").and_then(Value::as_str).filter(|_| is_external).map(str::to_owned)
}

fn service(cache: &Cache, namespace: &str, name: &str) -> Option<Arc<Object>> {
    cache.resource(api::kinds::find("", "v1", "services")?)?.get(&format!("{namespace}/{name}"))
}

fn addresses(name: &str, port: u16, service: Option<&Value>, slices: &[Value]) -> Result<Vec<SocketAddr>, Missing> {
    let service = service.ok_or_else(|| Missing::Service(name.to_owned()))?;
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let ports = list(&service["spec"]["ports"]);
    let wanted = ports.iter().find(|each| each["port"].as_u64() == Some(u64::from(port)));
    let wanted = wanted.ok_or_else(|| Missing::Port { service: name.to_owned(), port })?;
    let port_name = wanted["name"].as_str().unwrap_or_default();
    if slices.is_empty() {
        return Err(Missing::Slices(name.to_owned()));
    }
    let mut found = Vec::new();
    for slice in slices {
        let ports = list(&slice["ports"]);
        let port = ports.iter().find(|port| port["name"].as_str().unwrap_or_default() == port_name);
        let Some(port) = port.and_then(|port| u16::try_from(port["port"].as_u64()?).ok()) else { continue };
        for endpoint in list(&slice["endpoints"]) {
            // An endpoint that does not say so is ready.
            if endpoint["conditions"]["ready"].as_bool().unwrap_or(true) {
                let addresses = list(&endpoint["addresses"]);
                let ips = addresses.iter().filter_map(|ip| ip.as_str()?.parse::<IpAddr>().ok());
                found.extend(ips.map(|ip| SocketAddr::new(ip, port)));
            }
        }
    }
    if found.is_empty() {
        return Err(Missing::Endpoints { service: name.to_owned(), port: port_name.to_owned() });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service() -> Value {
        json!({"spec": {"ports": [{"name": "https", "port": 443}]}})
    }

    fn slice(ready: Value) -> Value {
        json!({
            "ports": [{"name": "https", "port": 8443}],
            "endpoints": [{"addresses": ["10.42.0.7"], "conditions": {"ready": ready}}],
        })
    }

    #[track_caller]
    fn check(service: Option<Value>, slices: &[Value], expected: Result<&str, Missing>) {
        let found = addresses("example", 443, service.as_ref(), slices);
        let found = found.map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
        assert_eq!(found, expected.map(str::to_owned));
    }

    #[test]
    fn what_is_missing_is_said() {
        let name = || "example".to_owned();
        check(None, &[], Err(Missing::Service(name())));
        let other = json!({"spec": {"ports": [{"port": 80}]}});
        check(Some(other), &[], Err(Missing::Port { service: name(), port: 443 }));
        check(Some(service()), &[], Err(Missing::Slices(name())));
        let missing = Missing::Endpoints { service: name(), port: "https".to_owned() };
        check(Some(service()), &[slice(false.into())], Err(missing));
        check(Some(service()), &[slice(Value::Null)], Ok("10.42.0.7:8443"));
    }
}
