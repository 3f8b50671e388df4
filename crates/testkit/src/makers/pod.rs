//! Pods.

use k8s_openapi::api::core::v1::{
    Container, ContainerPort, ContainerStatus, Pod, PodCondition, PodIP, PodSpec, PodStatus, PodTemplateSpec,
    ResourceRequirements, Toleration,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

use super::{Maker, namespaced, object};

/// Begins a pod without containers, on no node, Pending.
pub fn pod(key: &str) -> Maker<Pod> {
    let maker = object::<Pod>(&namespaced(key));
    maker.with(|pod| {
        pod.spec = Some(PodSpec { restart_policy: Some("Always".to_owned()), ..PodSpec::default() });
        pod.status = Some(PodStatus { phase: Some("Pending".to_owned()), ..PodStatus::default() });
    })
}

/// A pod template of one container `main`, with labels.
pub fn pod_template(labels: &[(&str, &str)], image: &str) -> PodTemplateSpec {
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    PodTemplateSpec {
        metadata: Some(ObjectMeta { labels: Some(labels), ..ObjectMeta::default() }),
        spec: Some(PodSpec { containers: vec![container("main", image)], ..PodSpec::default() }),
    }
}

fn container(name: &str, image: &str) -> Container {
    Container { name: name.to_owned(), image: Some(image.to_owned()), ..Container::default() }
}

impl Maker<Pod> {
    fn spec(mut self, change: impl FnOnce(&mut PodSpec)) -> Self {
        change(self.0.spec.get_or_insert_default());
        self
    }

    fn status(mut self, change: impl FnOnce(&mut PodStatus)) -> Self {
        change(self.0.status.get_or_insert_default());
        self
    }

    /// Binds it to a node.
    #[must_use]
    pub fn node(self, name: &str) -> Self {
        self.spec(|spec| spec.node_name = Some(name.to_owned()))
    }

    /// Adds a container.
    #[must_use]
    pub fn container(self, name: &str, image: &str) -> Self {
        self.spec(|spec| spec.containers.push(container(name, image)))
    }

    /// Adds an init container.
    #[must_use]
    pub fn init_container(self, name: &str, image: &str) -> Self {
        self.spec(|spec| spec.init_containers.get_or_insert_default().push(container(name, image)))
    }

    /// Adds a container `main` with requests, `("cpu", "100m")`.
    #[must_use]
    pub fn requests(self, requests: &[(&str, &str)]) -> Self {
        let requests = requests.iter().map(|(name, value)| ((*name).to_owned(), Quantity((*value).to_owned())));
        let resources = ResourceRequirements { requests: Some(requests.collect()), ..ResourceRequirements::default() };
        self.spec(|spec| {
            spec.containers.push(Container { resources: Some(resources), ..container("main", "image") });
        })
    }

    /// Gives the last container a port; an empty name leaves it unnamed.
    #[must_use]
    pub fn port(self, name: &str, port: i32, protocol: &str) -> Self {
        self.spec(|spec| {
            let container = spec.containers.last_mut().expect("a container was made before its port");
            container.ports.get_or_insert_default().push(ContainerPort {
                name: Some(name.to_owned()).filter(|name| !name.is_empty()),
                container_port: port,
                protocol: Some(protocol.to_owned()),
                ..ContainerPort::default()
            });
        })
    }

    /// Sets the priority.
    #[must_use]
    pub fn priority(self, priority: i32) -> Self {
        self.spec(|spec| spec.priority = Some(priority))
    }

    /// Requires a label of the node.
    #[must_use]
    pub fn node_selector(self, key: &str, value: &str) -> Self {
        self.spec(|spec| {
            spec.node_selector.get_or_insert_default().insert(key.to_owned(), value.to_owned());
        })
    }

    /// Tolerates a taint by key (any value) and effect, for ever or for some seconds.
    #[must_use]
    pub fn toleration(self, key: &str, effect: &str, seconds: Option<i64>) -> Self {
        self.spec(|spec| {
            spec.tolerations.get_or_insert_default().push(Toleration {
                key: Some(key.to_owned()).filter(|key| !key.is_empty()),
                operator: Some("Exists".to_owned()),
                effect: Some(effect.to_owned()).filter(|effect| !effect.is_empty()),
                toleration_seconds: seconds,
                ..Toleration::default()
            });
        })
    }

    /// Sets the restart policy.
    #[must_use]
    pub fn restart_policy(self, policy: &str) -> Self {
        self.spec(|spec| spec.restart_policy = Some(policy.to_owned()))
    }

    /// Sets the phase.
    #[must_use]
    pub fn phase(self, phase: &str) -> Self {
        self.status(|status| status.phase = Some(phase.to_owned()))
    }

    /// Gives it an address.
    #[must_use]
    pub fn ip(self, ip: &str) -> Self {
        self.status(|status| {
            status.pod_ip = Some(ip.to_owned());
            status.pod_ips.get_or_insert_default().push(PodIP { ip: ip.to_owned() });
        })
    }

    /// Running and ready since [`crate::epoch`].
    #[must_use]
    pub fn ready(self) -> Self {
        self.ready_since(0)
    }

    /// Running and ready since some seconds after [`crate::epoch`].
    #[must_use]
    pub fn ready_since(self, seconds: i64) -> Self {
        self.phase("Running").condition("Ready", "True", seconds)
    }

    /// Sets a condition that changed some seconds after [`crate::epoch`].
    #[must_use]
    pub fn condition(self, type_: &str, status: &str, seconds: i64) -> Self {
        let condition = PodCondition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            last_transition_time: Some(Time(crate::at(seconds))),
            ..PodCondition::default()
        };
        self.status(|status| {
            let conditions = status.conditions.get_or_insert_default();
            conditions.retain(|known| known.type_ != condition.type_);
            conditions.push(condition);
        })
    }

    /// Adds the status of a container that was restarted that often.
    #[must_use]
    pub fn restarts(self, container: &str, count: i32) -> Self {
        self.status(|status| {
            status.container_statuses.get_or_insert_default().push(ContainerStatus {
                name: container.to_owned(),
                restart_count: count,
                ..ContainerStatus::default()
            });
        })
    }
}
