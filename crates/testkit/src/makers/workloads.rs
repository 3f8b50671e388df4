//! Deployments and replica sets.

use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentSpec, DeploymentStatus, DeploymentStrategy, ReplicaSet, ReplicaSetSpec, ReplicaSetStatus,
    RollingUpdateDeployment,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Maker, namespaced, object, pod_template};

fn selector(app: &str) -> LabelSelector {
    LabelSelector { match_labels: Some([("app".to_owned(), app.to_owned())].into()), ..LabelSelector::default() }
}

/// Begins a deployment of one replica that selects `app=<name>` and runs `image`, with rolling updates of 25 %.
pub fn deployment(key: &str) -> Maker<Deployment> {
    let maker = object::<Deployment>(&namespaced(key));
    let name = maker.0.metadata.name.clone().unwrap_or_default();
    maker
        .label("app", &name)
        .with(|deployment| {
            deployment.spec = Some(DeploymentSpec {
                replicas: Some(1),
                selector: selector(&name),
                template: pod_template(&[("app", &name)], "image"),
                revision_history_limit: Some(10),
                progress_deadline_seconds: Some(600),
                ..DeploymentSpec::default()
            });
            deployment.status = Some(DeploymentStatus::default());
        })
        .rolling_update(IntOrString::String("25%".to_owned()), IntOrString::String("25%".to_owned()))
}

impl Maker<Deployment> {
    fn spec(mut self, change: impl FnOnce(&mut DeploymentSpec)) -> Self {
        change(self.0.spec.get_or_insert_default());
        self
    }

    /// Sets the number of replicas.
    #[must_use]
    pub fn replicas(self, replicas: i32) -> Self {
        self.spec(|spec| spec.replicas = Some(replicas))
    }

    /// Sets the image of the template.
    #[must_use]
    pub fn image(self, image: &str) -> Self {
        self.spec(|spec| {
            for container in spec.template.spec.iter_mut().flat_map(|pod| &mut pod.containers) {
                container.image = Some(image.to_owned());
            }
        })
    }

    /// Rolls updates out with these limits.
    #[must_use]
    pub fn rolling_update(self, max_surge: IntOrString, max_unavailable: IntOrString) -> Self {
        self.spec(|spec| {
            spec.strategy = Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge: Some(max_surge),
                    max_unavailable: Some(max_unavailable),
                }),
            });
        })
    }

    /// Stops all old pods before new ones start.
    #[must_use]
    pub fn recreate(self) -> Self {
        self.spec(|spec| {
            spec.strategy = Some(DeploymentStrategy { type_: Some("Recreate".to_owned()), rolling_update: None });
        })
    }

    /// Pauses it.
    #[must_use]
    pub fn paused(self) -> Self {
        self.spec(|spec| spec.paused = Some(true))
    }
}

/// Begins a replica set of one replica that selects `app=<name>` and runs `image`.
pub fn replica_set(key: &str) -> Maker<ReplicaSet> {
    let maker = object::<ReplicaSet>(&namespaced(key));
    let name = maker.0.metadata.name.clone().unwrap_or_default();
    maker.with(|replica_set| {
        replica_set.spec = Some(ReplicaSetSpec {
            replicas: Some(1),
            selector: selector(&name),
            template: Some(pod_template(&[("app", &name)], "image")),
            ..ReplicaSetSpec::default()
        });
        replica_set.status = Some(ReplicaSetStatus::default());
    })
}

impl Maker<ReplicaSet> {
    /// Sets the number of wanted replicas.
    #[must_use]
    pub fn replicas(mut self, replicas: i32) -> Self {
        self.0.spec.get_or_insert_default().replicas = Some(replicas);
        self
    }

    /// Sets the pod template.
    #[must_use]
    pub fn template(mut self, template: k8s_openapi::api::core::v1::PodTemplateSpec) -> Self {
        self.0.spec.get_or_insert_default().template = Some(template);
        self
    }

    /// Sets how many replicas there are, are ready, and are available.
    #[must_use]
    pub fn observed(mut self, replicas: i32, ready: i32, available: i32) -> Self {
        let status = self.0.status.get_or_insert_default();
        status.replicas = replicas;
        status.ready_replicas = Some(ready);
        status.available_replicas = Some(available);
        self
    }
}
