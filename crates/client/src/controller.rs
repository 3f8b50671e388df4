//! Ties informers, a queue and a sync function together: the shape of every controller.

use std::fmt::Display;
use std::hash::Hash;
use std::time::Duration;

use base::{Drain, Env, TaskFailure, Tasks};
use futures::future::BoxFuture;

use crate::informer::Object;
use crate::{Backoff, Event, Informer, ObjectKey, Queue, run_workers};

/// How long the event pumps may take to end after the drain signal.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(1);

/// Why a controller ended early.
#[derive(Debug, thiserror::Error)]
#[error("controller {controller} failed")]
pub struct RunError {
    controller: &'static str,
    source: TaskFailure,
}

/// A controller in the making: informers whose events become keys, and how many workers sync keys.
///
/// ```text
/// Controller::new("replicaset", env)
///     .watch_own(&replica_sets)
///     .watch(&pods, |event, queue| queue.add(owner_of(event.object())))
///     .run(drain, move |key| sync(context.clone(), key))
///     .await
/// ```
pub struct Controller<T = ObjectKey> {
    name: &'static str,
    queue: Queue<T>,
    workers: usize,
    pumps: Vec<BoxFuture<'static, ()>>,
    synced: Vec<BoxFuture<'static, ()>>,
}

impl<T: Clone + Eq + Hash + Display + Send + 'static> Controller<T> {
    /// A controller with one worker that watches nothing yet.
    pub fn new(name: &'static str, env: Env) -> Self {
        Self::with_backoff(name, env, Backoff::default())
    }

    /// The same with its own back-off for failed keys.
    pub fn with_backoff(name: &'static str, env: Env, backoff: Backoff) -> Self {
        let queue = Queue::with_backoff(env, backoff);
        Self { name, queue, workers: 1, pumps: Vec::new(), synced: Vec::new() }
    }

    /// How many keys are synced at the same time.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// The queue, for keys that come from elsewhere than informers.
    pub fn queue(&self) -> Queue<T> {
        self.queue.clone()
    }

    /// Follows an informer; `map` adds the keys that an event concerns to the queue.
    #[must_use]
    pub fn watch<K: Object>(
        mut self,
        informer: &Informer<K>,
        map: impl Fn(&Event<K>, &Queue<T>) + Send + 'static,
    ) -> Self {
        let (mut events, queue) = (informer.subscribe(), self.queue.clone());
        self.pumps.push(Box::pin(async move {
            loop {
                let event = events.next().await;
                map(&event, &queue);
            }
        }));
        self.reads(informer)
    }

    /// Waits for an informer that the sync reads but that gives no keys.
    #[must_use]
    pub fn reads<K: Object>(mut self, informer: &Informer<K>) -> Self {
        let informer = informer.clone();
        self.synced.push(Box::pin(async move { informer.synced().await }));
        self
    }

    /// Runs until the drain signal: waits until all informers have read their initial state, then syncs keys.
    ///
    /// `sync` returns when the key should be synced again without any event; after an error the key is retried with
    /// back-off.
    pub async fn run<S, F, E>(self, drain: Drain, sync: S) -> Result<(), RunError>
    where
        S: Fn(T) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Option<Duration>, E>> + Send + 'static,
        E: Display + Send + 'static,
    {
        let Self { name, queue, workers, pumps, synced } = self;
        let failed = |source| RunError { controller: name, source };
        let mut tasks = Tasks::new();
        for pump in pumps {
            let drain = drain.clone();
            tasks.spawn(format!("{name} events"), async move {
                drain.until(pump).await;
            });
        }
        if drain.until(futures::future::join_all(synced)).await.is_none() {
            tasks.shutdown(SHUTDOWN_DEADLINE).await;
            return Ok(());
        }
        tracing::debug!(controller = name, workers, "controller started");
        let (trigger, worker_drain) = drain.child();
        let work = run_workers(name, queue, workers, worker_drain, sync);
        tokio::pin!(work);
        let result = loop {
            tokio::select! {
                ended = &mut work => break ended,
                // A pump ends before the drain signal only by a panic; the workers then finish what they have.
                Some((_, ended)) = tasks.join_next(), if !tasks.is_empty() => {
                    if let Err(failure) = ended {
                        trigger.drain();
                        work.await.map_err(failed)?;
                        break Err(failure);
                    }
                }
            }
        };
        tasks.shutdown(SHUTDOWN_DEADLINE).await;
        result.map_err(failed)
    }
}

impl Controller<ObjectKey> {
    /// Follows an informer; the key of every changed object is added to the queue.
    #[must_use]
    pub fn watch_own<K: Object>(self, informer: &Informer<K>) -> Self {
        self.watch(informer, |event, queue| queue.add(ObjectKey::of(&**event.object())))
    }
}
