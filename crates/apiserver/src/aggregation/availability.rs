//! Whether an extension API server can be reached, and where: what its Service and its endpoints say.

use std::net::{IpAddr, SocketAddr};

use serde_json::Value;

use super::api_service::{ApiService, Availability};

/// Where the server may be reached, or why it cannot.
pub(super) fn endpoints(
    api: &ApiService,
    service: Option<&Value>,
    slices: &[Value],
) -> Result<Vec<SocketAddr>, Availability> {
    let at = format!("service/{} in {:?}", api.service, api.namespace);
    let no = |reason, message| Err(Availability { is_available: false, reason, message });
    let Some(service) = service else { return no("ServiceNotFound", format!("{at} is not present")) };
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let ports = list(&service["spec"]["ports"]);
    let Some(port) = ports.iter().find(|port| port["port"].as_u64() == Some(u64::from(api.port))) else {
        return no("ServicePortError", format!("{at} is not listening on port {}", api.port));
    };
    let name = port["name"].as_str().unwrap_or_default();
    if slices.is_empty() {
        return no("EndpointsNotFound", format!("cannot find endpointslices for {at}"));
    }
    let mut found = Vec::new();
    for slice in slices {
        let ports = list(&slice["ports"]);
        let port = ports.iter().find(|port| port["name"].as_str().unwrap_or_default() == name);
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
        let message = format!("endpointslices for {at} have no addresses with port name {name:?}");
        return no("MissingEndpoints", message);
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
    fn check(service: Option<Value>, slices: &[Value], expected: Result<&str, (&str, &str)>) {
        let object = json!({
            "metadata": {"name": "v1.example.com"},
            "spec": {"group": "example.com", "version": "v1", "service": {"namespace": "apis", "name": "example"}},
        });
        let api = ApiService::parse(&object).expect("it has a service");
        let found = endpoints(&api, service.as_ref(), slices);
        let found = found.map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
        let found = found.map_err(|no| (no.reason, no.message));
        assert_eq!(found, expected.map(str::to_owned).map_err(|(reason, message)| (reason, message.to_owned())));
    }

    #[test]
    fn what_is_missing_is_said() {
        check(None, &[], Err(("ServiceNotFound", "service/example in \"apis\" is not present")));
        let other = json!({"spec": {"ports": [{"port": 80}]}});
        let why = "service/example in \"apis\" is not listening on port 443";
        check(Some(other), &[], Err(("ServicePortError", why)));
        let why = "cannot find endpointslices for service/example in \"apis\"";
        check(Some(service()), &[], Err(("EndpointsNotFound", why)));
        let why = "endpointslices for service/example in \"apis\" have no addresses with port name \"https\"";
        check(Some(service()), &[slice(false.into())], Err(("MissingEndpoints", why)));
        check(Some(service()), &[slice(Value::Null)], Ok("10.42.0.7:8443"));
    }
}
