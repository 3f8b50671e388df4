//! The probes of one pod: a task for each probe of each running container.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base::{Drain, DrainTrigger};
use client::EventType;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Pod, Probe};
use tokio::sync::{Notify, watch};

use super::check::{Subject, Verdict, check};
use super::results::{Outcome, ProbeKind, ProbeResults};
use crate::context::Shared;
use crate::metrics::ProbeLabels;
use crate::pods::{Instance, Observed, State, spec};

/// A check that could not be made is tried so often before it counts for nothing.
const ATTEMPTS: u32 = 3;

const KINDS: [ProbeKind; 3] = [ProbeKind::Startup, ProbeKind::Liveness, ProbeKind::Readiness];

/// The probes of one pod.
pub struct PodProbes {
    context: Shared,
    wake: Arc<Notify>,
    results: Arc<watch::Sender<ProbeResults>>,
    /// By instance and kind; dropping the trigger ends the task.
    tasks: HashMap<(String, ProbeKind), DrainTrigger>,
}

impl PodProbes {
    /// No probe runs yet; `wake` is notified when a result changes.
    pub fn new(context: Shared, wake: Arc<Notify>) -> Self {
        let results = Arc::new(watch::channel(ProbeResults::default()).0);
        Self { context, wake, results, tasks: HashMap::new() }
    }

    /// The latest results.
    pub fn results(&self) -> ProbeResults {
        self.results.borrow().clone()
    }

    /// Ends all probes.
    pub fn stop(&mut self) {
        self.tasks.clear();
    }

    /// Ends what would restart containers; a pod that is stopping still says whether it serves.
    pub fn stop_all_but_readiness(&mut self, pod: &Pod, observed: &Observed) {
        self.tasks.retain(|(id, kind), _| {
            *kind == ProbeKind::Readiness && observed.live().any(|instance| instance.id == *id)
        });
        if self.tasks.is_empty() && self.results() == ProbeResults::default() {
            // After a restart of the kubelet: what was ready is taken to be so until it ends.
            self.seed(pod, observed);
        }
    }

    /// Has exactly the probes running that belong to running containers.
    pub fn reconcile(&mut self, pod: &Arc<Pod>, observed: &Observed) {
        let running = |id: &str| observed.containers.iter().any(|i| i.id == id && i.state == State::Running);
        self.tasks.retain(|(id, _), _| running(id));
        self.results.send_modify(|results| results.retain(running));
        self.seed(pod, observed);
        let sidecars = spec::init_containers(pod).iter().filter(|container| spec::is_sidecar(container));
        for container in sidecars.chain(spec::containers(pod)) {
            let Some(instance) = observed.latest(&container.name).filter(|i| i.state == State::Running) else {
                continue;
            };
            for kind in KINDS {
                let key = (instance.id.clone(), kind);
                if self.tasks.contains_key(&key) {
                    continue;
                }
                if let Some(probe) = probe_of(container, kind) {
                    let task = self.task(pod, container, instance, kind, probe.clone(), observed);
                    self.tasks.insert(key, task);
                }
            }
        }
    }

    /// The results before the first check. A container that was ready before the kubelet started stays so.
    fn seed(&self, pod: &Pod, observed: &Observed) {
        let status = pod.status.clone().unwrap_or_default();
        let statuses: Vec<_> = status
            .container_statuses
            .into_iter()
            .flatten()
            .chain(status.init_container_statuses.into_iter().flatten())
            .collect();
        let running = observed.containers.iter().filter(|instance| instance.state == State::Running);
        let initial = |instance: &Instance, kind| {
            let suffix = format!("//{}", instance.id);
            let before = statuses.iter().find(|s| s.container_id.as_ref().is_some_and(|id| id.ends_with(&suffix)));
            match kind {
                ProbeKind::Liveness => Outcome::Success,
                ProbeKind::Readiness if before.is_some_and(|status| status.ready) => Outcome::Success,
                ProbeKind::Readiness => Outcome::Failure,
                ProbeKind::Startup if before.is_some_and(|status| status.started == Some(true)) => Outcome::Success,
                ProbeKind::Startup => Outcome::Unknown,
            }
        };
        self.results.send_modify(|results| {
            for instance in running {
                for kind in KINDS {
                    if results.get(&instance.id, kind).is_none() {
                        results.set(&instance.id, kind, initial(instance, kind));
                    }
                }
            }
        });
    }

    fn task(
        &self,
        pod: &Arc<Pod>,
        container: &Container,
        instance: &Instance,
        kind: ProbeKind,
        probe: Probe,
        observed: &Observed,
    ) -> DrainTrigger {
        let (trigger, drain) = self.context.drain.child();
        let ip = if spec::host_network(pod) {
            self.context.node_ips.first().cloned()
        } else {
            observed.sandboxes.first().and_then(|sandbox| sandbox.ips.first().cloned())
        };
        let prober = Prober {
            context: Arc::clone(&self.context),
            pod: Arc::clone(pod),
            container: container.clone(),
            container_id: instance.id.clone(),
            started_at: instance.started_at,
            ip: ip.unwrap_or_else(|| "127.0.0.1".to_owned()),
            kind,
            probe,
            results: Arc::clone(&self.results),
            wake: Arc::clone(&self.wake),
        };
        let name = format!("{} probe of {}/{}", kind.title(), spec::full_name(pod), container.name);
        self.context.spawner.spawn(name, prober.run(drain));
        trigger
    }
}

fn probe_of(container: &Container, kind: ProbeKind) -> Option<&Probe> {
    match kind {
        ProbeKind::Liveness => container.liveness_probe.as_ref(),
        ProbeKind::Readiness => container.readiness_probe.as_ref(),
        ProbeKind::Startup => container.startup_probe.as_ref(),
    }
}

/// The task of one probe.
struct Prober {
    context: Shared,
    pod: Arc<Pod>,
    container: Container,
    container_id: String,
    started_at: i64,
    ip: String,
    kind: ProbeKind,
    probe: Probe,
    results: Arc<watch::Sender<ProbeResults>>,
    wake: Arc<Notify>,
}

fn seconds(value: Option<i32>, default: u64) -> Duration {
    Duration::from_secs(value.and_then(|value| u64::try_from(value).ok()).unwrap_or(default))
}

impl Prober {
    /// Checks until the container ends; what was counted of it goes with the probe.
    async fn run(self, drain: Drain) {
        self.check_in_rhythm(drain.clone()).await;
        drain.drained().await;
        self.context.metrics.forget_probe(self.labels());
    }

    /// Checks in its rhythm until the container ends; a failed liveness or startup probe has nothing more to say.
    async fn check_in_rhythm(&self, drain: Drain) {
        let period = seconds(self.probe.period_seconds, 10).max(Duration::from_secs(1));
        let started = crate::pods::timestamp(self.started_at).unwrap_or_else(|| self.context.env.now());
        let first = started.saturating_add(seconds(self.probe.initial_delay_seconds, 0)).unwrap_or(started);
        if drain.until(self.sleep_until(first)).await.is_none() || drain.until(self.applies()).await.is_none() {
            return;
        }
        let mut due = self.context.env.now();
        let mut tally = Tally::default();
        loop {
            let Some(verdict) = drain.until(self.check()).await else { return };
            if let Some(outcome) = verdict.and_then(|verdict| tally.count(&self.probe, verdict))
                && self.note(outcome)
            {
                return;
            }
            due = next_due(due, period, self.context.env.now());
            if drain.until(self.sleep_until(due)).await.is_none() {
                return;
            }
        }
    }

    async fn sleep_until(&self, time: Timestamp) {
        let wait = Duration::try_from(time.duration_since(self.context.env.now())).unwrap_or(Duration::ZERO);
        self.context.env.sleep(wait).await;
    }

    /// Liveness and readiness are asked only of a container that has started: completes when it has.
    async fn applies(&self) {
        if self.kind == ProbeKind::Startup || self.container.startup_probe.is_none() {
            return;
        }
        let mut results = self.results.subscribe();
        let has_started =
            |results: &ProbeResults| results.get(&self.container_id, ProbeKind::Startup) == Some(Outcome::Success);
        // The sender lives as long as `self`, so waiting ends only by the condition.
        let _ = results.wait_for(has_started).await;
    }

    /// One check; `None` where nothing was learnt.
    async fn check(&self) -> Option<bool> {
        let subject = Subject { container: &self.container, container_id: &self.container_id, ip: &self.ip };
        let began = self.context.env.instant();
        let mut verdict = Verdict::Success;
        for _ in 0..ATTEMPTS {
            verdict = check(&self.context, &subject, &self.probe).await;
            if !matches!(verdict, Verdict::Error(_)) {
                break;
            }
        }
        let event = |reason: &'static str, message| {
            let name = Some(self.container.name.as_str());
            self.context.event(&self.pod, name, EventType::Warning, reason, message);
        };
        let result = match verdict {
            Verdict::Success | Verdict::Warning(_) => "successful",
            Verdict::Failure(_) => "failed",
            Verdict::Error(_) => "unknown",
        };
        self.context.metrics.probed(self.labels(), result, began.elapsed());
        match verdict {
            Verdict::Success => Some(true),
            Verdict::Warning(output) => {
                event("ProbeWarning", format!("{} probe warning: {output}", self.kind.title()));
                Some(true)
            }
            Verdict::Failure(output) => {
                event("Unhealthy", format!("{} probe failed: {output}", self.kind.title()));
                Some(false)
            }
            Verdict::Error(message) => {
                event(
                    "Unhealthy",
                    format!("{} probe errored and resulted in unknown state: {message}", self.kind.title()),
                );
                None
            }
        }
    }

    fn labels(&self) -> ProbeLabels<'_> {
        ProbeLabels {
            kind: self.kind.title(),
            container: &self.container.name,
            pod: spec::name(&self.pod),
            namespace: spec::namespace(&self.pod),
            uid: spec::uid(&self.pod),
        }
    }

    /// Notes an outcome. True where this probe has nothing more to say.
    fn note(&self, outcome: Outcome) -> bool {
        let changed = self.results.send_if_modified(|results| {
            let changed = results.get(&self.container_id, self.kind) != Some(outcome);
            results.set(&self.container_id, self.kind, outcome);
            changed
        });
        if changed {
            self.wake.notify_one();
        }
        match self.kind {
            ProbeKind::Readiness => false,
            ProbeKind::Liveness => outcome == Outcome::Failure,
            ProbeKind::Startup => true,
        }
    }
}

/// The next time of a rhythm after `now`: checks that take long make others fall out, and none later.
fn next_due(due: Timestamp, period: Duration, now: Timestamp) -> Timestamp {
    let late = now.duration_since(due).max(SignedDuration::ZERO);
    let periods = late.as_nanos() / i128::try_from(period.as_nanos()).unwrap_or(i128::MAX).max(1) + 1;
    let periods = u32::try_from(periods).unwrap_or(u32::MAX);
    due.saturating_add(period.saturating_mul(periods)).unwrap_or(Timestamp::MAX)
}

/// Counts equal answers in a row.
#[derive(Default)]
struct Tally {
    last: Option<bool>,
    run: i32,
}

impl Tally {
    /// The outcome, once there were enough equal answers in a row.
    fn count(&mut self, probe: &Probe, success: bool) -> Option<Outcome> {
        self.run = if self.last == Some(success) { self.run.saturating_add(1) } else { 1 };
        self.last = Some(success);
        let (threshold, outcome) = if success {
            (probe.success_threshold.unwrap_or(1), Outcome::Success)
        } else {
            (probe.failure_threshold.unwrap_or(3), Outcome::Failure)
        };
        (self.run >= threshold.max(1)).then_some(outcome)
    }
}

#[cfg(test)]
mod tests {
    use testkit::at;

    use super::*;

    #[test]
    fn checks_that_take_long_do_not_shift_the_rhythm() {
        let period = Duration::from_secs(10);
        for (now, expected) in [(0, 10), (3, 10), (10, 20), (12, 20), (35, 40), (-5, 10)] {
            assert_eq!(next_due(at(0), period, at(now)), at(expected), "{now}");
        }
    }

    #[test]
    fn an_outcome_needs_its_threshold_in_a_row() {
        let probe = Probe { failure_threshold: Some(3), success_threshold: Some(2), ..Probe::default() };
        let mut tally = Tally::default();
        let outcomes: Vec<Option<Outcome>> = [false, false, true, false, false, false, true, true]
            .into_iter()
            .map(|success| tally.count(&probe, success))
            .collect();
        let (failure, success) = (Some(Outcome::Failure), Some(Outcome::Success));
        assert_eq!(outcomes, [None, None, None, None, None, failure, None, success]);
    }
}
