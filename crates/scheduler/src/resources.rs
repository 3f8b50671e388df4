//! Amounts of what nodes have and pods ask for.

use std::collections::BTreeMap;

use api::quantity::Quantity;
use k8s_openapi::api::core::v1::{Container, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as WireQuantity;

/// What a container without a request for CPU counts for in scores, in thousandths of a core.
const DEFAULT_MILLI_CPU: i64 = 100;
/// What a container without a request for memory counts for in scores, in bytes.
const DEFAULT_MEMORY: i64 = 200 * 1024 * 1024;

/// Amounts by resource. CPU is in thousandths of a core, everything else in whole units (bytes, pieces).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resources {
    pub(crate) milli_cpu: i64,
    pub(crate) memory: i64,
    pub(crate) ephemeral_storage: i64,
    /// How many pods a node takes. Pods ask for none: each counts as one.
    pub(crate) pods: i64,
    /// Extended resources and huge pages.
    pub(crate) scalar: BTreeMap<String, i64>,
}

impl Resources {
    /// Reads a resource list. What is not a quantity counts as zero: the API server let it through, so it cannot be.
    pub(crate) fn of(list: Option<&BTreeMap<String, WireQuantity>>) -> Self {
        let mut resources = Self::default();
        for (name, quantity) in list.into_iter().flatten() {
            let quantity = Quantity::from_k8s(quantity).unwrap_or(Quantity::ZERO);
            *resources.amount_mut(name) = if name == "cpu" { quantity.milli_value() } else { quantity.value() };
        }
        resources
    }

    fn amount_mut(&mut self, name: &str) -> &mut i64 {
        match name {
            "cpu" => &mut self.milli_cpu,
            "memory" => &mut self.memory,
            "ephemeral-storage" => &mut self.ephemeral_storage,
            "pods" => &mut self.pods,
            other => self.scalar.entry(other.to_owned()).or_default(),
        }
    }

    fn merge(&mut self, other: &Self, combine: impl Fn(i64, i64) -> i64) {
        for (own, others) in [
            (&mut self.milli_cpu, other.milli_cpu),
            (&mut self.memory, other.memory),
            (&mut self.ephemeral_storage, other.ephemeral_storage),
            (&mut self.pods, other.pods),
        ] {
            *own = combine(*own, others);
        }
        for (name, amount) in &other.scalar {
            let own = self.scalar.entry(name.clone()).or_default();
            *own = combine(*own, *amount);
        }
    }

    /// Adds `other` to each amount.
    pub(crate) fn add(&mut self, other: &Self) {
        self.merge(other, i64::saturating_add);
    }

    /// Takes `other` from each amount.
    pub(crate) fn subtract(&mut self, other: &Self) {
        self.merge(other, i64::saturating_sub);
    }

    /// Raises each amount to at least that of `other`.
    fn raise_to(&mut self, other: &Self) {
        self.merge(other, i64::max);
    }
}

/// What a pod's scheduling counts: what it asks for, and the same with defaults for what it does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PodRequests {
    /// Decides whether it fits.
    pub(crate) requested: Resources,
    /// Decides how full a node counts when nodes are compared.
    pub(crate) scored: Resources,
}

/// What a pod occupies at its peak: all containers and sidecars together, or a single init container with the
/// sidecars started before it, whichever is more; and the overhead of its runtime class. Requests of the pod as a
/// whole replace those of its containers.
pub(crate) fn pod_requests(spec: &PodSpec) -> PodRequests {
    PodRequests { requested: total(spec, &requests), scored: total(spec, &scored_requests) }
}

fn total(spec: &PodSpec, of: &dyn Fn(&Container) -> Resources) -> Resources {
    let mut running = Resources::default();
    for container in &spec.containers {
        running.add(&of(container));
    }
    let (mut sidecars, mut peak) = (Resources::default(), Resources::default());
    for container in spec.init_containers.iter().flatten() {
        let own = of(container);
        if container.restart_policy.as_deref() == Some("Always") {
            sidecars.add(&own);
            peak.raise_to(&sidecars);
        } else {
            let mut starting = sidecars.clone();
            starting.add(&own);
            peak.raise_to(&starting);
        }
    }
    running.add(&sidecars);
    running.raise_to(&peak);
    let whole_pod = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    let whole_pod_amounts = Resources::of(whole_pod);
    for name in whole_pod.into_iter().flat_map(BTreeMap::keys) {
        let mut stated = whole_pod_amounts.clone();
        *running.amount_mut(name) = *stated.amount_mut(name);
    }
    running.add(&Resources::of(spec.overhead.as_ref()));
    running
}

fn requests(container: &Container) -> Resources {
    Resources::of(container.resources.as_ref().and_then(|resources| resources.requests.as_ref()))
}

fn scored_requests(container: &Container) -> Resources {
    let list = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    let mut resources = Resources::of(list);
    let says = |name: &str| list.is_some_and(|list| list.contains_key(name));
    if !says("cpu") {
        resources.milli_cpu = DEFAULT_MILLI_CPU;
    }
    if !says("memory") {
        resources.memory = DEFAULT_MEMORY;
    }
    resources
}

#[cfg(test)]
mod tests {
    use testkit::pod;

    use super::*;

    const MI: i64 = 1024 * 1024;

    fn container(name: &str, requests: &[(&str, &str)]) -> Container {
        let built = pod("ns/p").container(name, "image").requests(requests).build();
        built.spec.unwrap().containers.pop().unwrap()
    }

    fn sidecar(requests: &[(&str, &str)]) -> Container {
        Container { restart_policy: Some("Always".to_owned()), ..container("sidecar", requests) }
    }

    #[track_caller]
    fn check(init: Vec<Container>, containers: Vec<Container>, milli_cpu: i64, memory: i64) {
        let spec = PodSpec { init_containers: Some(init), containers, ..PodSpec::default() };
        let requested = pod_requests(&spec).requested;
        assert_eq!((requested.milli_cpu, requested.memory), (milli_cpu, memory));
    }

    #[test]
    fn containers_add_up() {
        let containers = vec![container("a", &[("cpu", "100m")]), container("b", &[("cpu", "1"), ("memory", "8Mi")])];
        check(vec![], containers, 1100, 8 * MI);
    }

    #[test]
    fn the_largest_init_container_counts_where_it_is_more() {
        let init = vec![container("x", &[("cpu", "2")]), container("y", &[("memory", "1Mi")])];
        check(init, vec![container("a", &[("cpu", "1"), ("memory", "8Mi")])], 2000, 8 * MI);
    }

    #[test]
    fn sidecars_run_beside_what_comes_after_them() {
        let init = vec![sidecar(&[("cpu", "500m")]), container("x", &[("cpu", "2")])];
        check(init, vec![container("a", &[("cpu", "1")])], 2500, 0);
        check(vec![sidecar(&[("cpu", "500m")])], vec![container("a", &[("cpu", "1")])], 1500, 0);
    }

    #[test]
    fn silence_counts_in_scores_alone() {
        let requests = pod_requests(&PodSpec { containers: vec![container("a", &[])], ..PodSpec::default() });
        assert_eq!((requests.requested.milli_cpu, requests.scored.milli_cpu), (0, DEFAULT_MILLI_CPU));
        assert_eq!((requests.requested.memory, requests.scored.memory), (0, DEFAULT_MEMORY));
    }
}
