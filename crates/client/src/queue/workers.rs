//! Workers that take keys from a queue and run a sync for each.

use std::fmt::Display;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use base::{Drain, TaskFailure, Tasks};
use tracing::Instrument;

use super::Queue;

/// How long the syncs that are running at the drain signal may take to end.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(10);

/// Runs `workers` workers until the drain signal. `sync` returns when the key should be synced again without any
/// event (`None`: never); after an error the key is retried with back-off. Returns early if a worker panics.
pub async fn run_workers<T, S, F, E>(
    name: &'static str,
    queue: Queue<T>,
    workers: usize,
    drain: Drain,
    sync: S,
) -> Result<(), TaskFailure>
where
    T: Clone + Eq + Hash + Display + Send + 'static,
    S: Fn(T) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Option<Duration>, E>> + Send + 'static,
    E: Display + Send + 'static,
{
    let sync = Arc::new(sync);
    let mut tasks = Tasks::new();
    for number in 0..workers {
        let (queue, sync) = (queue.clone(), Arc::clone(&sync));
        tasks.spawn(format!("{name} worker {number}"), async move {
            while let Some(key) = queue.get().await {
                let span = tracing::info_span!("sync", controller = name, key = %key);
                work(&queue, key, &*sync).instrument(span).await;
            }
        });
    }
    let failed = tokio::select! {
        () = drain.drained() => Ok(()),
        ended = tasks.join_next() => ended.map_or(Ok(()), |(_, result)| result),
    };
    queue.shut_down();
    let failures = tasks.shutdown(SHUTDOWN_DEADLINE).await;
    failed.and_then(|()| failures.into_iter().next().map_or(Ok(()), Err))
}

async fn work<T, S, F, E>(queue: &Queue<T>, key: T, sync: &S)
where
    T: Clone + Eq + Hash,
    S: Fn(T) -> F,
    F: Future<Output = Result<Option<Duration>, E>>,
    E: Display,
{
    let result = sync(key.clone()).await;
    match result {
        Ok(again) => {
            queue.forget(&key);
            if let Some(delay) = again {
                queue.add_after(key.clone(), delay);
            }
        }
        Err(err) => {
            let failures = queue.failures(&key) + 1;
            // The first failures are mostly conflicts with a newer write that the informer has not shown yet.
            if failures < 4 {
                tracing::debug!(err = %err, failures, "sync failed");
            } else {
                tracing::warn!(err = %err, failures, "sync failed");
            }
            queue.add_rate_limited(key.clone());
        }
    }
    queue.done(&key);
}
