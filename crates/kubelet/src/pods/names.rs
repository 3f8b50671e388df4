//! The labels and annotations by which sandboxes and containers are found again after a restart of the kubelet.

use std::collections::HashMap;
use std::hash::Hasher;

use k8s_openapi::api::core::v1::{Container, Pod};

/// Name of the pod.
pub const POD_NAME: &str = "io.kubernetes.pod.name";
/// Namespace of the pod.
pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
/// UID of the pod.
pub const POD_UID: &str = "io.kubernetes.pod.uid";
/// Name of the container in its pod.
pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";
/// Hash over the parts of a container's definition whose change restarts it.
pub const CONTAINER_HASH: &str = "io.kubernetes.container.hash";
/// How often the container was started again.
pub const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
/// Where the container writes its termination message.
pub const TERMINATION_MESSAGE_PATH: &str = "io.kubernetes.container.terminationMessagePath";
/// Whether the log's end stands in for a missing termination message.
pub const TERMINATION_MESSAGE_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
/// The pod's grace period when the container was created.
pub const GRACE_PERIOD: &str = "io.kubernetes.pod.terminationGracePeriod";

/// The container that figures are about.
pub fn of_stats(stats: &cri::ContainerStats) -> String {
    let attributes = stats.attributes.clone().unwrap_or_default();
    let label = attributes.labels.get(CONTAINER_NAME).cloned();
    label.unwrap_or_else(|| attributes.metadata.unwrap_or_default().name)
}

/// The labels of a pod's sandbox.
pub fn sandbox_labels(pod: &Pod) -> HashMap<String, String> {
    let mut labels: HashMap<String, String> = pod.metadata.labels.clone().unwrap_or_default().into_iter().collect();
    labels.extend(pod_labels(pod));
    labels
}

/// The annotations of a pod's sandbox.
pub fn sandbox_annotations(pod: &Pod) -> HashMap<String, String> {
    pod.metadata.annotations.clone().unwrap_or_default().into_iter().collect()
}

/// The labels of a container.
pub fn container_labels(pod: &Pod, container: &Container) -> HashMap<String, String> {
    let mut labels = pod_labels(pod);
    labels.insert(CONTAINER_NAME.to_owned(), container.name.clone());
    labels
}

/// The annotations of a container's instance with the given restart count.
pub fn container_annotations(pod: &Pod, container: &Container, restart_count: u32) -> HashMap<String, String> {
    let mut annotations = HashMap::from([
        (CONTAINER_HASH.to_owned(), container_hash(container)),
        (RESTART_COUNT.to_owned(), restart_count.to_string()),
        (TERMINATION_MESSAGE_PATH.to_owned(), container.termination_message_path.clone().unwrap_or_default()),
        (TERMINATION_MESSAGE_POLICY.to_owned(), container.termination_message_policy.clone().unwrap_or_default()),
    ]);
    if let Some(grace) = pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds) {
        annotations.insert(GRACE_PERIOD.to_owned(), grace.to_string());
    }
    annotations
}

fn pod_labels(pod: &Pod) -> HashMap<String, String> {
    let metadata = &pod.metadata;
    HashMap::from([
        (POD_NAME.to_owned(), metadata.name.clone().unwrap_or_default()),
        (POD_NAMESPACE.to_owned(), metadata.namespace.clone().unwrap_or_default()),
        (POD_UID.to_owned(), metadata.uid.clone().unwrap_or_default()),
    ])
}

/// A hash over name and image: the two fields whose change in a running pod means another container.
pub fn container_hash(container: &Container) -> String {
    let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
    hasher.write(container.name.as_bytes());
    hasher.write(&[0]);
    hasher.write(container.image.as_deref().unwrap_or_default().as_bytes());
    format!("{:x}", hasher.finish())
}

/// FNV-1a: stable over builds, which the standard library's hasher does not promise.
struct Fnv(u64);

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
