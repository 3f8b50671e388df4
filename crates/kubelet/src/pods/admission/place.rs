//! Whether this is the node that the pod wants, with its ports of the node free.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod};

use super::Refusal;
use crate::pods::spec;

/// The rule for what the pod selects nodes by.
pub const AFFINITY: &str = "NodeAffinity";
const NOT_SELECTED: Refusal = Refusal::Predicate(AFFINITY, "node(s) didn't match Pod's node affinity/selector");
const OTHER_NAME: Refusal = Refusal::Predicate("NodeName", "node(s) didn't match the requested node name");
const TAKEN: Refusal = Refusal::Predicate("NodePorts", "node(s) didn't have free ports for the requested pod ports");

/// Whether the pod is meant for the node, and has room for its ports there.
pub fn check(pod: &Pod, others: &[Arc<Pod>], node: Option<&Node>) -> Result<(), Refusal> {
    if let Some(node) = node {
        affinity(pod, node)?;
        let wanted = spec::spec(pod).node_name.as_deref().unwrap_or_default();
        if !wanted.is_empty() && node.metadata.name.as_deref() != Some(wanted) {
            return Err(OTHER_NAME);
        }
    }
    ports(pod, others)
}

/// Whether no other pod has a port of the node that the pod wants.
fn ports(pod: &Pod, others: &[Arc<Pod>]) -> Result<(), Refusal> {
    let ports = host_ports(pod);
    let taken = |other: &Arc<Pod>| host_ports(other).iter().any(|taken| ports.iter().any(|port| collide(port, taken)));
    if others.iter().any(taken) { Err(TAKEN) } else { Ok(()) }
}

type HostPort = (String, String, i32);

fn host_ports(pod: &Pod) -> Vec<HostPort> {
    let all = spec::init_containers(pod).iter().filter(|c| spec::is_sidecar(c)).chain(spec::containers(pod));
    let ports = all.flat_map(|container| container.ports.iter().flatten());
    ports
        .filter_map(|port| {
            let number = port.host_port.filter(|port| *port > 0)?;
            let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
            let ip = port.host_ip.clone().filter(|ip| !ip.is_empty()).unwrap_or_else(|| "0.0.0.0".to_owned());
            Some((ip, protocol, number))
        })
        .collect()
}

fn collide(a: &HostPort, b: &HostPort) -> bool {
    let any = |ip: &str| ip == "0.0.0.0" || ip == "::";
    a.1 == b.1 && a.2 == b.2 && (a.0 == b.0 || any(&a.0) || any(&b.0))
}

/// Whether the node has what the pod selects nodes by.
fn affinity(pod: &Pod, node: &Node) -> Result<(), Refusal> {
    let empty = BTreeMap::new();
    let labels = node.metadata.labels.as_ref().unwrap_or(&empty);
    let pod_spec = spec::spec(pod);
    let selected = pod_spec.node_selector.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    let required = pod_spec
        .affinity
        .as_ref()
        .and_then(|affinity| affinity.node_affinity.as_ref())
        .and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    let fits = required.is_none_or(|required| matches_node(required, node));
    if selected && fits { Ok(()) } else { Err(NOT_SELECTED) }
}

/// Whether a node is one of those that are selected.
pub fn matches_node(selector: &NodeSelector, node: &Node) -> bool {
    let empty = BTreeMap::new();
    let labels = node.metadata.labels.as_ref().unwrap_or(&empty);
    let name = node.metadata.name.as_deref().unwrap_or_default();
    selector.node_selector_terms.iter().any(|term| term_fits(term, labels, name))
}

fn term_fits(term: &NodeSelectorTerm, labels: &BTreeMap<String, String>, node_name: &str) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let by_label = |one: &NodeSelectorRequirement| requirement_fits(one, labels.get(&one.key).map(String::as_str));
    // A term that asks for nothing fits nothing.
    !(expressions.is_empty() && fields.is_empty())
        && expressions.iter().all(by_label)
        && fields.iter().all(|one| one.key == "metadata.name" && requirement_fits(one, Some(node_name)))
}

fn requirement_fits(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = value.is_some_and(|value| values.iter().any(|one| one == value));
    let number = |text: &str| text.parse::<i64>().ok();
    let bound = values.first().and_then(|text| number(text));
    match requirement.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => value.and_then(number).zip(bound).is_some_and(|(value, bound)| value > bound),
        "Lt" => value.and_then(number).zip(bound).is_some_and(|(value, bound)| value < bound),
        _ => false,
    }
}
