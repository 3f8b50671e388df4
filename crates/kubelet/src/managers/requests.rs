//! What containers ask for that managers give to them for themselves.

use k8s_openapi::api::core::v1::{Container, Pod};

use crate::pods::spec;
use crate::resources::{self, Amounts, QosClass};

/// Whether a pod is one whose containers get something for themselves: it is Guaranteed, and its containers say
/// themselves what they ask for rather than the pod for all of them.
pub fn is_exclusive(pod: &Pod) -> bool {
    let of_pod = spec::spec(pod).resources.as_ref();
    let says = of_pod.is_some_and(|own| own.requests.iter().chain(&own.limits).any(|list| !list.is_empty()));
    !says && resources::qos_class(pod) == QosClass::Guaranteed
}

/// What a container asks for.
pub fn requests(container: &Container) -> Amounts {
    let requirements = container.resources.clone().unwrap_or_default();
    let mut amounts = resources::amounts(requirements.limits.as_ref());
    amounts.extend(resources::amounts(requirements.requests.as_ref()));
    amounts
}

/// What a pod needs at the same time of something of which each container needs `of`: sidecars run beside all that
/// comes after them, other init containers only beside the sidecars before them.
pub fn peak(pod: &Pod, of: impl Fn(&Container) -> u64) -> u64 {
    let (mut sidecars, mut init) = (0, 0);
    for container in spec::init_containers(pod) {
        let own = of(container);
        if spec::is_sidecar(container) {
            sidecars += own;
        } else {
            init = init.max(sidecars + own);
        }
    }
    let regular: u64 = spec::containers(pod).iter().map(of).sum();
    init.max(sidecars + regular)
}

/// Whether what a container has is free again when the containers after it start.
pub fn is_reusable(pod: &Pod, container: &Container) -> bool {
    let init = spec::init_containers(pod).iter().find(|init| init.name == container.name);
    init.is_some_and(|init| !spec::is_sidecar(init))
}

/// Whether any container of a pod asks for another amount of a resource.
pub fn differ(before: &Pod, after: &Pod, resource: &str) -> bool {
    let amounts = |pod: &Pod| -> Vec<Option<i64>> {
        let all = spec::init_containers(pod).iter().chain(spec::containers(pod));
        all.map(|container| requests(container).get(resource).copied()).collect()
    };
    amounts(before) != amounts(after)
}
