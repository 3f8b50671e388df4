//! One pod's task: looks at what is, asks what to do, does it, and waits for something to change.
//!
//! Long steps (a pull, a grace period) do not make it deaf: meanwhile it keeps the pod's status up to date, and a pod
//! that is to stop interrupts the start of its containers.

use std::borrow::Cow;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use base::Drain;
use client::EventType;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::kill::{self, Reason, Target};
use super::observe::ObserveError;
use super::plan::{self, Kill, KillPod, Plan, SANDBOX, Start, Waiting};
use super::references::References;
use super::start::{self, Surroundings};
use super::state::PodState;
use super::status::Failure;
use super::{admission, cleanup, pinning, resize, spec};
use crate::context::Shared;
use crate::probes::PodProbes;
use crate::volumes::{self, FaultKind, Mounted, VolumeError};

/// A look at the pod though nothing has happened: a safety net only.
const RESYNC: Duration = Duration::from_secs(3600);
/// After something failed that is not held by itself.
const RETRY: Duration = Duration::from_secs(2);
/// After resources of a container that runs could not be changed.
const RESIZE_RETRY: Duration = Duration::from_secs(10);
/// The longest wait between attempts to mount a pod's volumes.
const LONGEST_MOUNT_RETRY: Duration = Duration::from_secs(122);
/// The same where a claim is not ready, which the kubelet may read and not watch.
const LONGEST_CLAIM_RETRY: Duration = Duration::from_secs(4);

/// What a worker is told of its pod.
#[derive(Clone, Debug)]
pub struct Update {
    /// The pod as the API has it, or had it last.
    pub pod: Arc<Pod>,
    /// Whether the API no longer has it.
    pub gone: bool,
    /// Why the kubelet ends it, if it does.
    pub end: Option<Failure>,
}

/// What follows a step.
enum Next {
    /// Wait for a change, at most until a time.
    Rest(Option<Timestamp>),
    /// Look again at once.
    Again,
    /// The pod is gone, here and in the API.
    Done,
}

/// The task of one pod.
pub struct Worker {
    context: Shared,
    updates: watch::Receiver<Update>,
    wake: Arc<Notify>,
    /// Says when the pod has given back what it held of the node.
    released: watch::Sender<bool>,
    state: PodState,
    probes: PodProbes,
    references: References,
    mount_failures: u32,
    /// Since when there are such failures.
    mount_failing_since: Option<Instant>,
}

impl Worker {
    /// A worker for the pod in `updates`; `wake` makes it look again, `released` hears when nothing of the pod runs
    /// any more.
    pub fn new(
        context: Shared,
        updates: watch::Receiver<Update>,
        wake: Arc<Notify>,
        released: watch::Sender<bool>,
    ) -> Self {
        let pod = Arc::clone(&updates.borrow().pod);
        Self {
            probes: PodProbes::new(Arc::clone(&context), Arc::clone(&wake)),
            references: References::default(),
            state: PodState::new(pod, context.config.max_back_off, context.env.instant()),
            context,
            updates,
            wake,
            released,
            mount_failures: 0,
            mount_failing_since: None,
        }
    }

    /// Runs until the pod is gone or the drain signal, at which its containers are left running.
    pub async fn run(mut self, drain: Drain) {
        loop {
            // Boxed, as other large futures here: unoptimised builds would copy them over a deep stack.
            let began = self.context.env.instant();
            let outcome = drain.until(Box::pin(self.sync())).await;
            let operation = if self.state.is_ending() { "kill" } else { "sync" };
            self.context.metrics.pod_synced(operation, began.elapsed());
            let next = match outcome {
                None => return,
                Some(Ok(next)) => next,
                Some(Err(err)) => {
                    tracing::warn!(err = %err, "pod cannot be synced and is tried again");
                    Next::Rest(Some(self.in_time(RETRY)))
                }
            };
            let until = match next {
                Next::Done => return,
                Next::Again => continue,
                Next::Rest(until) => until.unwrap_or_else(|| self.in_time(RESYNC)),
            };
            let wait = Duration::try_from(until.duration_since(self.context.env.now())).unwrap_or(Duration::ZERO);
            tokio::select! {
                () = drain.drained() => return,
                () = self.wake.notified() => {}
                () = self.context.env.sleep(wait) => {}
                changed = self.updates.changed() => if changed.is_err() { return },
            }
        }
    }

    fn in_time(&self, duration: Duration) -> Timestamp {
        self.context.env.now().saturating_add(duration).unwrap_or(Timestamp::MAX)
    }

    async fn sync(&mut self) -> Result<Next, ObserveError> {
        let update = self.updates.borrow_and_update().clone();
        self.state.pod = self.context.allocations.allocated(&update.pod);
        self.state.desired = update.pod;
        self.state.observe(&self.context).await?;
        if let Some(end) = update.end
            && !spec::is_terminal(&self.state.pod)
        {
            self.state.failure = Some(end);
        }
        let repin = (!pinning::apply(&self.context, &mut self.state).await).then(|| self.in_time(RESIZE_RETRY));
        let deadline = self.check_deadline();
        if !update.gone && !self.state.is_ending() {
            if let Some(at) = self.admit().await {
                return Ok(Next::Rest(Some(at)));
            }
            resize::decide(&self.context, &mut self.state, &self.wake).await;
        }
        if update.gone || self.state.is_ending() {
            return Box::pin(self.stop(update.gone)).await;
        }
        self.probes.reconcile(&self.state.pod, &self.state.observed);
        let next = Box::pin(self.bring_up()).await?;
        Ok(match next {
            Next::Rest(until) => Next::Rest([until, deadline, repin].into_iter().flatten().min()),
            next => next,
        })
    }

    /// The time at which the pod has run for as long as it may; past it, the pod has failed.
    fn check_deadline(&mut self) -> Option<Timestamp> {
        let seconds = spec::spec(&self.state.pod).active_deadline_seconds?;
        let started = self.state.pod.status.as_ref().and_then(|status| status.start_time.clone())?.0;
        let deadline = started.saturating_add(jiff::SignedDuration::from_secs(seconds)).ok()?;
        if deadline <= self.context.env.now() && !self.state.is_ending() {
            let message = "Pod was active on the node longer than the specified deadline".to_owned();
            self.context.event(&self.state.pod, None, EventType::Normal, "DeadlineExceeded", message.clone());
            self.state.failure = Some(Failure::new("DeadlineExceeded", message));
        }
        Some(deadline)
    }

    /// Refuses a pod that does not fit. What runs already was let in before. Where it cannot be told yet, the time at
    /// which to ask again.
    async fn admit(&mut self) -> Option<Timestamp> {
        if self.state.admitted {
            return None;
        }
        let pod = Arc::clone(&self.state.desired);
        let began = !self.state.observed.sandboxes.is_empty() || spec::phase(&pod) == "Running";
        let refusal = if began { None } else { admission::admit(&self.context, &pod).await.err() };
        if refusal.as_ref().is_some_and(|refusal| refusal.is_early(&self.context)) {
            return Some(self.in_time(RETRY));
        }
        self.state.admitted = true;
        if let Some(refusal) = refusal {
            let reason = refusal.reason();
            self.context.metrics.admission.rejected(&reason);
            self.refuse(reason, refusal.to_string());
            return None;
        }
        let dir = self.context.config.pod_dir(spec::uid(&pod));
        if let Err(err) = self.context.allocations.begin(&pod, &dir).await {
            tracing::warn!(uid = spec::uid(&pod), err = %err, "what the pod was given cannot be written down");
        }
        self.state.pod = self.context.allocations.allocated(&pod);
        if began {
            self.context.managers.readmit(&self.state.pod).await;
        }
        self.state.progress = resize::unfinished(&self.context, &self.state);
        None
    }

    /// Ends a pod that cannot run here.
    fn refuse(&mut self, reason: impl Into<Cow<'static, str>>, message: String) {
        let reason = reason.into();
        self.state.failure = Some(Failure::new(reason.as_ref(), format!("Pod was rejected: {message}")));
        self.context.event(&self.state.pod, None, EventType::Warning, reason, message);
    }

    fn plan(&self) -> Plan {
        let probes = self.probes.results();
        plan::plan(&plan::Input {
            pod: &self.state.pod,
            observed: &self.state.observed,
            status: self.state.status(),
            probes: &probes,
            back_off: &self.state.back_off,
            held: &self.state.held,
            restarting: &self.state.restarting,
            now: self.context.env.now(),
        })
    }

    /// Takes the next steps of a pod that should run.
    async fn bring_up(&mut self) -> Result<Next, ObserveError> {
        let plan = self.plan();
        self.state.note_crash_loops(&self.context, plan.waiting.clone());
        self.state.publish(&self.context, &self.probes);
        cleanup::dead_instances(&self.context, &self.state.pod, &self.state.observed).await;
        if let Some(why) = plan.kill_pod {
            if self.state.observed.is_stopped() {
                return Ok(Next::Rest(None));
            }
            if why == KillPod::SandboxChanged {
                let message = "Pod sandbox changed, it will be killed and re-created.".to_owned();
                self.context.event(&self.state.pod, None, EventType::Normal, "SandboxChanged", message);
            }
            return Ok(self.kill_all(spec::grace_period(&self.state.pod)).await);
        }
        self.references.hold(&self.context, &self.state.pod, &self.wake);
        let mounted = match self.mount().await {
            Ok(Some(mounted)) => mounted,
            Ok(None) => return Ok(Next::Again),
            Err(at) => return Ok(Next::Rest(Some(at))),
        };
        if plan.is_rest() {
            let retry = match resize::apply(&self.context, &mut self.state).await {
                resize::Applied::Some => return Ok(Next::Again),
                resize::Applied::All => None,
                resize::Applied::Restart(kills) => return Ok(self.kill(kills).await.unwrap_or(Next::Again)),
                resize::Applied::Failed => {
                    self.state.publish(&self.context, &self.probes);
                    Some(self.in_time(RESIZE_RETRY))
                }
            };
            return Ok(Next::Rest([plan.wake_at, mounted.refresh_at, retry].into_iter().flatten().min()));
        }
        if let Some(attempt) = plan.create_sandbox {
            return Ok(self.create_sandbox(attempt).await);
        }
        if let Some(next) = self.kill(plan.kill).await {
            return Ok(next);
        }
        for start in plan.start {
            if self.start(start, &mounted).await.is_none() {
                return Ok(Next::Again);
            }
        }
        Ok(Next::Again)
    }

    /// Stops containers one after the other; what follows where it does not come to the end of it.
    async fn kill(&mut self, kills: Vec<Kill>) -> Option<Next> {
        for kill in kills {
            if kill.restart {
                self.state.restarting.insert(kill.id.clone());
            }
            let (context, pod) = (Arc::clone(&self.context), Arc::clone(&self.state.pod));
            let ip = self.state.pod_ip();
            let work = async move {
                let target = Target { id: &kill.id, name: &kill.name, grace: kill.grace };
                kill::container(&context, &pod, &target, &Reason::Plan(kill.message), ip.as_deref()).await
            };
            match self.attend(Box::pin(work), Update::wants_stop).await {
                Some(true) => {}
                Some(false) => return Some(Next::Rest(Some(self.in_time(RETRY)))),
                None => return Some(Next::Again),
            }
        }
        None
    }

    /// Brings volumes and cgroup in place: `None` if interrupted, `Err` says when to try again.
    async fn mount(&mut self) -> Result<Option<Mounted>, Timestamp> {
        let context = Arc::clone(&self.context);
        let pod = Arc::clone(&self.state.pod);
        if let Err(err) = resize::make_room(&context, &mut self.state).await {
            let message = format!("error: unable to ensure pod container exists: {err}");
            context.event(&pod, None, EventType::Warning, "FailedCreatePodContainer", message);
            return Err(self.in_time(RETRY));
        }
        let references = std::mem::take(&mut self.references);
        let outcome = self.attend(Box::pin(volumes::mount(&context, &pod, &references)), Update::wants_stop).await;
        self.references = references;
        match outcome {
            None => Ok(None),
            Some(Ok(mounted)) => {
                (self.mount_failures, self.mount_failing_since) = (0, None);
                for err in &mounted.outdated {
                    context.event(&pod, None, EventType::Warning, "FailedMount", err.to_string());
                }
                Ok(Some(mounted))
            }
            Some(Err(err)) => {
                let since = *self.mount_failing_since.get_or_insert(context.env.instant());
                if err.kind == FaultKind::Exhausted && since.elapsed() >= context.config.csi.attach_patience {
                    self.refuse("VolumeAttachmentLimitExceeded", no_room(&err));
                    return Ok(None);
                }
                context.event(&pod, None, EventType::Warning, "FailedMount", err.to_string());
                let delay = Duration::from_millis(500) * 2u32.saturating_pow(self.mount_failures.min(8));
                self.mount_failures += 1;
                let waits = err.kind == FaultKind::Waits;
                let longest = if waits { LONGEST_CLAIM_RETRY } else { LONGEST_MOUNT_RETRY };
                Err(self.in_time(delay.min(longest)))
            }
        }
    }

    /// How long the pod may take to stop.
    fn grace(&self) -> i64 {
        let own = spec::grace_period(&self.state.pod);
        self.state.failure.as_ref().and_then(|failure| failure.grace).map_or(own, |most| own.min(most))
    }

    async fn create_sandbox(&mut self, attempt: u32) -> Next {
        let (context, pod) = (Arc::clone(&self.context), Arc::clone(&self.state.pod));
        let work = Box::pin(async move { start::sandbox(&context, &pod, attempt).await });
        match self.attend(work, Update::wants_stop).await {
            None => {}
            Some(Ok(())) => {
                self.context.metrics.sandbox_started(true);
                self.state.held.remove(SANDBOX);
                self.state.sandbox_failures = 0;
            }
            Some(Err(err)) => {
                self.context.metrics.sandbox_started(false);
                tracing::warn!(name = spec::name(&self.state.pod), err = %err, "sandbox cannot be made");
                self.state.sandbox_failures += 1;
                let delay = Duration::from_secs(1) * 2u32.saturating_pow(self.state.sandbox_failures.min(6) - 1);
                let until = self.in_time(delay);
                self.state.held.insert(SANDBOX.to_owned(), until);
            }
        }
        Next::Again
    }

    /// Starts one container; `None` if interrupted.
    async fn start(&mut self, start: Start, mounted: &Mounted) -> Option<()> {
        let context = Arc::clone(&self.context);
        let pod = Arc::clone(&self.state.pod);
        let sandbox = self.state.observed.ready_sandbox().cloned()?;
        let container = spec::container(&pod, &start.name)?;
        if let Some(ended_at) = start.ended_at {
            self.state.back_off.next(&plan::back_off_key(&container), ended_at, context.env.now());
        }
        let name = start.name.clone();
        self.state.starting.push(name.clone());
        let references = std::mem::take(&mut self.references);
        let observed = self.state.observed.clone();
        let around =
            Surroundings { pod: &pod, observed: &observed, sandbox: &sandbox, mounted, references: &references };
        let outcome = self.attend(Box::pin(start::container(&context, &around, &start)), Update::wants_stop).await;
        self.references = references;
        self.state.starting.retain(|starting| *starting != name);
        if let Some(outcome) = &outcome {
            let failure = outcome.as_ref().err().map(|err| err.reason);
            context.metrics.container_started(spec::container_type(&pod, &name), failure);
        }
        match outcome {
            None => return None,
            Some(Ok(())) => {
                self.state.held.remove(&name);
                self.state.failed.remove(&name);
            }
            Some(Err(err)) => {
                let until = err.retry_at.unwrap_or_else(|| self.in_time(HOLD));
                let waiting = Waiting { reason: err.reason.to_owned(), message: err.message };
                self.state.failed.insert(name.clone(), waiting);
                self.state.held.insert(name, until);
            }
        }
        // Each start shows at once, however long the next one takes.
        if self.state.observe(&context).await.is_ok() {
            self.probes.reconcile(&pod, &self.state.observed);
            self.state.publish(&context, &self.probes);
        }
        Some(())
    }

    /// Stops all of the pod within `grace`. Only somebody in more haste, who deletes it or the node itself, makes it
    /// begin anew: hooks that ran once are not run again.
    async fn kill_all(&mut self, grace: i64) -> Next {
        let (context, pod) = (Arc::clone(&self.context), Arc::clone(&self.state.pod));
        let observed = self.state.observed.clone();
        let work = Box::pin(async move { kill::pod(&context, &pod, &observed, grace).await });
        match self.attend(work, |update| update.grace_period() < grace).await {
            Some(false) => Next::Rest(Some(self.in_time(RETRY))),
            Some(true) | None => Next::Again,
        }
    }

    /// Takes the next steps of a pod that should stop.
    async fn stop(&mut self, gone: bool) -> Result<Next, ObserveError> {
        self.probes.stop_all_but_readiness(&self.state.pod, &self.state.observed);
        if !self.state.observed.is_stopped() {
            self.state.publish(&self.context, &self.probes);
            return Ok(self.kill_all(self.grace()).await);
        }
        self.probes.stop();
        self.references = References::default();
        self.state.stopped = true;
        (self.state.pending, self.state.progress) = (None, None);
        self.state.publish(&self.context, &self.probes);
        let context = Arc::clone(&self.context);
        let uid = spec::uid(&self.state.pod).to_owned();
        if let Err(err) = context.resource_claims.unprepare(&uid).await {
            tracing::warn!(uid, err = %err, "the pod's claims cannot be taken back and are tried again");
            return Ok(Next::Rest(Some(self.in_time(RETRY))));
        }
        if let Err(err) = cleanup::release(&context, &self.state.pod).await {
            tracing::warn!(uid, err = %err, "what the pod held cannot be released and is tried again");
            return Ok(Next::Rest(Some(self.in_time(RETRY))));
        }
        self.state.limits = None;
        self.released.send_replace(true);
        context.allocations.forget(&uid);
        context.managers.release(&uid).await;
        context.users.forget(&uid);
        if !gone && !spec::is_deleted(&self.state.pod) {
            return Ok(Next::Rest(None));
        }
        if !gone {
            context.statuses.flush(&uid).await;
            if let Err(err) = cleanup::delete_from_api(&context, &self.state.pod).await {
                tracing::warn!(uid, err = %err, "pod cannot be deleted from the API and is tried again");
                return Ok(Next::Rest(Some(self.in_time(RETRY))));
            }
        }
        if let Err(err) = cleanup::remove(&context, &self.state.pod, &self.state.observed).await {
            tracing::warn!(uid, err = %err, "what is left of the pod cannot be removed and is tried again");
            return Ok(Next::Rest(Some(self.in_time(RETRY))));
        }
        context.statuses.forget(&uid);
        // Until the API says so itself, the pod's deletion is only asked for.
        Ok(if gone { Next::Done } else { Next::Rest(None) })
    }

    /// Does a piece of work; meanwhile keeps the status up to date. `None` where an update interrupted it. What came
    /// meanwhile is looked at again once the worker rests: what it is doing was planned without it.
    async fn attend<T>(&mut self, work: impl Future<Output = T>, interrupts: impl Fn(&Update) -> bool) -> Option<T> {
        let mut work = pin!(work);
        let (mut updated, mut woken) = (false, false);
        let done = loop {
            tokio::select! {
                biased;
                done = &mut work => break Some(done),
                changed = self.updates.changed() => {
                    updated = true;
                    if changed.is_err() || interrupts(&self.updates.borrow()) {
                        break None;
                    }
                }
                () = self.wake.notified() => {
                    woken = true;
                    if self.state.observe(&self.context).await.is_ok() {
                        // What does not move now is tried again when this work is done.
                        pinning::apply(&self.context, &mut self.state).await;
                        if !self.state.is_ending() {
                            self.probes.reconcile(&self.state.pod, &self.state.observed);
                        }
                        self.state.publish(&self.context, &self.probes);
                    }
                }
            }
        };
        if updated {
            self.updates.mark_changed();
        }
        if woken {
            self.wake.notify_one();
        }
        done
    }
}

/// What upstream's kubelet says where the node has as many volumes as it can have.
fn no_room(err: &VolumeError) -> String {
    let VolumeError { volume, message, .. } = err;
    format!(
        "Node has reached its volume attachment limit, rejecting pod. unmounted volumes=[{volume}], \
         unattached volumes=[{volume}], failed to process volumes=[]: {message}"
    )
}

/// How long a container whose start failed is left alone, where the failure itself does not say.
const HOLD: Duration = Duration::from_secs(5);

impl Update {
    fn wants_stop(&self) -> bool {
        self.gone || self.end.is_some() || spec::is_deleted(&self.pod) || spec::is_terminal(&self.pod)
    }

    fn grace_period(&self) -> i64 {
        let own = spec::grace_period(&self.pod);
        self.end.as_ref().and_then(|end| end.grace).map_or(own, |most| own.min(most))
    }
}
