//! The variables that tell a container where services are.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, Service};

use crate::pods::spec;

/// The variables of the API server's service, and of those in the pod's namespace if the pod wants links.
pub fn variables(pod: &Pod, services: &[Arc<Service>]) -> BTreeMap<String, String> {
    let links = spec::spec(pod).enable_service_links.unwrap_or(true);
    let mut variables = BTreeMap::new();
    // The API server's service first: one of the same name in the pod's namespace takes its place.
    let master = |service: &Service| namespace(service) == "default" && name(service) == "kubernetes";
    for service in services.iter().filter(|service| master(service)) {
        add(service, &mut variables);
    }
    for service in services.iter().filter(|service| links && namespace(service) == spec::namespace(pod)) {
        add(service, &mut variables);
    }
    variables
}

fn name(service: &Service) -> &str {
    service.metadata.name.as_deref().unwrap_or_default()
}

fn namespace(service: &Service) -> &str {
    service.metadata.namespace.as_deref().unwrap_or_default()
}

fn add(service: &Service, variables: &mut BTreeMap<String, String>) {
    let Some(spec) = &service.spec else { return };
    let Some(ip) = spec.cluster_ip.as_deref().filter(|ip| !ip.is_empty() && *ip != "None") else { return };
    let Some(first) = spec.ports.as_ref().and_then(|ports| ports.first()) else { return };
    let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
    let prefix = name(service).to_uppercase().replace('-', "_");
    let mut set = |suffix: String, value: String| variables.insert(format!("{prefix}_{suffix}"), value);
    set("SERVICE_HOST".to_owned(), ip.to_owned());
    set("SERVICE_PORT".to_owned(), first.port.to_string());
    for port in spec.ports.iter().flatten() {
        if let Some(name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            set(format!("SERVICE_PORT_{}", name.to_uppercase().replace('-', "_")), port.port.to_string());
        }
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        let url = format!("{}://{host}:{}", protocol.to_lowercase(), port.port);
        if port == first {
            set("PORT".to_owned(), url.clone());
        }
        let of_port = format!("PORT_{}_{}", port.port, protocol.to_uppercase());
        set(of_port.clone(), url);
        set(format!("{of_port}_PROTO"), protocol.to_lowercase());
        set(format!("{of_port}_PORT"), port.port.to_string());
        set(format!("{of_port}_ADDR"), ip.to_owned());
    }
}
