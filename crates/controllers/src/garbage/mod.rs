//! Garbage collection by owner references.
//!
//! An object whose owners are all gone is deleted (background). An object that is deleted in the foreground waits
//! until the dependents that block it are gone; one that is deleted with orphaning lets its dependents go first. The
//! graph of owners and dependents is in the metadata informers of all kinds, indexed by owner; what an informer does
//! not show is looked up before anything is deleted.

mod decide;
mod item;
mod kinds;
mod patches;

use std::sync::Arc;
use std::time::Duration;

use base::{Drain, Tasks};
use client::discovery::{Offered, discover};
use client::{Backoff, Controller, ControllerError, Event, Metadata, Queue, objects};
use tokio::sync::mpsc;

use crate::context::Context;
use crate::error::{Attempt, SyncError};
use item::{Item, Task};
use kinds::{Kind, Kinds};

const WORKERS: usize = 20;
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(1);
/// How long to wait for all informers before starting; what is missing then is looked up.
const SYNC_DEADLINE: Duration = Duration::from_secs(30);
/// Kinds come and go with several writes of their definition: discovery waits for the last one.
const DISCOVERY_DELAY: Duration = Duration::from_millis(500);
const DISCOVERY_RETRY: Duration = Duration::from_secs(30);
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(5), longest: Duration::from_secs(300) };

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

struct Collector {
    context: Context,
    kinds: Kinds,
    /// Kinds that were found, to the task that follows their events.
    found: mpsc::UnboundedSender<Kind>,
}

/// Runs the controller until the drain signal.
pub(crate) async fn run(context: Context, drain: Drain) -> Result<(), ControllerError> {
    let (found, mut new_kinds) = mpsc::unbounded_channel();
    let collector = Arc::new(Collector { kinds: Kinds::default(), found, context: context.clone() });
    let controller = Controller::<Task>::with_backoff("garbage-collector-controller", context.env.clone(), BACKOFF);
    let controller = controller.workers(WORKERS);
    let queue = controller.queue();

    let mut delay = BACKOFF.first;
    while let Err(err) = collector.discover().await {
        tracing::debug!(err = %err, "discovery failed");
        if drain.until(context.env.sleep(context.env.random().jitter(delay, 1.0))).await.is_none() {
            return Ok(());
        }
        delay = (delay * 2).min(SYNC_DEADLINE);
    }
    let for_events = Arc::clone(&collector);
    let event_drain = drain.clone();
    let mut tasks = Tasks::new();
    tasks.spawn("garbage collector events", async move {
        let mut pumps = Tasks::new();
        loop {
            tokio::select! {
                () = event_drain.drained() => break,
                Some(kind) = new_kinds.recv() => {
                    let (collector, queue) = (Arc::clone(&for_events), queue.clone());
                    let (drain, name) = (event_drain.clone(), format!("events of {}", kind.offered.resource.plural));
                    pumps.spawn(name, async move {
                        drain.until(collector.follow(kind, queue)).await;
                    });
                }
                Some((_, ended)) = pumps.join_next(), if !pumps.is_empty() => {
                    if let Err(failure) = ended {
                        tracing::error!(err = %failure, "events are no longer followed");
                    }
                }
            }
        }
    });
    // Informers that cannot sync (an aggregated API server that is down) must not hold up all others.
    let synced = tokio::time::timeout(SYNC_DEADLINE, collector.kinds.all_synced());
    if drain.until(synced).await.is_none() {
        return Ok(());
    }
    let result = controller
        .run(drain, move |task| {
            let collector = Arc::clone(&collector);
            async move { collector.sync(task).await }
        })
        .await;
    tasks.shutdown(SHUTDOWN_DEADLINE).await;
    result
}

impl Collector {
    /// Follows the events of one kind until the kind is no longer served.
    async fn follow(&self, kind: Kind, queue: Queue<Task>) {
        let mut events = kind.informer.subscribe();
        let defines_kinds = kind.defines_kinds();
        loop {
            let event = tokio::select! {
                () = kind.stopped() => return,
                event = events.next() => event,
            };
            if defines_kinds {
                queue.add_after(Task::Discover, DISCOVERY_DELAY);
            }
            self.on_event(&kind.offered, &event, &queue);
        }
    }

    fn on_event(&self, offered: &Offered, event: &Event<Metadata>, queue: &Queue<Task>) {
        let object = event.object();
        let meta = &object.metadata;
        if event.is_deleted() {
            for dependent in self.kinds.dependents(objects::uid(&**object)) {
                queue.add(Task::Item(dependent));
            }
        } else {
            let owners_changed = event.old().is_none_or(|old| old.metadata.owner_references != meta.owner_references);
            let has_owners = meta.owner_references.as_ref().is_some_and(|owners| !owners.is_empty());
            let waits = meta.deletion_timestamp.is_some()
                && meta.finalizers.iter().flatten().any(|f| f == FOREGROUND || f == ORPHAN);
            if waits || (owners_changed && has_owners) {
                queue.add(Task::Item(Item::of(offered, object)));
            }
        }
        // An owner that waits for this object may be able to go on.
        let (before, now) = (event.old().map(|old| &old.metadata), meta);
        let changed =
            event.is_deleted() || before.is_some_and(|before| before.owner_references != now.owner_references);
        if changed {
            let owners = before.into_iter().chain([now]).flat_map(|meta| meta.owner_references.iter().flatten());
            for owner in owners {
                let namespace = meta.namespace.as_deref();
                if let Some((offered, found)) = self.kinds.find_owner(owner, namespace)
                    && objects::is_deleting(&*found)
                {
                    queue.add(Task::Item(Item::of(&offered, &found)));
                }
            }
        }
    }

    async fn sync(&self, task: Task) -> Result<Option<Duration>, SyncError> {
        match task {
            Task::Item(item) => self.sync_item(&item).await.map(|()| None),
            Task::Discover => self.discover().await,
        }
    }

    /// Finds out which kinds there are; asks to be called again where some could not be had.
    async fn discover(&self) -> Result<Option<Duration>, SyncError> {
        let key = client::ObjectKey::cluster("all");
        let discovered = discover(&self.context.client).await.attempt("discover resources", &key)?;
        let incomplete = !discovered.failures.is_empty();
        for kind in self.kinds.update(discovered, &self.context.informers) {
            // Nobody receives any more only when the controller has ended.
            let _ = self.found.send(kind);
        }
        Ok(incomplete.then_some(DISCOVERY_RETRY))
    }
}
