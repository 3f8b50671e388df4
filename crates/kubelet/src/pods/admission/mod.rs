//! Whether a pod can run on this node: the last check, by what the node itself knows.

mod app_armor;
mod place;
mod preemption;
mod pressure;
mod sysctls;
mod system;
mod taints;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use api::validation::is_extended_resource;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;

pub use place::matches_node;
pub use sysctls::{AllowedSysctls, InvalidSysctl};

use super::resize::Pending;
use super::{Failure, spec};
use crate::context::Context;
use crate::managers::AllocationError;
use crate::resources::{Amounts, container_amount, pod_requests};
use crate::static_pods;

/// A resource of which the node has too little left.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("Node didn't have enough resource: {resource}, requested: {requested}, used: {used}, capacity: {capacity}")]
pub struct Shortage {
    /// The resource.
    pub resource: String,
    /// What the pod asks for.
    pub requested: i64,
    /// What the other pods have.
    pub used: i64,
    /// What the node can give.
    pub capacity: i64,
}

/// Why a pod is refused. The messages are shown to users.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Something is used up.
    #[error(transparent)]
    OutOf(#[from] Shortage),
    /// The node is not one for the pod, by a rule that the scheduler has too.
    #[error("Predicate {0} failed: {1}")]
    Predicate(&'static str, &'static str),
    /// A sysctl that other pods would feel.
    #[error("forbidden sysctl: \"{0}\" not allowlisted")]
    Sysctl(String),
    /// A sysctl of a namespace that the pod shares with the node.
    #[error("forbidden sysctl: \"{0}\" not allowed with host {1} enabled")]
    SysctlOfHost(String, &'static str),
    /// A profile of AppArmor that the kernel cannot enforce.
    #[error("Cannot enforce AppArmor: AppArmor is not enabled on the host")]
    AppArmor,
    /// The node is short of something.
    #[error("The node had condition: [{0}]. ")]
    Pressure(String),
    /// The pod is made for another operating system.
    #[error("Failed to admit pod as the OS field doesn't match node OS")]
    Os,
    /// The same, by its label.
    #[error("Failed to admit pod as the `kubernetes.io/os` label doesn't match node label")]
    OsLabel,
    /// The runtime gives containers the groups of their images whether they want them or not.
    #[error("SupplementalGroupsPolicy=Strict is not supported in this node")]
    SupplementalGroups,
    /// The machine cannot give what it asks for.
    #[error(transparent)]
    Allocation(#[from] AllocationError),
    /// A critical pod has no room, and cannot be given any.
    #[error("Unexpected error while attempting to recover from admission failure: {0}")]
    NoRoom(#[from] preemption::NoRoom),
    /// The machine is being shut down.
    #[error("Pod was rejected as the node is shutting down.")]
    NodeShutdown,
}

impl Refusal {
    /// One word, as in `status.reason`.
    pub fn reason(&self) -> Cow<'static, str> {
        let reason = match self {
            Self::NodeShutdown => "NodeShutdown",
            Self::OutOf(short) => return format!("OutOf{}", short.resource).into(),
            Self::Predicate(name, _) => name,
            Self::Sysctl(_) | Self::SysctlOfHost(..) => "SysctlForbidden",
            Self::Allocation(err) => err.reason(),
            Self::AppArmor => "AppArmor",
            Self::Os => "PodOSNotSupported",
            Self::OsLabel => "PodOSSelectorNodeLabelDoesNotMatch",
            Self::SupplementalGroups => "SupplementalGroupsPolicyNotSupported",
            Self::Pressure(_) => Failure::EVICTED,
            Self::NoRoom(_) => "UnexpectedAdmissionError",
        };
        reason.into()
    }

    /// Whether it may be for something that a pod has that is gone already.
    pub fn is_early(&self, context: &Context) -> bool {
        matches!(self, Self::Allocation(_)) && !context.managers.is_settled()
    }
}

/// Lets a pod in and gives its containers what they ask for of the machine, or says why not. For a critical pod, others are ended where there is no room.
pub async fn admit(context: &Context, pod: &Pod) -> Result<(), Refusal> {
    if context.shutdown.has_begun() {
        return Err(Refusal::NodeShutdown);
    }
    pressure::check(pod, &context.conditions.all())?;
    context.config.allowed_sysctls.check(pod)?;
    let others: Vec<Arc<Pod>> = others(context, pod)
        .map(|other| context.allocations.allocated(&other))
        // Of two new pods the older one has precedence; what runs already is never displaced.
        .filter(|other| context.allocations.holds(spec::uid(other)) || is_older(other, pod))
        .collect();
    let node = node(context, pod).await;
    system::check(pod, node.as_deref())?;
    let short = shortages(pod, &others, &allocatable(context, node.as_deref()));
    match short.first() {
        // Room can be made; a place that is not for the pod stays so.
        Some(_) if spec::is_critical(pod) => {
            place(context, pod, &others, node.as_deref()).await?;
            preemption::make_room(context, pod, &others, &short).await?;
        }
        Some(first) => return Err(Refusal::OutOf(first.clone())),
        None => place(context, pod, &others, node.as_deref()).await?,
    }
    app_armor::check(pod, &context.modules)?;
    Ok(context.managers.admit(pod).await?)
}

/// Whether the node is one for the pod, looked at once more where it may have come to be so just now.
async fn place(context: &Context, pod: &Pod, others: &[Arc<Pod>], node: Option<&Node>) -> Result<(), Refusal> {
    let check = |node: Option<&Node>| {
        place::check(pod, others, node)?;
        node.map_or(Ok(()), |node| taints::check(pod, node))
    };
    let outcome = check(node);
    if !matches!(&outcome, Err(Refusal::Predicate(name, _)) if *name == place::AFFINITY) {
        return outcome;
    }
    // What is known of it is believed where there is no answer.
    read_node(context).await.map_or(outcome, |node| check(Some(&node)))
}

/// The node as it is known. Who comes from the API need not wait until the node does so, too; a pod of a manifest may be
/// the API.
async fn node(context: &Context, pod: &Pod) -> Option<Arc<Node>> {
    match context.node.lister().get(None, &context.config.node_name) {
        None if !static_pods::is_static(pod) => read_node(context).await.map(Arc::new),
        known => known,
    }
}

async fn read_node(context: &Context) -> Option<Node> {
    let api: Api<Node> = Api::all(context.client.clone());
    api.get_opt(&context.config.node_name).await.ok().flatten()
}

/// What the node can give to pods, as far as it is known who gives it.
fn allocatable(context: &Context, node: Option<&Node>) -> Amounts {
    let mut allocatable = context.allocatable();
    // Extended resources may also be written into the node's status by hand.
    let shown = node.and_then(|node| node.status.as_ref()).and_then(|status| status.allocatable.as_ref());
    for name in shown.into_iter().flat_map(BTreeMap::keys).filter(|name| is_extended_resource(name)) {
        let amount = container_amount(shown, name).unwrap_or(0);
        allocatable.entry(name.clone()).or_insert(amount);
    }
    // Of what plugins offer the managers know who has it.
    allocatable.retain(|name, _| !context.devices.offers(name));
    allocatable
}

/// The other pods of the node that have not come to their end.
fn others(context: &Context, pod: &Pod) -> impl Iterator<Item = Arc<Pod>> {
    let uid = spec::uid(pod).to_owned();
    context.pods.list().into_iter().filter(move |other| spec::uid(other) != uid && !spec::is_terminal(other))
}

/// Whether a pod that runs can have the CPU and memory that it asks for by now. `has` tells what the others have.
pub fn fits(context: &Context, pod: &Pod, has: &dyn Fn(&Arc<Pod>) -> Arc<Pod>) -> Result<(), Pending> {
    if let Some(message) = context.managers.forbids_resize(&has(&Arc::new(pod.clone())), pod) {
        return Err(Pending::Infeasible(message));
    }
    let others: Vec<Arc<Pod>> = others(context, pod).map(|other| has(&other)).collect();
    resize_fits(pod, &others, &context.allocatable())
}

fn resize_fits(pod: &Pod, others: &[Arc<Pod>], allocatable: &Amounts) -> Result<(), Pending> {
    let used = used(others);
    let amounts = |requests: Amounts| requests.into_iter().filter(|(name, _)| name == "cpu" || name == "memory");
    for (name, requested) in amounts(pod_requests(pod)) {
        let capacity = allocatable.get(&name).copied().unwrap_or(0);
        if requested > capacity {
            return Err(Pending::Infeasible(format!(
                "Node didn't have enough capacity: {name}, requested: {requested}, capacity: {capacity}"
            )));
        }
    }
    for (resource, requested) in amounts(pod_requests(pod)) {
        let capacity = allocatable.get(&resource).copied().unwrap_or(0);
        let used = used.get(&resource).copied().unwrap_or(0);
        if requested > 0 && requested > capacity - used {
            return Err(Pending::Deferred(Shortage { resource, requested, used, capacity }.to_string()));
        }
    }
    Ok(())
}

/// What pods ask for together.
fn used(pods: &[Arc<Pod>]) -> Amounts {
    let mut used = Amounts::new();
    for pod in pods {
        for (name, amount) in pod_requests(pod) {
            *used.entry(name).or_default() += amount;
        }
    }
    used
}

fn is_older(other: &Pod, pod: &Pod) -> bool {
    let key = |pod: &Pod| (pod.metadata.creation_timestamp.as_ref().map(|time| time.0), spec::uid(pod).to_owned());
    key(other) < key(pod)
}

/// What the pod asks for and the others have not left.
fn shortages(pod: &Pod, others: &[Arc<Pod>], allocatable: &Amounts) -> Vec<Shortage> {
    let (mut used, mut requests) = (used(others), pod_requests(pod));
    used.insert("pods".to_owned(), i64::try_from(others.len()).unwrap_or(i64::MAX));
    requests.insert("pods".to_owned(), 1);
    // Resources that are the cluster's and not the node's are the scheduler's business.
    requests.retain(|name, _| !is_extended_resource(name) || allocatable.contains_key(name));
    let short = |(resource, requested): (String, i64)| {
        let of = |amounts: &Amounts| amounts.get(&resource).copied().unwrap_or(0);
        let (used, capacity) = (of(&used), of(allocatable));
        (requested > 0 && requested > capacity - used).then_some(Shortage { resource, requested, used, capacity })
    };
    // Of several the first one is told: that there are too many pods before anything else.
    let pods = requests.remove_entry("pods");
    pods.into_iter().chain(requests).filter_map(short).collect()
}

#[cfg(test)]
mod tests {
    use testkit::pod;

    use super::*;

    fn asking(name: &str, cpu: &str) -> Pod {
        let resources = serde_json::json!({"requests": {"cpu": cpu}});
        let resources = serde_json::from_value(resources).expect("resources");
        let with = |pod: &mut Pod| pod.spec.as_mut().expect("there").containers[0].resources = Some(resources);
        pod(name).container("a", "image").with(with).build()
    }

    #[track_caller]
    fn check_resize(cpu: &str, expected: Result<(), Pending>) {
        let others = [Arc::new(asking("other", "1500m"))];
        let allocatable = Amounts::from([("cpu".to_owned(), 4000), ("memory".to_owned(), 1 << 30)]);
        assert_eq!(resize_fits(&asking("web", cpu), &others, &allocatable), expected);
    }

    #[track_caller]
    fn check_shortage(asked: &[(&str, &str)], reason: &str, message: &str) {
        let allocatable = [("cpu", 4000), ("memory", 1 << 20), ("example.com/gpu", 1), ("pods", 2)];
        let allocatable: Amounts = allocatable.map(|(name, amount)| (name.to_owned(), amount)).into();
        let short = shortages(&pod("web").requests(asked).build(), &[Arc::new(asking("other", "1500m"))], &allocatable);
        let refusal = Refusal::OutOf(short.into_iter().next().expect("a shortage"));
        let message = format!("Node didn't have enough resource: {message}");
        assert_eq!((refusal.reason().as_ref(), refusal.to_string()), (reason, message));
    }

    #[test]
    fn what_is_used_up_is_named_in_the_reason() {
        check_shortage(&[("cpu", "3")], "OutOfcpu", "cpu, requested: 3000, used: 1500, capacity: 4000");
        check_shortage(&[("memory", "2Mi")], "OutOfmemory", "memory, requested: 2097152, used: 0, capacity: 1048576");
        let gpus = "example.com/gpu, requested: 2, used: 0, capacity: 1";
        check_shortage(&[("example.com/gpu", "2")], "OutOfexample.com/gpu", gpus);
        let pages = "hugepages-2Mi, requested: 2097152, used: 0, capacity: 0";
        check_shortage(&[("hugepages-2Mi", "2Mi")], "OutOfhugepages-2Mi", pages);
        let unknown = pod("web").requests(&[("example.com/other", "2")]).build();
        assert!(shortages(&unknown, &[], &Amounts::from([("pods".to_owned(), 1)])).is_empty());
    }

    #[test]
    fn a_resize_needs_room_beside_the_others() {
        check_resize("2500m", Ok(()));
        let deferred = "Node didn't have enough resource: cpu, requested: 3000, used: 1500, capacity: 4000";
        check_resize("3", Err(Pending::Deferred(deferred.to_owned())));
        let infeasible = "Node didn't have enough capacity: cpu, requested: 5000, capacity: 4000";
        check_resize("5", Err(Pending::Infeasible(infeasible.to_owned())));
    }
}
