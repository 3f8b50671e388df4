//! What is to be done for a pod next, as a pure function of its specification, of what the runtime has of it, of probe
//! results and of the clock.
//!
//! A plan holds only steps that can be taken now; the worker takes them, looks again and asks for the next plan. A plan
//! without steps is rest, until something changes or [`Plan::wake_at`] comes.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodStatus};
use serde_json::json;

use super::backoff::BackOff;
use super::lost;
use super::names;
use super::observed::{Instance, Observed, Sandbox, State};
use super::spec::{self, RestartPolicy};
use crate::probes::{Outcome, ProbeKind, ProbeResults};

/// What a plan is made from.
pub struct Input<'a> {
    /// The pod as it should be.
    pub pod: &'a Pod,
    /// What the runtime has of it.
    pub observed: &'a Observed,
    /// What was last said of it.
    pub status: Option<&'a PodStatus>,
    /// The latest probe results.
    pub probes: &'a ProbeResults,
    /// Waiting times of containers that end again and again.
    pub back_off: &'a BackOff,
    /// Containers whose last start failed, and when to try again.
    pub held: &'a BTreeMap<String, Timestamp>,
    /// Instances that were stopped so that another one follows, whatever their exit code.
    pub restarting: &'a BTreeSet<String>,
    /// The present.
    pub now: Timestamp,
}

/// Why a container waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// One word, as in `status.containerStatuses[].state.waiting.reason`.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
}

/// A container to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// The container's name.
    pub name: String,
    /// The restart count of the instance to be made.
    pub restart_count: u32,
    /// When the instance before it ended.
    pub ended_at: Option<Timestamp>,
}

/// An instance to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kill {
    /// The runtime's identifier.
    pub id: String,
    /// The container's name.
    pub name: String,
    /// What the event says.
    pub message: String,
    /// How long it may take, in seconds.
    pub grace: i64,
    /// Whether another instance follows, whatever the exit code of this one.
    pub restart: bool,
}

/// Why all of a pod is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KillPod {
    /// Its containers have done what they had to do, or failed for good.
    Complete,
    /// Its sandbox is of no use any more; another one follows.
    SandboxChanged,
}

/// The steps that can be taken now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Stop every container and every sandbox.
    pub kill_pod: Option<KillPod>,
    /// Make a sandbox, the so-many-th of this pod.
    pub create_sandbox: Option<u32>,
    /// Instances to stop.
    pub kill: Vec<Kill>,
    /// Containers to start, in this order.
    pub start: Vec<Start>,
    /// Containers that wait until their back-off is over.
    pub waiting: BTreeMap<String, Waiting>,
    /// When to ask again though nothing changes.
    pub wake_at: Option<Timestamp>,
}

impl Plan {
    /// Whether nothing is to be done now.
    pub fn is_rest(&self) -> bool {
        self.kill_pod.is_none() && self.create_sandbox.is_none() && self.kill.is_empty() && self.start.is_empty()
    }

    fn wake(&mut self, at: Timestamp) {
        self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at)));
    }
}

/// The key under which a container's back-off is kept: another image or other resources may mend it, and start anew.
pub fn back_off_key(container: &Container) -> String {
    let resources = container.resources.as_ref().map(|resources| json!(resources).to_string()).unwrap_or_default();
    format!("{}/{}/{resources}", container.name, names::container_hash(container))
}

/// The next steps of a pod that should run.
pub fn plan(input: &Input<'_>) -> Plan {
    let mut plan = Plan::default();
    let observed = input.observed;
    // A second ready sandbox is left over from a create whose answer was lost: nothing of the pod is to be trusted.
    let ready = observed.sandboxes.iter().filter(|sandbox| sandbox.ready).count();
    let Some(sandbox) = observed.ready_sandbox().filter(|sandbox| ready == 1 && has_network(input.pod, sandbox)) else {
        plan_sandbox(input, &mut plan);
        return plan;
    };
    for ephemeral in spec::ephemeral_containers(input.pod) {
        if observed.latest(&ephemeral.name).is_none() {
            start(input, &ephemeral, &mut plan);
        }
    }
    if !plan_init(input, sandbox, &mut plan) {
        return plan;
    }
    plan_regular(input, sandbox, &mut plan);
    plan
}

fn has_network(pod: &Pod, sandbox: &Sandbox) -> bool {
    spec::host_network(pod) || !sandbox.ips.is_empty()
}

/// The pod needs a new sandbox, if it still needs one at all.
fn plan_sandbox(input: &Input<'_>, plan: &mut Plan) {
    let observed = input.observed;
    let wanted = wants_sandbox(input);
    let left_over = observed.live().next().is_some() || observed.sandboxes.iter().any(|sandbox| sandbox.ready);
    if left_over {
        plan.kill_pod = Some(if wanted { KillPod::SandboxChanged } else { KillPod::Complete });
        return;
    }
    if !wanted {
        return;
    }
    if let Some(until) = input.held.get(SANDBOX).filter(|until| **until > input.now) {
        plan.wake(*until);
        return;
    }
    plan.create_sandbox = Some(observed.sandboxes.first().map_or(0, |latest| latest.attempt + 1));
}

/// Whether a container of the pod is still to run.
fn wants_sandbox(input: &Input<'_>) -> bool {
    let (pod, observed) = (input.pod, input.observed);
    let failed_init = spec::init_containers(pod).iter().filter(|c| !spec::is_sidecar(c)).any(|container| {
        observed.latest(&container.name).is_some_and(|i| {
            i.state == State::Exited && i.exit_code != 0 && !spec::restarts_after_init(pod, container, i.exit_code)
        })
    });
    !failed_init && !finished(input)
}

/// The key under which a failed sandbox is held; no container's name has this character.
pub const SANDBOX: &str = "/sandbox";

/// Init containers one after the other; sidecars among them are started once and then kept. True when all are through.
fn plan_init(input: &Input<'_>, sandbox: &Sandbox, plan: &mut Plan) -> bool {
    let (pod, observed) = (input.pod, input.observed);
    let inits = spec::init_containers(pod);
    let regular_made = spec::containers(pod).iter().any(|c| observed.latest_in(&sandbox.id, &c.name).is_some());
    // The last one of which there is an instance: all before it are through, though their instances may be gone.
    let furthest = inits.iter().rposition(|c| observed.latest_in(&sandbox.id, &c.name).is_some());
    let finished = finished(input);
    for (index, container) in inits.iter().enumerate() {
        let passed = regular_made || furthest.is_some_and(|furthest| index < furthest);
        let instance = observed.latest_in(&sandbox.id, &container.name);
        if spec::is_sidecar(container) {
            if finished {
                continue;
            }
            let up = keep_running(input, container, instance, plan);
            let through = passed || (up && has_started(input, container, instance));
            if !through {
                return false;
            }
            continue;
        }
        if passed {
            continue;
        }
        match instance {
            Some(i) if i.state == State::Exited && i.exit_code == 0 => {}
            // It runs to its end, whatever has changed meanwhile.
            Some(i) if i.state == State::Running => return false,
            Some(i) if i.state == State::Unknown => {
                plan.kill.push(kill_unknown(pod, i));
                return false;
            }
            Some(i) if i.state == State::Exited && !spec::restarts_after_init(pod, container, i.exit_code) => {
                plan.kill_pod = Some(KillPod::Complete);
                return false;
            }
            _ => {
                start(input, container, plan);
                return false;
            }
        }
    }
    true
}

/// Whether every regular container has ended for good.
fn finished(input: &Input<'_>) -> bool {
    spec::containers(input.pod).iter().all(|container| has_ended(input, container))
}

/// Whether no instance of a regular container runs and none follows.
fn has_ended(input: &Input<'_>, container: &Container) -> bool {
    let exit_code = match input.observed.latest(&container.name) {
        Some(instance) if instance.state != State::Exited || input.restarting.contains(&instance.id) => None,
        Some(instance) => Some(instance.exit_code),
        None => last_status(input, container).and_then(lost::exit_code),
    };
    exit_code.is_some_and(|code| !spec::restarts_after(input.pod, container, code))
}

/// What was last said of a container.
fn last_status<'a>(input: &Input<'a>, container: &Container) -> Option<&'a ContainerStatus> {
    let status = input.status?;
    let all = [&status.init_container_statuses, &status.container_statuses, &status.ephemeral_container_statuses];
    all.into_iter().flatten().flatten().find(|status| status.name == container.name)
}

fn plan_regular(input: &Input<'_>, sandbox: &Sandbox, plan: &mut Plan) {
    if finished(input) {
        // Sidecars and ephemeral containers do not keep a pod alive.
        plan.start.clear();
        plan.kill.clear();
        plan.kill_pod = Some(KillPod::Complete);
        return;
    }
    for container in spec::containers(input.pod) {
        if !has_ended(input, container) {
            let instance = input.observed.latest_in(&sandbox.id, &container.name);
            keep_running(input, container, instance, plan);
        }
    }
}

/// Starts, leaves or stops a container that should run; true where it runs and stays.
fn keep_running(input: &Input<'_>, container: &Container, instance: Option<&Instance>, plan: &mut Plan) -> bool {
    let Some(instance) = instance.filter(|instance| matches!(instance.state, State::Running | State::Unknown)) else {
        start(input, container, plan);
        return false;
    };
    if instance.state == State::Unknown {
        plan.kill.push(kill_unknown(input.pod, instance));
        return false;
    }
    let changed = !instance.hash.is_empty() && instance.hash != names::container_hash(container);
    let failed = |kind| input.probes.get(&instance.id, kind) == Some(Outcome::Failure);
    let (why, grace, restart) = if changed {
        // Another definition is to run, whatever becomes of containers that end.
        ("definition changed", spec::grace_period(input.pod), true)
    } else if let Some((word, probe)) = [
        (ProbeKind::Liveness, "failed liveness probe", &container.liveness_probe),
        (ProbeKind::Startup, "failed startup probe", &container.startup_probe),
    ]
    .into_iter()
    .find_map(|(kind, word, probe)| failed(kind).then_some((word, probe)))
    {
        let restart = spec::container_restart_policy(input.pod, container) != RestartPolicy::Never;
        (word, spec::probe_grace_period(input.pod, probe.as_ref()), restart)
    } else {
        return true;
    };
    let message = match (spec::is_init(input.pod, container), restart) {
        (true, _) => format!("Init container {} {why}", container.name),
        (false, true) => format!("Container {} {why}, will be restarted", container.name),
        (false, false) => format!("Container {} {why}", container.name),
    };
    plan.kill.push(Kill { id: instance.id.clone(), name: instance.name.clone(), message, grace, restart });
    false
}

/// Something of which the runtime has lost track may still run, beside which no other must be started.
fn kill_unknown(pod: &Pod, instance: &Instance) -> Kill {
    let message = "Container is in \"unknown\" state, try killing it before restart".to_owned();
    let (id, name) = (instance.id.clone(), instance.name.clone());
    Kill { id, name, message, grace: spec::grace_period(pod), restart: true }
}

fn has_started(input: &Input<'_>, container: &Container, instance: Option<&Instance>) -> bool {
    instance.is_some_and(|instance| {
        !spec::has_startup_probe(container)
            || input.probes.get(&instance.id, ProbeKind::Startup) == Some(Outcome::Success)
    })
}

/// Starts a container now, or says until when it has to wait.
fn start(input: &Input<'_>, container: &Container, plan: &mut Plan) {
    if let Some(until) = input.held.get(&container.name).filter(|until| **until > input.now) {
        plan.wake(*until);
        return;
    }
    let last = input.observed.latest(&container.name);
    let ended_at = last
        .filter(|instance| instance.state == State::Exited)
        .map(|instance| super::observed::timestamp(instance.finished_at).unwrap_or(input.now));
    let key = back_off_key(container);
    if let Some(until) = ended_at.and_then(|ended| input.back_off.waits_until(&key, ended, input.now)) {
        let message = format!(
            "back-off {} restarting failed container={} pod={}",
            go_duration(input.back_off.delay(&key)),
            container.name,
            spec::full_name(input.pod)
        );
        plan.waiting.insert(container.name.clone(), Waiting { reason: "CrashLoopBackOff".to_owned(), message });
        plan.wake(until);
        return;
    }
    // One that was made and never started is no restart.
    let is_restart = |instance: &Instance| u32::from(instance.state != State::Created);
    plan.start.push(Start {
        name: container.name.clone(),
        restart_count: last.map_or_else(
            || lost::next_restart_count(last_status(input, container)),
            |instance| instance.restart_count + is_restart(instance),
        ),
        ended_at,
    });
}

/// A duration as Go prints it: `10s`, `1m20s`, `5m0s`.
pub fn go_duration(duration: std::time::Duration) -> String {
    let seconds = duration.as_secs();
    if seconds < 60 { format!("{seconds}s") } else { format!("{}m{}s", seconds / 60, seconds % 60) }
}

/// The order in which a pod's live instances are stopped: all regular and ephemeral ones together, then the sidecars,
/// the last one first.
pub fn stop_order(pod: &Pod, observed: &Observed) -> Vec<Vec<Instance>> {
    let sidecars: Vec<&str> =
        spec::init_containers(pod).iter().filter(|c| spec::is_sidecar(c)).map(|c| c.name.as_str()).collect();
    let live: Vec<&Instance> = observed.live().collect();
    let of = |wanted: &dyn Fn(&Instance) -> bool| -> Vec<Instance> {
        live.iter().filter(|instance| wanted(instance)).map(|instance| (*instance).clone()).collect()
    };
    let mut order = vec![of(&|instance| !sidecars.contains(&instance.name.as_str()))];
    order.extend(sidecars.iter().rev().map(|name| of(&|instance| instance.name == *name)));
    order.retain(|together| !together.is_empty());
    order
}

#[cfg(test)]
mod tests;
