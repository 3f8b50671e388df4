//! Sums of requests and limits, and the class of service that follows from them.

use std::collections::BTreeMap;

use api::quantity::Quantity;
use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;

use crate::pods::spec;

/// Amounts by resource: CPU in thousandths, everything else in whole units.
pub type Amounts = BTreeMap<String, i64>;

/// How a pod stands when its node runs short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QosClass {
    /// Every container has limits for CPU and memory, and asks for as much.
    Guaranteed,
    /// Something is asked for.
    Burstable,
    /// Nothing is asked for.
    BestEffort,
}

impl QosClass {
    /// As in `status.qosClass`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        }
    }

    /// From `status.qosClass`.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Guaranteed, Self::Burstable, Self::BestEffort].into_iter().find(|class| class.as_str() == text)
    }
}

fn amount(resource: &str, quantity: &ApiQuantity) -> i64 {
    // The API server admits valid quantities only; what cannot be read asks for nothing.
    let Ok(quantity) = Quantity::parse(&quantity.0) else { return 0 };
    if resource == "cpu" { quantity.milli_value() } else { quantity.value() }
}

/// The amounts in a list of an object.
pub fn amounts(list: Option<&BTreeMap<String, ApiQuantity>>) -> Amounts {
    list.into_iter().flatten().map(|(name, quantity)| (name.clone(), amount(name, quantity))).collect()
}

/// What a container's requirements say of one resource, if anything: CPU in thousandths.
pub fn container_amount(list: Option<&BTreeMap<String, ApiQuantity>>, resource: &str) -> Option<i64> {
    list?.get(resource).map(|quantity| amount(resource, quantity))
}

fn add(into: &mut Amounts, from: &Amounts) {
    for (name, amount) in from {
        *into.entry(name.clone()).or_default() += amount;
    }
}

fn raise(into: &mut Amounts, from: &Amounts) {
    for (name, amount) in from {
        let entry = into.entry(name.clone()).or_default();
        *entry = (*entry).max(*amount);
    }
}

type List<'a> = Option<&'a BTreeMap<String, ApiQuantity>>;

fn requested(requirements: &ResourceRequirements) -> List<'_> {
    requirements.requests.as_ref()
}

fn limited(requirements: &ResourceRequirements) -> List<'_> {
    requirements.limits.as_ref()
}

/// What the containers have together, or what the pod says for itself.
fn total(pod: &Pod, of: fn(&ResourceRequirements) -> List<'_>) -> Amounts {
    let mut sum = of_containers(pod, of);
    sum.extend(amounts(spec::spec(pod).resources.as_ref().and_then(of)));
    sum
}

fn of_containers(pod: &Pod, of: fn(&ResourceRequirements) -> List<'_>) -> Amounts {
    let own = |container: &Container| amounts(container.resources.as_ref().and_then(of));
    let mut sum = Amounts::new();
    for container in spec::containers(pod) {
        add(&mut sum, &own(container));
    }
    // A sidecar runs beside everything after it; an ordinary init container beside the sidecars before it.
    let (mut sidecars, mut peak) = (Amounts::new(), Amounts::new());
    for container in spec::init_containers(pod) {
        let mut here = own(container);
        if spec::is_sidecar(container) {
            add(&mut sidecars, &here);
            add(&mut sum, &here);
            here = sidecars.clone();
        } else {
            add(&mut here, &sidecars);
        }
        raise(&mut peak, &here);
    }
    raise(&mut sum, &peak);
    sum
}

/// What running the pod takes beside what its containers do.
pub fn pod_overhead(pod: &Pod) -> Amounts {
    amounts(spec::spec(pod).overhead.as_ref())
}

/// What the pod asks for as a whole, overhead included.
pub fn pod_requests(pod: &Pod) -> Amounts {
    let mut sum = own_requests(pod);
    add(&mut sum, &pod_overhead(pod));
    sum
}

/// The same without overhead.
pub fn own_requests(pod: &Pod) -> Amounts {
    total(pod, requested)
}

/// What the pod asks for itself beyond what its containers do.
pub fn unclaimed(pod: &Pod, resource: &str) -> i64 {
    let own = container_amount(spec::spec(pod).resources.as_ref().and_then(requested), resource);
    let claimed = of_containers(pod, requested).get(resource).copied().unwrap_or(0);
    own.map_or(0, |own| (own - claimed).max(0))
}

/// The sums of what those of the pod's containers may use that are limited, or of what the pod itself may use.
pub fn pod_limit_sums(pod: &Pod) -> Amounts {
    let mut sum = own_limits(pod);
    let overhead = pod_overhead(pod);
    for (name, amount) in &mut sum {
        *amount += overhead.get(name).copied().unwrap_or(0);
    }
    sum
}

/// The same without overhead.
pub fn own_limits(pod: &Pod) -> Amounts {
    total(pod, limited)
}

/// What the pod may use at most: only of resources that every container limits, or the pod itself.
pub fn pod_limits(pod: &Pod) -> Amounts {
    let own = spec::spec(pod).resources.as_ref().and_then(|resources| resources.limits.as_ref());
    let mut sum = pod_limit_sums(pod);
    let is_limited = |container: &Container, name: &str| {
        container_amount(container.resources.as_ref().and_then(limited), name).is_some_and(|a| a > 0)
    };
    sum.retain(|name, _| {
        own.is_some_and(|own| own.contains_key(name))
            || spec::containers(pod).iter().chain(spec::init_containers(pod)).all(|c| is_limited(c, name))
    });
    sum
}

/// The pod's class: as the API server noted it, or computed in the same way.
pub fn qos_class(pod: &Pod) -> QosClass {
    let noted = pod.status.as_ref().and_then(|status| status.qos_class.as_deref()).and_then(QosClass::parse);
    noted.unwrap_or_else(|| compute_qos_class(pod))
}

fn compute_qos_class(pod: &Pod) -> QosClass {
    let requirements: Vec<ResourceRequirements> = match &spec::spec(pod).resources {
        Some(resources) => vec![resources.clone()],
        None => spec::containers(pod)
            .iter()
            .chain(spec::init_containers(pod))
            .map(|container| container.resources.clone().unwrap_or_default())
            .collect(),
    };
    let (mut any, mut guaranteed) = (false, true);
    for one in &requirements {
        for resource in ["cpu", "memory"] {
            let limit = container_amount(one.limits.as_ref(), resource).unwrap_or(0);
            let request = container_amount(one.requests.as_ref(), resource).unwrap_or(limit);
            any |= limit > 0 || request > 0;
            guaranteed &= limit > 0 && request == limit;
        }
    }
    match (any, guaranteed) {
        (false, _) => QosClass::BestEffort,
        (true, true) => QosClass::Guaranteed,
        (true, false) => QosClass::Burstable,
    }
}
