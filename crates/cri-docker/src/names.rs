//! What containers are called in Docker: as `cri-dockerd` and `dockershim` called them, which people and tools know.

use cri::{ContainerMetadata, PodSandboxMetadata};

/// What all names begin with.
const PREFIX: &str = "k8s";

/// What stands in place of a container's name in that of a sandbox.
const SANDBOX: &str = "POD";

/// The name of a sandbox.
pub(crate) fn sandbox(pod: &PodSandboxMetadata) -> String {
    let (name, namespace, uid) = (&pod.name, &pod.namespace, &pod.uid);
    format!("{PREFIX}_{SANDBOX}_{name}_{namespace}_{uid}_{}", pod.attempt)
}

/// The name of a container.
pub(crate) fn container(container: &ContainerMetadata, pod: &PodSandboxMetadata) -> String {
    let (name, namespace, uid) = (&pod.name, &pod.namespace, &pod.uid);
    format!("{PREFIX}_{}_{name}_{namespace}_{uid}_{}", container.name, container.attempt)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_people_know() {
        let [name, namespace, uid] = ["web", "default", "u-1"].map(str::to_owned);
        let pod = PodSandboxMetadata { name, namespace, uid, attempt: 2 };
        assert_eq!(sandbox(&pod), "k8s_POD_web_default_u-1_2");
        let main = ContainerMetadata { name: "main".to_owned(), attempt: 3 };
        assert_eq!(container(&main, &pod), "k8s_main_web_default_u-1_3");
    }
}
