//! Services and their endpoints.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Maker, namespaced, object};

/// Begins a ClusterIP service without address, ports or selector.
pub fn service(key: &str) -> Maker<Service> {
    object::<Service>(&namespaced(key)).with(|service| {
        service.spec = Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            ip_families: Some(vec!["IPv4".to_owned()]),
            ..ServiceSpec::default()
        });
    })
}

impl Maker<Service> {
    fn spec(mut self, change: impl FnOnce(&mut ServiceSpec)) -> Self {
        change(self.0.spec.get_or_insert_default());
        self
    }

    /// Selects pods by a label.
    #[must_use]
    pub fn selector(self, key: &str, value: &str) -> Self {
        self.spec(|spec| {
            spec.selector.get_or_insert_default().insert(key.to_owned(), value.to_owned());
        })
    }

    /// Sets the type.
    #[must_use]
    pub fn service_type(self, type_: &str) -> Self {
        self.spec(|spec| spec.type_ = Some(type_.to_owned()))
    }

    /// Sets the cluster address; `None` as text makes it headless.
    #[must_use]
    pub fn cluster_ip(self, ip: &str) -> Self {
        self.spec(|spec| {
            spec.cluster_ip = Some(ip.to_owned());
            spec.cluster_ips = Some(vec![ip.to_owned()]);
        })
    }

    /// Adds a TCP port to a numbered target port; an empty name leaves it unnamed.
    #[must_use]
    pub fn port(self, name: &str, port: i32, target: i32) -> Self {
        self.target(name, port, IntOrString::Int(target))
    }

    /// Adds a TCP port to a named target port.
    #[must_use]
    pub fn named_port(self, name: &str, port: i32, target: &str) -> Self {
        self.target(name, port, IntOrString::String(target.to_owned()))
    }

    fn target(self, name: &str, port: i32, target: IntOrString) -> Self {
        self.spec(|spec| {
            spec.ports.get_or_insert_default().push(ServicePort {
                name: Some(name.to_owned()).filter(|name| !name.is_empty()),
                port,
                protocol: Some("TCP".to_owned()),
                target_port: Some(target),
                ..ServicePort::default()
            });
        })
    }

    /// Sets the node port of the last port.
    #[must_use]
    pub fn node_port(self, node_port: i32) -> Self {
        self.spec(|spec| {
            let port = spec.ports.iter_mut().flatten().last().expect("a port was made before its node port");
            port.node_port = Some(node_port);
        })
    }
}

/// Begins an IPv4 endpoint slice of a service in the same namespace.
pub fn endpoint_slice(key: &str, service: &str) -> Maker<EndpointSlice> {
    object::<EndpointSlice>(&namespaced(key))
        .label("kubernetes.io/service-name", service)
        .label("endpointslice.kubernetes.io/managed-by", "endpointslice-controller.k8s.io")
        .with(|slice| slice.address_type = "IPv4".to_owned())
}

impl Maker<EndpointSlice> {
    /// Adds a TCP port; an empty name stays an empty name, as the controller writes it.
    #[must_use]
    pub fn port(mut self, name: &str, port: i32) -> Self {
        self.0.ports.get_or_insert_default().push(EndpointPort {
            name: Some(name.to_owned()),
            port: Some(port),
            protocol: Some("TCP".to_owned()),
            ..EndpointPort::default()
        });
        self
    }

    /// Adds a ready endpoint.
    #[must_use]
    pub fn endpoint(self, address: &str) -> Self {
        self.endpoint_with(address, |_| {})
    }

    /// Adds a ready endpoint and changes it.
    #[must_use]
    pub fn endpoint_with(mut self, address: &str, change: impl FnOnce(&mut Endpoint)) -> Self {
        let conditions = EndpointConditions { ready: Some(true), serving: Some(true), terminating: Some(false) };
        let mut endpoint =
            Endpoint { addresses: vec![address.to_owned()], conditions: Some(conditions), ..Endpoint::default() };
        change(&mut endpoint);
        self.0.endpoints.push(endpoint);
        self
    }
}
