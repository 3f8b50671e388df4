//! Nodes.

use k8s_openapi::api::core::v1::{Node, NodeAddress, NodeCondition, NodeSpec, NodeStatus, Taint};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Maker, object};

/// Begins a node without conditions, with its host name as a label.
pub fn node(name: &str) -> Maker<Node> {
    object::<Node>(name).label("kubernetes.io/hostname", name).with(|node| {
        node.spec = Some(NodeSpec::default());
        node.status = Some(NodeStatus::default());
    })
}

impl Maker<Node> {
    fn spec(mut self, change: impl FnOnce(&mut NodeSpec)) -> Self {
        change(self.0.spec.get_or_insert_default());
        self
    }

    fn status(mut self, change: impl FnOnce(&mut NodeStatus)) -> Self {
        change(self.0.status.get_or_insert_default());
        self
    }

    /// Ready since [`crate::epoch`].
    #[must_use]
    pub fn ready(self) -> Self {
        self.condition("Ready", "True", 0)
    }

    /// Sets a condition that changed and was reported some seconds after [`crate::epoch`].
    #[must_use]
    pub fn condition(self, type_: &str, status: &str, seconds: i64) -> Self {
        let time = Some(Time(crate::at(seconds)));
        let condition = NodeCondition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            last_heartbeat_time: time.clone(),
            last_transition_time: time,
            ..NodeCondition::default()
        };
        self.status(|status| {
            let conditions = status.conditions.get_or_insert_default();
            conditions.retain(|known| known.type_ != condition.type_);
            conditions.push(condition);
        })
    }

    /// Capacity and allocatable, `("cpu", "4")`; pods default to 110 where left out.
    #[must_use]
    pub fn capacity(self, resources: &[(&str, &str)]) -> Self {
        let all = [("pods", "110")].iter().chain(resources);
        let all: std::collections::BTreeMap<_, _> =
            all.map(|(name, value)| ((*name).to_owned(), Quantity((*value).to_owned()))).collect();
        self.status(|status| {
            status.capacity = Some(all.clone());
            status.allocatable = Some(all);
        })
    }

    /// Adds a taint with an empty value.
    #[must_use]
    pub fn taint(self, key: &str, effect: &str) -> Self {
        self.spec(|spec| {
            spec.taints.get_or_insert_default().push(Taint {
                key: key.to_owned(),
                effect: effect.to_owned(),
                ..Taint::default()
            });
        })
    }

    /// Closes it for new pods.
    #[must_use]
    pub fn unschedulable(self) -> Self {
        self.spec(|spec| spec.unschedulable = Some(true))
    }

    /// Sets the addresses of its pods.
    #[must_use]
    pub fn pod_cidr(self, cidr: &str) -> Self {
        self.spec(|spec| {
            spec.pod_cidr = Some(cidr.to_owned());
            spec.pod_cidrs = Some(vec![cidr.to_owned()]);
        })
    }

    /// Adds its internal address.
    #[must_use]
    pub fn internal_ip(self, ip: &str) -> Self {
        self.status(|status| {
            status
                .addresses
                .get_or_insert_default()
                .push(NodeAddress { type_: "InternalIP".to_owned(), address: ip.to_owned() });
        })
    }
}
