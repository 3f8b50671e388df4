//! Whether a pod can run on this node: the last check, by what the node itself knows.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::validation::is_extended_resource;
use k8s_openapi::api::core::v1::{Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod};

use super::resize::Pending;
use super::spec;
use crate::context::Context;
use crate::resources::{Amounts, container_amount, pod_requests};

/// Why a pod is refused. The messages are shown to users.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Refusal {
    /// Something is used up.
    #[error("Node didn't have enough resource: {resource}, requested: {requested}, used: {used}, capacity: {capacity}")]
    OutOf {
        /// The resource.
        resource: String,
        /// What the pod asks for.
        requested: i64,
        /// What the other pods have.
        used: i64,
        /// What the node can give.
        capacity: i64,
    },
    /// The pod asks for another node.
    #[error("Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector")]
    NodeAffinity,
    /// A port of the node is taken.
    #[error("Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports")]
    NodePorts,
    /// A sysctl that other pods would feel.
    #[error("forbidden sysctl: \"{0}\" not allowlisted")]
    Sysctl(String),
    /// A sysctl of a namespace that the pod shares with the node.
    #[error("forbidden sysctl: \"{0}\" not allowed with {1} enabled")]
    SysctlOfHost(String, &'static str),
    /// The pod is made for another operating system.
    #[error("Failed to admit pod as the OS field doesn't match node OS")]
    Os,
    /// Something of the node cannot be given to the pod.
    #[error("Allocate failed due to {0}, which is unexpected")]
    Unexpected(String),
}

impl Refusal {
    /// One word, as in `status.reason`.
    pub fn event_reason(&self) -> &'static str {
        match self {
            Self::OutOf { resource, .. } => match resource.as_str() {
                "cpu" => "OutOfcpu",
                "memory" => "OutOfmemory",
                "pods" => "OutOfpods",
                "ephemeral-storage" => "OutOfephemeral-storage",
                _ => "OutOfResource",
            },
            Self::NodeAffinity => "NodeAffinity",
            Self::NodePorts => "NodePorts",
            Self::Sysctl(_) | Self::SysctlOfHost(..) => "SysctlForbidden",
            Self::Os => "PodOSNotSupported",
            Self::Unexpected(_) => "UnexpectedAdmissionError",
        }
    }
}

/// Lets a pod in, or says why not.
pub async fn admit(context: &Context, pod: &Pod) -> Result<(), Refusal> {
    context.devices.admit(pod).await.map_err(|err| Refusal::Unexpected(err.to_string()))?;
    let others: Vec<Arc<Pod>> = others(context, pod)
        .map(|other| context.allocations.allocated(&other))
        // Of two new pods the older one has precedence; what runs already is never displaced.
        .filter(|other| spec::phase(other) == "Running" || is_older(other, pod))
        .collect();
    let node = context.node.lister().get(None, &context.config.node_name);
    let mut allocatable = context.allocatable();
    // Extended resources may also be written into the node's status by hand.
    let shown = node.as_ref().and_then(|node| node.status.as_ref()).and_then(|status| status.allocatable.as_ref());
    for name in shown.into_iter().flat_map(BTreeMap::keys).filter(|name| is_extended_resource(name)) {
        let amount = container_amount(shown, name).unwrap_or(0);
        allocatable.entry(name.clone()).or_insert(amount);
    }
    allocatable.extend(context.devices.allocatable_or_held());
    check(pod, &others, node.as_deref(), &allocatable)
}

/// The other pods of the node that have not come to their end.
fn others(context: &Context, pod: &Pod) -> impl Iterator<Item = Arc<Pod>> {
    let uid = spec::uid(pod).to_owned();
    context.pods.list().into_iter().filter(move |other| spec::uid(other) != uid && !spec::is_terminal(other))
}

/// Whether a pod that runs can have the CPU and memory that it asks for by now. `has` tells what the others have.
pub fn fits(context: &Context, pod: &Pod, has: &dyn Fn(&Arc<Pod>) -> Arc<Pod>) -> Result<(), Pending> {
    let others: Vec<Arc<Pod>> = others(context, pod).map(|other| has(&other)).collect();
    resize_fits(pod, &others, &context.allocatable())
}

fn resize_fits(pod: &Pod, others: &[Arc<Pod>], allocatable: &Amounts) -> Result<(), Pending> {
    let used = used(others);
    let amounts = |requests: Amounts| requests.into_iter().filter(|(name, _)| name == "cpu" || name == "memory");
    for (name, requested) in amounts(pod_requests(pod)) {
        let capacity = allocatable.get(&name).copied().unwrap_or(0);
        if requested > capacity {
            return Err(Pending::Infeasible(format!(
                "Node didn't have enough capacity: {name}, requested: {requested}, capacity: {capacity}"
            )));
        }
    }
    for (resource, requested) in amounts(pod_requests(pod)) {
        let capacity = allocatable.get(&resource).copied().unwrap_or(0);
        let used = used.get(&resource).copied().unwrap_or(0);
        if requested > 0 && requested > capacity - used {
            return Err(Pending::Deferred(Refusal::OutOf { resource, requested, used, capacity }.to_string()));
        }
    }
    Ok(())
}

/// What pods ask for together.
fn used(pods: &[Arc<Pod>]) -> Amounts {
    let mut used = Amounts::new();
    for pod in pods {
        for (name, amount) in pod_requests(pod) {
            *used.entry(name).or_default() += amount;
        }
    }
    used
}

fn is_older(other: &Pod, pod: &Pod) -> bool {
    let key = |pod: &Pod| (pod.metadata.creation_timestamp.as_ref().map(|time| time.0), spec::uid(pod).to_owned());
    key(other) < key(pod)
}

fn check(pod: &Pod, others: &[Arc<Pod>], node: Option<&Node>, allocatable: &Amounts) -> Result<(), Refusal> {
    if spec::spec(pod).os.as_ref().is_some_and(|os| os.name != "linux") {
        return Err(Refusal::Os);
    }
    if let Some(node) = node {
        affinity(pod, node)?;
    }
    sysctls(pod)?;
    let ports = host_ports(pod);
    if others.iter().any(|other| host_ports(other).iter().any(|taken| ports.iter().any(|port| collide(port, taken)))) {
        return Err(Refusal::NodePorts);
    }
    let out_of = |resource: &str, requested, used, capacity| Refusal::OutOf {
        resource: resource.to_owned(),
        requested,
        used,
        capacity,
    };
    let pods = allocatable.get("pods").copied().unwrap_or(i64::MAX);
    let running = i64::try_from(others.len()).unwrap_or(i64::MAX);
    if running >= pods {
        return Err(out_of("pods", 1, running, pods));
    }
    let used = used(others);
    for (name, requested) in pod_requests(pod) {
        // Resources that are the cluster's and not the node's are the scheduler's business.
        if is_extended_resource(&name) && !allocatable.contains_key(&name) {
            continue;
        }
        let capacity = allocatable.get(&name).copied().unwrap_or(0);
        let used = used.get(&name).copied().unwrap_or(0);
        if requested > 0 && requested > capacity - used {
            return Err(out_of(&name, requested, used, capacity));
        }
    }
    Ok(())
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
    if selected && fits { Ok(()) } else { Err(Refusal::NodeAffinity) }
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

/// Sysctls that only the pod itself feels.
const SAFE_SYSCTLS: [&str; 11] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
];

fn sysctls(pod: &Pod) -> Result<(), Refusal> {
    let security = spec::spec(pod).security_context.clone().unwrap_or_default();
    for sysctl in security.sysctls.iter().flatten() {
        let name = sysctl.name.replace('/', ".");
        if !SAFE_SYSCTLS.contains(&name.as_str()) && name != "net.ipv4.tcp_wmem" {
            return Err(Refusal::Sysctl(sysctl.name.clone()));
        }
        if name.starts_with("net.") && spec::host_network(pod) {
            return Err(Refusal::SysctlOfHost(sysctl.name.clone(), "hostNetwork"));
        }
        if name.starts_with("kernel.") && spec::spec(pod).host_ipc == Some(true) {
            return Err(Refusal::SysctlOfHost(sysctl.name.clone(), "hostIPC"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use testkit::pod;

    use super::*;

    fn asking(name: &str, cpu: &str) -> Pod {
        let resources = serde_json::json!({"requests": {"cpu": cpu}});
        let resources = serde_json::from_value(resources).expect("resources");
        let with = |pod: &mut Pod| pod.spec.as_mut().expect("there").containers[0].resources = Some(resources);
        pod(name).container("a", "image").with(with).build()
    }

    #[track_caller]
    fn check_resize(cpu: &str, expected: Result<(), Pending>) {
        let others = [Arc::new(asking("other", "1500m"))];
        let allocatable = Amounts::from([("cpu".to_owned(), 4000), ("memory".to_owned(), 1 << 30)]);
        assert_eq!(resize_fits(&asking("web", cpu), &others, &allocatable), expected);
    }

    #[test]
    fn a_resize_needs_room_beside_the_others() {
        check_resize("2500m", Ok(()));
        let deferred = "Node didn't have enough resource: cpu, requested: 3000, used: 1500, capacity: 4000";
        check_resize("3", Err(Pending::Deferred(deferred.to_owned())));
        let infeasible = "Node didn't have enough capacity: cpu, requested: 5000, capacity: 4000";
        check_resize("5", Err(Pending::Infeasible(infeasible.to_owned())));
    }
}
