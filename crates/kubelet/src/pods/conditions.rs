//! The conditions of a pod that the kubelet owns; those of others are kept as they are.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::status::whole_seconds;
use super::{phase, spec};

/// The conditions that the kubelet writes.
pub const OWNED: [&str; 8] = [
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
    "PodResizePending",
    "PodResizeInProgress",
    DISRUPTION,
];

/// The condition of a pod that somebody ends though it could go on; others than the kubelet may say so too.
const DISRUPTION: &str = "DisruptionTarget";

/// A condition that is there while a change of the pod's resources waits or goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resize {
    /// `PodResizePending` or `PodResizeInProgress`.
    pub type_: &'static str,
    /// What keeps it.
    pub reason: Option<&'static str>,
    /// The same for people.
    pub message: Option<String>,
    /// The generation of the pod that asked for it.
    pub generation: Option<i64>,
}

/// What conditions are made from.
pub struct Facts<'a> {
    /// Statuses of the init containers.
    pub init: &'a [ContainerStatus],
    /// Statuses of the regular containers.
    pub regular: &'a [ContainerStatus],
    /// The pod's phase.
    pub phase: &'a str,
    /// Whether there is a sandbox with an address.
    pub sandbox_ready: bool,
    /// Changes of resources that are not done.
    pub resizes: &'a [Resize],
    /// Why the kubelet ends the pod though it could go on, if it does.
    pub disruption: Option<&'a str>,
    /// The present.
    pub now: Timestamp,
}

struct Verdict {
    status: bool,
    reason: Option<&'static str>,
    message: Option<String>,
}

impl Verdict {
    fn yes() -> Self {
        Self { status: true, reason: None, message: None }
    }

    fn because(reason: &'static str) -> Self {
        Self { status: false, reason: Some(reason), message: None }
    }

    fn no(reason: &'static str, message: String) -> Self {
        Self { status: false, reason: Some(reason), message: Some(message).filter(|message| !message.is_empty()) }
    }
}

/// All conditions of a pod: the kubelet's own, then those that others wrote.
pub fn conditions(pod: &Pod, old: &PodStatus, facts: &Facts<'_>) -> Vec<PodCondition> {
    let containers_ready = containers_ready(pod, facts);
    let ready = ready(pod, old, facts, &containers_ready);
    let owned = [
        ("PodReadyToStartContainers", Verdict { status: facts.sandbox_ready, reason: None, message: None }),
        ("Initialized", initialized(pod, facts)),
        ("Ready", ready),
        ("ContainersReady", containers_ready),
        ("PodScheduled", Verdict::yes()),
    ];
    let mut conditions: Vec<PodCondition> =
        owned.into_iter().map(|(type_, verdict)| condition(pod, old, type_, verdict, facts.now)).collect();
    conditions.extend(facts.resizes.iter().map(|resize| {
        let verdict = Verdict { status: true, reason: resize.reason, message: resize.message.clone() };
        PodCondition { observed_generation: resize.generation, ..condition(pod, old, resize.type_, verdict, facts.now) }
    }));
    if let Some(message) = facts.disruption {
        let reason = Some("TerminationByKubelet");
        let verdict = Verdict { status: true, reason, message: Some(message.to_owned()) };
        conditions.push(condition(pod, old, DISRUPTION, verdict, facts.now));
    }
    let is_others = |condition: &&PodCondition| match condition.type_.as_str() {
        DISRUPTION => facts.disruption.is_none(),
        type_ => !OWNED.contains(&type_),
    };
    conditions.extend(old.conditions.iter().flatten().filter(is_others).cloned());
    conditions
}

fn condition(pod: &Pod, old: &PodStatus, type_: &str, verdict: Verdict, now: Timestamp) -> PodCondition {
    let status = if verdict.status { "True" } else { "False" };
    let before = old.conditions.iter().flatten().find(|condition| condition.type_ == type_);
    let unchanged = before.filter(|before| before.status == status);
    PodCondition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: verdict.reason.map(str::to_owned),
        message: verdict.message,
        last_probe_time: None,
        last_transition_time: unchanged
            .and_then(|before| before.last_transition_time.clone())
            .or_else(|| Some(Time(whole_seconds(now)))),
        observed_generation: pod.metadata.generation,
    }
}

fn initialized(pod: &Pod, facts: &Facts<'_>) -> Verdict {
    if facts.phase == "Succeeded" {
        return Verdict { status: true, reason: Some("PodCompleted"), message: None };
    }
    if phase::is_initialized(pod, facts.init, facts.regular) {
        return Verdict::yes();
    }
    let incomplete = phase::incomplete_init(pod, facts.init);
    Verdict::no("ContainersNotInitialized", format!("containers with incomplete status: [{}]", incomplete.join(" ")))
}

fn containers_ready(pod: &Pod, facts: &Facts<'_>) -> Verdict {
    match facts.phase {
        "Succeeded" => return Verdict::because("PodCompleted"),
        "Failed" => return Verdict::because("PodFailed"),
        _ => {}
    }
    let sidecars = spec::init_containers(pod).iter().filter(|c| spec::is_sidecar(c));
    let mut unready = Vec::new();
    let mut unknown = Vec::new();
    let all = facts.init.iter().chain(facts.regular);
    for container in sidecars.chain(spec::containers(pod)) {
        match all.clone().find(|status| status.name == container.name) {
            None => unknown.push(container.name.as_str()),
            Some(status) if !status.ready => unready.push(container.name.as_str()),
            Some(_) => {}
        }
    }
    if unready.is_empty() && unknown.is_empty() {
        return Verdict::yes();
    }
    let mut parts = Vec::new();
    if !unknown.is_empty() {
        parts.push(format!("containers with unknown status: [{}]", unknown.join(" ")));
    }
    if !unready.is_empty() {
        parts.push(format!("containers with unready status: [{}]", unready.join(" ")));
    }
    Verdict::no("ContainersNotReady", parts.join(", "))
}

fn ready(pod: &Pod, old: &PodStatus, facts: &Facts<'_>, containers_ready: &Verdict) -> Verdict {
    if !containers_ready.status {
        return Verdict {
            status: false,
            reason: containers_ready.reason,
            message: containers_ready.message.clone().filter(|_| facts.phase != "Succeeded"),
        };
    }
    let mut problems = Vec::new();
    for gate in spec::spec(pod).readiness_gates.iter().flatten() {
        let type_ = &gate.condition_type;
        match old.conditions.iter().flatten().find(|condition| condition.type_ == *type_) {
            None => problems.push(format!("corresponding condition of pod readiness gate \"{type_}\" does not exist.")),
            Some(condition) if condition.status != "True" => problems.push(format!(
                "the status of pod readiness gate \"{type_}\" is not \"True\", but {}",
                condition.status
            )),
            Some(_) => {}
        }
    }
    if problems.is_empty() { Verdict::yes() } else { Verdict::no("ReadinessGatesNotReady", problems.join(", ")) }
}
