//! The pods that the node is to run: those that the API binds to it, and those that its own manifests ask for.

use std::sync::Arc;

use client::{Informer, ObjectKey};
use k8s_openapi::api::core::v1::Pod;

use super::spec;
use crate::static_pods::{StaticPods, is_mirror, is_mirror_of};

/// The pods of the node. Mirror pods are none of them: they show static pods, which are.
#[derive(Clone)]
pub struct NodePods {
    api: Informer<Pod>,
    static_pods: StaticPods,
}

impl NodePods {
    /// The pods of an informer, and static ones.
    pub fn new(api: Informer<Pod>, static_pods: StaticPods) -> Self {
        Self { api, static_pods }
    }

    /// The pods that the API binds to the node, mirror pods included.
    pub fn api(&self) -> &Informer<Pod> {
        &self.api
    }

    /// All pods.
    pub fn list(&self) -> Vec<Arc<Pod>> {
        let mut pods = self.api.lister().list();
        pods.retain(|pod| !is_mirror(pod));
        pods.extend(self.static_pods.running().into_iter().map(|pod| self.with_status(pod)));
        pods
    }

    /// How many mirror pods there are.
    pub fn mirrors(&self) -> usize {
        self.api.lister().list().iter().filter(|pod| is_mirror(pod)).count()
    }

    /// The pod of that name.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        let key = ObjectKey::namespaced(namespace, name);
        match self.static_pods.get(&key) {
            Some(pod) => Some(self.with_status(pod)),
            None => self.api.lister().get_key(&key).filter(|pod| !is_mirror(pod)),
        }
    }

    /// A static pod with the status that its mirror shows. One that the node has ended begins anew with the next
    /// kubelet: its manifest is still there.
    pub fn with_status(&self, pod: Arc<Pod>) -> Arc<Pod> {
        let mirror = self.api.lister().get_key(&ObjectKey::of(&*pod)).filter(|mirror| is_mirror_of(mirror, &pod));
        match mirror.filter(|mirror| !is_ended_by_node(mirror)) {
            Some(mirror) => Arc::new(Pod { status: mirror.status.clone(), ..(*pod).clone() }),
            None => pod,
        }
    }
}

/// Whether a pod has failed for a reason that is not its own.
fn is_ended_by_node(pod: &Pod) -> bool {
    let reason = pod.status.as_ref().and_then(|status| status.reason.as_deref());
    spec::phase(pod) == "Failed" && reason.is_some_and(|reason| reason != "DeadlineExceeded")
}
