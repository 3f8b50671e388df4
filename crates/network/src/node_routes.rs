//! Component: keeps the routes to other nodes' pods in step with the cluster's Nodes.

use std::net::IpAddr;
use std::sync::Arc;

use base::Drain;
use client::{Controller, ControllerError, Informers};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;

use crate::{NodeRoute, PodNetwork, RouteError, SetPodCidrsError};

/// The component's only key: any change of a Node may change the set of routes.
const ROUTES: &str = "routes";

/// What the component is made of.
#[derive(Clone, Debug)]
pub struct NodeRoutesConfig {
    /// The name of this node, to which no route leads.
    pub node_name: String,
    /// Where the routes go.
    pub network: PodNetwork,
    /// Whether the network learns its own pod CIDRs here too: the built-in runtime hears them over CRI, any other keeps
    /// what it hears to itself.
    pub sets_pod_cidrs: bool,
}

/// The kernel could not be made to match the Nodes.
#[derive(Debug, thiserror::Error)]
enum SyncError {
    #[error(transparent)]
    PodCidrs(#[from] SetPodCidrsError),
    #[error(transparent)]
    Routes(#[from] RouteError),
}

/// Follows Nodes and keeps a route to each other node's pod CIDRs through its internal address.
pub struct NodeRoutes {
    config: NodeRoutesConfig,
    informers: Informers,
}

impl NodeRoutes {
    /// A component that reads Nodes from `informers`.
    pub fn build(config: NodeRoutesConfig, informers: &Informers) -> Self {
        Self { config, informers: informers.clone() }
    }

    /// Runs until the drain signal. The routes stay.
    pub async fn run(self, drain: Drain) -> Result<(), ControllerError> {
        let nodes = self.informers.of::<Node>();
        let lister = nodes.lister();
        let NodeRoutesConfig { node_name, network, sets_pod_cidrs } = self.config;
        Controller::new("node-routes", self.informers.env().clone())
            .watch(&nodes, |event, queue| {
                // Heartbeats change the status of every node every few minutes, but no route.
                if event.old().is_none_or(|old| routes_to(old) != routes_to(event.object())) {
                    queue.add(ROUTES);
                }
            })
            .run(drain, move |_| {
                let nodes = lister.list();
                let routes = wanted(&nodes, &node_name);
                let own = nodes.iter().find(|node| node.metadata.name.as_deref() == Some(node_name.as_str()));
                let pod_cidrs = own.filter(|_| sets_pod_cidrs).map(|own| pod_cidrs_of(own)).unwrap_or_default();
                let network = network.clone();
                async move {
                    if !pod_cidrs.is_empty() {
                        network.set_pod_cidrs(pod_cidrs).await?;
                    }
                    network.sync_routes(routes).await?;
                    Ok::<_, SyncError>(None)
                }
            })
            .await
    }
}

/// The routes of a node, in the same order for the same nodes.
fn wanted(nodes: &[Arc<Node>], own_name: &str) -> Vec<NodeRoute> {
    let others = nodes.iter().filter(|node| node.metadata.name.as_deref() != Some(own_name));
    let mut routes: Vec<NodeRoute> = others.flat_map(|node| routes_to(node)).collect();
    routes.sort();
    routes
}

/// Each of a node's pod CIDRs, through its internal address of the same family.
fn routes_to(node: &Node) -> Vec<NodeRoute> {
    let addresses = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
    let internal: Vec<IpAddr> = addresses
        .filter(|address| address.type_ == "InternalIP")
        .filter_map(|address| address.address.parse().ok())
        .collect();
    let through = |cidr: IpNet| {
        let node_ip = *internal.iter().find(|ip| ip.is_ipv4() == cidr.addr().is_ipv4())?;
        Some(NodeRoute { pod_cidr: cidr, node_ip })
    };
    pod_cidrs_of(node).into_iter().filter_map(through).collect()
}

fn pod_cidrs_of(node: &Node) -> Vec<IpNet> {
    let spec = node.spec.as_ref();
    let many = spec.and_then(|spec| spec.pod_cidrs.clone()).filter(|cidrs| !cidrs.is_empty());
    let cidrs = many.unwrap_or_else(|| spec.and_then(|spec| spec.pod_cidr.clone()).into_iter().collect());
    cidrs.iter().filter_map(|cidr| cidr.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(name: &str, pod_cidr: Option<&str>, ip: &str) -> Arc<Node> {
        let document = json!({
            "metadata": {"name": name},
            "spec": {"podCIDR": pod_cidr, "podCIDRs": pod_cidr.into_iter().collect::<Vec<_>>()},
            "status": {"addresses": [
                {"type": "Hostname", "address": name},
                {"type": "ExternalIP", "address": "203.0.113.9"},
                {"type": "InternalIP", "address": ip},
            ]},
        });
        Arc::new(serde_json::from_value(document).expect("a node"))
    }

    #[test]
    fn every_other_node_with_a_pod_cidr_has_a_route() {
        let nodes = [
            node("c", Some("10.42.2.0/24"), "192.0.2.12"),
            node("a", Some("10.42.0.0/24"), "192.0.2.10"),
            node("b", Some("10.42.1.0/24"), "192.0.2.11"),
            node("new", None, "192.0.2.13"),
            node("six", Some("fd00:1::/64"), "192.0.2.14"),
        ];
        let routes = wanted(&nodes, "a");
        let text: Vec<_> = routes.iter().map(|route| format!("{} via {}", route.pod_cidr, route.node_ip)).collect();
        assert_eq!(text, ["10.42.1.0/24 via 192.0.2.11", "10.42.2.0/24 via 192.0.2.12"]);
    }
}
