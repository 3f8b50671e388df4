//! Makes room for pods that the cluster or the node cannot do without: other pods have to go, as few and as little
//! important ones as will do.
//!
//! Upstream: <https://kubernetes.io/docs/tasks/administer-cluster/guaranteed-scheduling-critical-addon-pods/>.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;

use client::EventType;
use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;

use super::Shortage;
use crate::context::Context;
use crate::pods::{Failure, spec};
use crate::resources::{QosClass, pod_requests, qos_class};

/// As the status of a pod that had to go says it, and its event.
const REASON: &str = "Preempting";
const MESSAGE: &str = "Preempted in order to admit critical pod";
/// What the condition `DisruptionTarget` says.
const DISRUPTION: &str = "Pod was preempted by Kubelet to accommodate a critical pod.";
/// So long a pod gets to end at least, beyond half of its grace period more than that.
const MIN_WAIT: Duration = Duration::from_secs(10);

/// There are no pods that could go.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "preemption: error finding a set of pods to preempt: no set of running pods found to reclaim resources: {}",
    list(needs)
)]
pub struct NoRoom {
    needs: Vec<Need>,
}

/// An amount of a resource that is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Need {
    resource: String,
    amount: i64,
}

fn list(needs: &[Need]) -> String {
    let all: String = needs.iter().map(|need| format!("(res: {}, q: {}), ", need.resource, need.amount)).collect();
    format!("[{all}]")
}

/// Ends others of the node's pods until a critical one has room, and waits until they are gone.
pub async fn make_room(context: &Context, pod: &Pod, others: &[Arc<Pod>], short: &[Shortage]) -> Result<(), NoRoom> {
    let needs = short.iter().map(|short| Need {
        resource: short.resource.clone(),
        amount: short.requested - (short.capacity - short.used),
    });
    let victims = choose(pod, others, &needs.collect::<Vec<_>>())?;
    for victim in &victims {
        tracing::info!(namespace = spec::namespace(victim), name = spec::name(victim), "preempting for a critical pod");
        context.event(victim, None, EventType::Warning, REASON, MESSAGE.to_owned());
        let failure = Failure { disruption: Some(DISRUPTION.to_owned()), ..Failure::new(REASON, MESSAGE) };
        context.workers.end(spec::uid(victim), failure);
        context.metrics.admission.preempted(short.first().map_or("", |short| &short.resource));
    }
    let ends = victims.iter().map(|victim| async {
        let grace = Duration::from_secs(spec::grace_period(victim).unsigned_abs());
        // What does not end in time goes on ending beside the new one.
        let _ = tokio::time::timeout(MIN_WAIT.max(grace * 3 / 2), context.workers.released(spec::uid(victim))).await;
    });
    join_all(ends).await;
    Ok(())
}

/// Whether one pod may take the room of another.
fn gives_way(pod: &Pod, other: &Pod) -> bool {
    let priority = |pod: &Pod| spec::spec(pod).priority;
    let critical = (spec::is_critical(pod), spec::is_critical(other));
    critical == (true, false) || priority(pod).zip(priority(other)).is_some_and(|(own, other)| own > other)
}

/// The pods that have to go, of those that ask for least before others.
fn choose(pod: &Pod, others: &[Arc<Pod>], needs: &[Need]) -> Result<Vec<Arc<Pod>>, NoRoom> {
    let of = |class: QosClass| -> Vec<Arc<Pod>> {
        others.iter().filter(|other| gives_way(pod, other) && qos_class(other) == class).cloned().collect()
    };
    let (best_effort, burstable) = (of(QosClass::BestEffort), of(QosClass::Burstable));
    let guaranteed = of(QosClass::Guaranteed);
    // Guaranteed pods go only for what all others together do not have, burstable ones for what is missing then.
    let missing = without(needs, best_effort.iter().chain(&burstable));
    let guaranteed = closest(guaranteed, missing)?;
    let missing = without(needs, best_effort.iter().chain(&guaranteed));
    let burstable = closest(burstable, missing)?;
    let missing = without(needs, burstable.iter().chain(&guaranteed));
    let best_effort = closest(best_effort, missing)?;
    Ok([best_effort, burstable, guaranteed].concat())
}

/// What a pod leaves when it goes.
fn leaves(pod: &Pod, resource: &str) -> i64 {
    if resource == "pods" { 1 } else { pod_requests(pod).get(resource).copied().unwrap_or(0) }
}

/// What is still missing when pods have gone.
fn without<'a>(needs: &[Need], pods: impl Iterator<Item = &'a Arc<Pod>> + Clone) -> Vec<Need> {
    let left = |need: &Need| {
        let gained: i64 = pods.clone().map(|pod| leaves(pod, &need.resource)).sum();
        (need.amount > gained).then(|| Need { amount: need.amount - gained, ..need.clone() })
    };
    needs.iter().filter_map(left).collect()
}

/// One pod after the other, each time the one that leaves what comes closest to what is missing.
fn closest(mut pods: Vec<Arc<Pod>>, mut needs: Vec<Need>) -> Result<Vec<Arc<Pod>>, NoRoom> {
    let mut chosen = Vec::new();
    while !needs.is_empty() {
        let by_fit = |a: &usize, b: &usize| {
            let fit = distance(&needs, &pods[*a]).total_cmp(&distance(&needs, &pods[*b]));
            fit.then_with(|| by_size(&pods[*a], &pods[*b]))
        };
        let Some(next) = (0..pods.len()).min_by(by_fit) else { return Err(NoRoom { needs }) };
        let pod = pods.swap_remove(next);
        needs = without(&needs, std::iter::once(&pod));
        chosen.push(pod);
    }
    Ok(chosen)
}

/// How far a pod is from leaving all that is missing; what it leaves beyond that does not count.
#[expect(clippy::cast_precision_loss, reason = "shares of what is missing need no more precision than a double has")]
fn distance(needs: &[Need], pod: &Pod) -> f64 {
    let left = |need: &Need| (need.amount - leaves(pod, &need.resource)).max(0) as f64 / need.amount as f64;
    needs.iter().map(|need| left(need).powi(2)).sum()
}

fn by_size(a: &Pod, b: &Pod) -> Ordering {
    let compare = |resource| leaves(a, resource).cmp(&leaves(b, resource));
    compare("memory").then_with(|| compare("cpu"))
}

#[cfg(test)]
mod tests {
    use testkit::{Maker, pod};

    use super::*;

    fn asking(name: &str, cpu: &str, memory: &str) -> Maker<Pod> {
        pod(name).requests(&[("cpu", cpu), ("memory", memory)])
    }

    fn guaranteed(name: &str, cpu: &str, memory: &str) -> Maker<Pod> {
        asking(name, cpu, memory).with(|pod| {
            let resources = pod.spec.as_mut().expect("there").containers[0].resources.as_mut().expect("there");
            resources.limits.clone_from(&resources.requests);
        })
    }

    #[track_caller]
    fn check(others: Vec<Maker<Pod>>, needs: &[(&str, i64)], expected: Result<&[&str], &str>) {
        let critical = pod("critical").priority(2_000_001_000).build();
        let others: Vec<Arc<Pod>> = others.into_iter().map(|maker| Arc::new(maker.build())).collect();
        let needs: Vec<Need> =
            needs.iter().map(|(resource, amount)| Need { resource: (*resource).to_owned(), amount: *amount }).collect();
        let found = choose(&critical, &others, &needs);
        let names = found.map(|pods| pods.iter().map(|pod| spec::name(pod).to_owned()).collect::<Vec<_>>());
        match (names, expected) {
            (Ok(names), Ok(expected)) => assert_eq!(names, expected),
            (Err(err), Err(part)) => assert!(err.to_string().ends_with(part), "{err}"),
            (found, expected) => panic!("{found:?} instead of {expected:?}"),
        }
    }

    const GI: i64 = 1 << 30;

    #[test]
    fn as_few_pods_go_as_will_do_and_those_that_ask_for_least() {
        let all = || {
            vec![
                pod("idle").container("a", "i"),
                asking("small", "100m", "100Mi"),
                asking("large", "1", "1Gi"),
                guaranteed("steady", "500m", "500Mi"),
            ]
        };
        check(all(), &[("cpu", 50)], Ok(&["small"]));
        check(all(), &[("cpu", 800)], Ok(&["large"]));
        check(all(), &[("memory", GI), ("cpu", 1100)], Ok(&["large", "small"]));
        check(all(), &[("cpu", 1200)], Ok(&["large", "steady"]));
        check(all(), &[("pods", 1)], Ok(&["idle"]));
        check(all(), &[("pods", 2)], Ok(&["idle", "small"]));
        check(all(), &[("cpu", 2000)], Err("[(res: cpu, q: 400), ]"));
    }

    #[test]
    fn pods_that_are_as_important_stay() {
        let important = asking("important", "1", "1Gi").priority(2_000_001_000);
        let of_manifest = asking("static", "1", "1Gi").annotation("kubernetes.io/config.source", "file");
        let less = asking("less", "1", "1Gi").priority(2_000_000_000);
        check(vec![important, less], &[("cpu", 1000)], Ok(&["less"]));
        check(vec![of_manifest], &[("cpu", 1000)], Err("[(res: cpu, q: 1000), ]"));
    }
}
