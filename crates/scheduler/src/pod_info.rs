//! A pod as scheduling sees it, computed once for each version of the object.

use std::sync::Arc;

use client::{ObjectKey, objects};
use k8s_openapi::api::core::v1::{Pod, Toleration};

use crate::dynamic_resources::{Decision, Plan};
use crate::placement::Placement;
use crate::resources::{PodRequests, pod_requests};

/// The name of the only profile.
pub(crate) const SCHEDULER_NAME: &str = "default-scheduler";

/// A port of the node that a pod occupies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostPort {
    pub(crate) protocol: String,
    /// Empty for all addresses.
    pub(crate) ip: String,
    pub(crate) port: i32,
}

impl HostPort {
    /// Whether both cannot be taken on one node.
    pub(crate) fn conflicts(&self, other: &Self) -> bool {
        let everywhere = |ip: &str| ip.is_empty() || ip == "0.0.0.0" || ip == "::";
        self.port == other.port
            && self.protocol == other.protocol
            && (everywhere(&self.ip) || everywhere(&other.ip) || self.ip == other.ip)
    }
}

/// What plugins read of a pod.
#[derive(Debug)]
pub(crate) struct PodInfo {
    pub(crate) pod: Arc<Pod>,
    pub(crate) key: ObjectKey,
    pub(crate) uid: String,
    pub(crate) priority: i32,
    pub(crate) requests: PodRequests,
    pub(crate) placement: Placement,
    pub(crate) tolerations: Vec<Toleration>,
    pub(crate) host_ports: Vec<HostPort>,
    pub(crate) images: Vec<String>,
    /// What it needs of devices in this cycle, or why that cannot be had anywhere; `None` where it has no claims.
    pub(crate) devices: Option<Result<Plan, String>>,
}

impl PodInfo {
    /// Reads a pod.
    pub(crate) fn new(pod: Arc<Pod>) -> Self {
        let spec = pod.spec.clone().unwrap_or_default();
        let containers = || spec.init_containers.iter().flatten().chain(&spec.containers);
        let host_ports = containers().flat_map(|container| container.ports.iter().flatten()).filter_map(|port| {
            let number = port.host_port.filter(|number| *number > 0)?;
            let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
            Some(HostPort { protocol, ip: port.host_ip.clone().unwrap_or_default(), port: number })
        });
        Self {
            key: ObjectKey::of(&*pod),
            uid: objects::uid(&*pod).to_owned(),
            priority: spec.priority.unwrap_or(0),
            requests: pod_requests(&spec),
            placement: Placement::of(&spec),
            tolerations: spec.tolerations.clone().unwrap_or_default(),
            host_ports: host_ports.collect(),
            images: containers().filter_map(|container| container.image.clone()).collect(),
            devices: None,
            pod,
        }
    }

    /// The same pod with what it needs of devices.
    pub(crate) fn with_devices(&self, devices: Result<Plan, String>) -> Self {
        Self { devices: Some(devices), ..Self::new(self.pod.clone()) }
    }

    /// What is to be written into its claims when it goes to a node.
    pub(crate) fn decisions(&self, node: &str) -> Vec<Decision> {
        match &self.devices {
            Some(Ok(plan)) => plan.decide(node),
            _ => Vec::new(),
        }
    }

    /// The node that the pod's author demands by name, or that it is bound to.
    pub(crate) fn node_name(&self) -> Option<&str> {
        node_name(&self.pod)
    }

    /// Whether a taint keeps this pod away.
    pub(crate) fn tolerates(&self, key: &str, value: &str, effect: &str) -> bool {
        self.tolerations.iter().any(|toleration| tolerates(toleration, key, value, effect))
    }
}

/// The node that a pod is bound to.
pub(crate) fn node_name(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|name| !name.is_empty())
}

/// Whether a pod has ended for good and occupies nothing any more.
pub(crate) fn is_terminal(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Whether this scheduler is to find a node for a pod.
pub(crate) fn is_ours(pod: &Pod) -> bool {
    let scheduler = pod.spec.as_ref().and_then(|spec| spec.scheduler_name.as_deref());
    node_name(pod).is_none()
        && !is_terminal(pod)
        && !objects::is_deleting(pod)
        && scheduler.is_none_or(|name| name == SCHEDULER_NAME)
}

/// Whether a pod waits for somebody to lift its scheduling gates.
pub(crate) fn is_gated(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.scheduling_gates.as_ref()).is_some_and(|gates| !gates.is_empty())
}

fn tolerates(toleration: &Toleration, key: &str, value: &str, effect: &str) -> bool {
    let matches_effect = toleration.effect.as_deref().is_none_or(|own| own.is_empty() || own == effect);
    let own_key = toleration.key.as_deref().unwrap_or_default();
    let matches_key = own_key.is_empty() || own_key == key;
    let exists = toleration.operator.as_deref() == Some("Exists");
    let matches_value = exists || (!own_key.is_empty() && toleration.value.as_deref().unwrap_or_default() == value);
    matches_effect && matches_key && matches_value
}

#[cfg(test)]
mod tests {
    use testkit::pod;

    use super::*;

    #[track_caller]
    fn check_tolerates(toleration: (&str, &str, &str, &str), expected: bool) {
        let (key, operator, value, effect) = toleration;
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let (key, operator, value, effect) = (text(key), text(operator), text(value), text(effect));
        let toleration = Toleration { key, operator, value, effect, toleration_seconds: None };
        assert_eq!(tolerates(&toleration, "dedicated", "db", "NoSchedule"), expected, "{toleration:?}");
    }

    #[test]
    fn tolerations_match_key_value_and_effect() {
        check_tolerates(("dedicated", "", "db", "NoSchedule"), true);
        check_tolerates(("dedicated", "Equal", "web", ""), false);
        check_tolerates(("dedicated", "Exists", "", ""), true);
        check_tolerates(("", "Exists", "", ""), true);
        check_tolerates(("dedicated", "Exists", "", "NoExecute"), false);
        check_tolerates(("other", "Exists", "", ""), false);
    }

    #[test]
    fn only_waiting_pods_of_this_scheduler_are_ours() {
        assert!(is_ours(&pod("ns/a").build()));
        assert!(!is_ours(&pod("ns/a").node("n1").build()));
        assert!(!is_ours(&pod("ns/a").phase("Failed").build()));
        assert!(!is_ours(&pod("ns/a").deleting(1).build()));
        let other = pod("ns/a").with(|pod| pod.spec.get_or_insert_default().scheduler_name = Some("mine".to_owned()));
        assert!(!is_ours(&other.build()));
    }

    #[test]
    fn host_ports_conflict_on_shared_addresses() {
        let port = |ip: &str, port| HostPort { protocol: "TCP".to_owned(), ip: ip.to_owned(), port };
        assert!(port("", 80).conflicts(&port("10.0.0.1", 80)));
        assert!(!port("10.0.0.2", 80).conflicts(&port("10.0.0.1", 80)));
        assert!(!port("", 81).conflicts(&port("", 80)));
    }
}
