//! The node's pods: a worker for each, and what wakes it.

mod admission;
mod allocation;
mod backoff;
mod cleanup;
mod conditions;
mod cri_config;
mod dns;
mod events;
mod grant;
mod hosts;
mod kill;
mod lifecycle;
mod lost;
mod messages;
pub mod names;
mod observe;
mod observed;
mod phase;
mod pinning;
mod plan;
mod publish;
mod pulse;
mod references;
mod resize;
mod source;
pub mod spec;
mod start;
mod state;
mod status;
mod users;
mod worker;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::{Drain, Tasks};
use client::{Event, ObjectKey};
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use tokio::sync::{Notify, watch};

pub use admission::{AllowedSysctls, InvalidSysctl, matches_node};
pub use allocation::Allocations;
pub use backoff::BackOff;
pub use cleanup::{CleanupError, delete_from_api, remove_unused_containers};
pub use cri_config::{NodeFacts, log_directory, selinux_options};
pub use dns::{NodeDns, parse_resolv_conf};
pub use observe::observe;
pub use observed::{Instance, Observed, State, timestamp};
pub use publish::StatusManager;
pub use pulse::Pulse;
pub use references::References;
pub use source::NodePods;
pub use status::{Failure, whole_seconds};
pub use users::{UnusableUsers, UserRanges, UserSettings};

use crate::context::Shared;
use crate::static_pods;
use worker::{Update, Worker};

/// How long workers may take to end after the drain signal.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(5);
/// After the runtime did not say what is left over.
const ADOPT_RETRY: Duration = Duration::from_secs(1);

/// The workers by their pods' UIDs, to wake them.
#[derive(Clone, Default)]
pub struct Workers(Arc<Mutex<HashMap<String, Handle>>>);

struct Handle {
    updates: watch::Sender<Update>,
    wake: Arc<Notify>,
    released: watch::Receiver<bool>,
}

impl Workers {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Handle>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a pod's worker was told that its pod is gone.
    fn is_gone(&self, uid: &str) -> bool {
        self.lock().get(uid).is_some_and(|handle| handle.updates.borrow().gone)
    }

    /// Ends a pod for a reason of the node's. A pod that has ended already stays as it is.
    pub fn end(&self, uid: &str, failure: Failure) {
        if let Some(handle) = self.lock().get(uid) {
            handle.updates.send_modify(|update| update.end = Some(failure));
        }
    }

    /// Whether a pod was ended for a reason of the node's.
    pub fn is_ended(&self, uid: &str) -> bool {
        self.lock().get(uid).is_some_and(|handle| handle.updates.borrow().end.is_some())
    }

    /// Waits until a pod has given back what it held of the node; one that has no worker has.
    pub async fn released(&self, uid: &str) {
        let released = self.lock().get(uid).map(|handle| handle.released.clone());
        if let Some(mut released) = released {
            // A worker that ended has released its pod, or will never do.
            let _ = released.wait_for(|released| *released).await;
        }
    }

    /// Makes a pod's worker look again.
    pub fn wake(&self, uid: &str) {
        if let Some(handle) = self.lock().get(uid) {
            handle.wake.notify_one();
        }
    }

    /// Makes all workers look again.
    pub fn wake_all(&self) {
        self.lock().values().for_each(|handle| handle.wake.notify_one());
    }
}

/// Runs the node's pods until the drain signal.
pub async fn run(context: Shared, drain: Drain) {
    let workers = context.workers.clone();
    let mut tasks = Tasks::new();
    tasks.spawn("container events", events::follow(Arc::clone(&context), workers.clone(), drain.clone()));
    let mut wanted = context.static_pods.wanted();
    // Static pods run whether there is an API or not, so they do not wait for it.
    if drain.until(wanted.wait_for(Option::is_some)).await.is_none() {
        return;
    }
    apply_manifests(&context, &workers, &mut tasks, &drain);
    let pods = context.pods.api().clone();
    let mut changes = pods.subscribe();
    let mut shared_cpus = context.managers.changes();
    // When what is left over is looked for; never again once that was found.
    let mut adopt_at = Some(context.env.instant());
    let mut asked = context.pulse.take();
    loop {
        let adoptable = async {
            // Before anything is removed as left over, the pods that should be here must be known.
            pods.synced().await;
            let wait = adopt_at.map(|at| at.saturating_duration_since(context.env.instant()));
            context.env.sleep(wait.unwrap_or_default()).await;
        };
        tokio::select! {
            () = drain.drained() => break,
            () = pulse::answer(&mut asked) => {}
            () = adoptable, if adopt_at.is_some() => {
                // A runtime that was killed as well comes back.
                let adopted = adopt(&context, &workers, &mut tasks, &drain).await;
                adopt_at = (!adopted).then(|| context.env.instant() + ADOPT_RETRY);
            }
            change = changes.next() => apply(&context, &workers, &mut tasks, &drain, &change),
            Ok(()) = shared_cpus.changed() => workers.wake_all(),
            Ok(()) = wanted.changed() => apply_manifests(&context, &workers, &mut tasks, &drain),
            Some((name, end)) = tasks.join_next() => {
                if let Err(err) = end {
                    tracing::error!(task = name, err = %err, "pod worker failed");
                }
                revive(&context, &workers, &mut tasks, &drain, &name);
                apply_manifests(&context, &workers, &mut tasks, &drain);
            }
        }
    }
    for err in tasks.shutdown(SHUTDOWN_DEADLINE).await {
        tracing::warn!(err = %err, "pod worker did not end well");
    }
}

/// Gives a worker to every pod of which something is left here and that the API no longer has. False where the runtime
/// did not say what there is.
async fn adopt(context: &Shared, workers: &Workers, tasks: &mut Tasks, drain: &Drain) -> bool {
    let known: Vec<String> = context.pods.list().iter().map(|pod| spec::uid(pod).to_owned()).collect();
    let found = match cleanup::leftovers(context).await {
        Ok(found) => found,
        Err(err) => {
            tracing::warn!(err = %err.message(), "pods left over cannot be listed and are looked for again");
            return false;
        }
    };
    context.managers.settle(|uid| known.iter().any(|one| one == uid) || found.contains_key(uid)).await;
    for (uid, (namespace, name)) in found.into_iter().filter(|(uid, _)| !known.contains(uid)) {
        tracing::info!(uid, namespace, name, "removing what is left of a pod that is gone");
        context.metrics.pod_orphaned();
        let mut pod = Pod { spec: Some(PodSpec::default()), ..Pod::default() };
        pod.metadata.uid = Some(uid);
        pod.metadata.namespace = Some(namespace);
        pod.metadata.name = Some(name);
        update(context, workers, tasks, drain, Arc::new(pod), true);
    }
    true
}

fn apply(context: &Shared, workers: &Workers, tasks: &mut Tasks, drain: &Drain, change: &Event<Pod>) {
    let gone = matches!(change, Event::Deleted(_));
    if let Event::Updated { old, new } = change
        && spec::uid(old) != spec::uid(new)
        && !static_pods::is_mirror(old)
    {
        // Another pod took the name between two looks: the first one is gone.
        update(context, workers, tasks, drain, Arc::clone(old), true);
    }
    if static_pods::is_mirror(change.object()) {
        return apply_mirror(context, workers, tasks, drain, change.object(), gone);
    }
    update(context, workers, tasks, drain, Arc::clone(change.object()), gone);
}

/// A mirror pod tells nothing but what the API has of the status of its static pod.
fn apply_mirror(context: &Shared, workers: &Workers, tasks: &mut Tasks, drain: &Drain, mirror: &Pod, gone: bool) {
    let key = ObjectKey::of(mirror);
    if let Some(pod) = context.static_pods.get(&key).filter(|pod| static_pods::is_mirror_of(mirror, pod)) {
        context.statuses.mirror(spec::uid(&pod), Some(mirror).filter(|_| !gone));
        // What the API says of it does not bring back a pod whose manifest is gone.
        if !workers.is_gone(spec::uid(&pod)) {
            let pod = context.pods.with_status(pod);
            update(context, workers, tasks, drain, pod, false);
        }
    }
    context.static_pods.look_at(key);
}

/// Gives workers to the static pods that manifests ask for, and ends those of the others. A pod that takes another
/// one's name waits until that has ended.
fn apply_manifests(context: &Shared, workers: &Workers, tasks: &mut Tasks, drain: &Drain) {
    let wanted = context.static_pods.wanted().borrow().clone().unwrap_or_default();
    for pod in context.static_pods.running() {
        if !wanted.values().any(|wanted| spec::uid(wanted) == spec::uid(&pod)) {
            update(context, workers, tasks, drain, pod, true);
        }
    }
    for pod in wanted.values() {
        if context.static_pods.begin(pod) {
            let pod = context.pods.with_status(Arc::clone(pod));
            update(context, workers, tasks, drain, pod, false);
        }
    }
}

fn update(context: &Shared, workers: &Workers, tasks: &mut Tasks, drain: &Drain, pod: Arc<Pod>, gone: bool) {
    let uid = spec::uid(&pod).to_owned();
    if let Some(handle) = workers.lock().get(&uid) {
        // What the node itself has decided stays.
        handle.updates.send_modify(|update| (update.pod, update.gone) = (pod, gone));
        return;
    }
    begin(context, workers, tasks, drain, Update { pod, gone, end: None });
}

/// Gives a worker to a pod that has none.
fn begin(context: &Shared, workers: &Workers, tasks: &mut Tasks, drain: &Drain, update: Update) {
    let uid = spec::uid(&update.pod).to_owned();
    let (updates, receiver) = watch::channel(update);
    let (releases, released) = watch::channel(false);
    let wake = Arc::new(Notify::new());
    let worker = Worker::new(Arc::clone(context), receiver, Arc::clone(&wake), releases);
    workers.lock().insert(uid.clone(), Handle { updates, wake, released });
    tasks.spawn(uid, worker.run(drain.clone()));
}

/// A worker ends when its pod is gone; one that ended though its pod is there gets a successor.
fn revive(context: &Shared, workers: &Workers, tasks: &mut Tasks, drain: &Drain, uid: &str) {
    let Some(handle) = workers.lock().remove(uid) else { return };
    let last = handle.updates.borrow().clone();
    if last.gone {
        context.static_pods.end(uid);
    } else {
        begin(context, workers, tasks, drain, last);
    }
}
