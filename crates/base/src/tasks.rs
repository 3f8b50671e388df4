//! A set of tasks with an owner: each has a name, and its end is observed.

use std::any::Any;
use std::collections::HashMap;
use std::fmt::Display;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};

use crate::Drain;

/// Why a task ended early.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// It returned an error.
    #[error("{0}")]
    Failed(String),
    /// It returned before anybody asked it to.
    #[error("ended by itself")]
    Ended,
    /// It panicked; the text is the panic's message.
    #[error("panicked: {0}")]
    Panicked(String),
    /// It did not end before the deadline of a shutdown and was aborted.
    #[error("did not end in time and was aborted")]
    Aborted,
}

/// The end of a task that should not have ended so.
#[derive(Debug, thiserror::Error)]
#[error("{task}: {error}")]
pub struct TaskFailure {
    /// The name under which the task was spawned.
    pub task: String,
    /// What happened.
    #[source]
    pub error: TaskError,
}

/// The tasks of one owner. Dropping the set aborts what still runs.
#[derive(Debug, Default)]
pub struct Tasks {
    set: JoinSet<Result<(), String>>,
    names: HashMap<Id, String>,
}

impl Tasks {
    /// An empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Spawns a task that cannot fail.
    pub fn spawn<F>(&mut self, name: impl Into<String>, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.spawn_fallible(name, async move {
            future.await;
            Ok::<_, String>(())
        });
    }

    /// Spawns a task whose error is reported by [`Tasks::join_next`] and [`Tasks::shutdown`].
    pub fn spawn_fallible<F, E>(&mut self, name: impl Into<String>, future: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Display,
    {
        // `{:#}` lets an error with sources print its whole chain.
        let handle = self.set.spawn(async move { future.await.map_err(|err| format!("{err:#}")) });
        self.names.insert(handle.id(), name.into());
    }

    /// Whether no task is left.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    /// Waits for the next task to end: its name, and its failure if it had one. `None` when no task is left.
    ///
    /// Cancel safe.
    pub async fn join_next(&mut self) -> Option<(String, Result<(), TaskFailure>)> {
        let joined = self.set.join_next_with_id().await?;
        Some(self.observe(joined))
    }

    /// Waits for `drain`. Every task is meant to run until then: the first that ends before it, well or not, is a
    /// failure.
    ///
    /// Cancel safe.
    pub async fn run_until(&mut self, drain: &Drain) -> Result<(), TaskFailure> {
        let ended = tokio::select! {
            biased;
            () = drain.drained() => return Ok(()),
            Some(ended) = self.join_next() => ended,
        };
        match ended {
            // Tasks see the signal too, and one may have been faster.
            (_, Ok(())) if drain.is_draining() => Ok(()),
            (task, Ok(())) => Err(TaskFailure { task, error: TaskError::Ended }),
            (_, Err(failure)) => Err(failure),
        }
    }

    /// Waits until all tasks have ended, at most for `deadline`, then aborts the rest. Returns every failure.
    pub async fn shutdown(mut self, deadline: Duration) -> Vec<TaskFailure> {
        let mut failures = Vec::new();
        let all_ended = tokio::time::timeout(deadline, async {
            while let Some((_, end)) = self.join_next().await {
                failures.extend(end.err());
            }
        })
        .await;
        if all_ended.is_err() {
            self.set.abort_all();
            while let Some((_, end)) = self.join_next().await {
                failures.extend(end.err());
            }
        }
        failures
    }

    fn observe(&mut self, joined: Result<(Id, Result<(), String>), JoinError>) -> (String, Result<(), TaskFailure>) {
        let (id, result) = match joined {
            Ok((id, result)) => (id, result.map_err(TaskError::Failed)),
            Err(err) if err.is_cancelled() => (err.id(), Err(TaskError::Aborted)),
            Err(err) => (err.id(), Err(TaskError::Panicked(panic_message(err)))),
        };
        let task = self.names.remove(&id).unwrap_or_default();
        let result = result.map_err(|error| TaskFailure { task: task.clone(), error });
        (task, result)
    }
}

fn panic_message(err: JoinError) -> String {
    fn text(payload: &(dyn Any + Send)) -> Option<String> {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        text.or_else(|| payload.downcast_ref::<String>().cloned())
    }
    err.try_into_panic().ok().and_then(|payload| text(&*payload)).unwrap_or_else(|| "no message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn every_end_is_observed() {
        let mut tasks = Tasks::new();
        tasks.spawn("fine", async {});
        tasks.spawn_fallible("fails", async { Err("no disk") });
        tasks.spawn("panics", async { panic!("bad index") });
        tasks.spawn("hangs", std::future::pending());
        let mut ends: Vec<String> =
            tasks.shutdown(Duration::from_secs(5)).await.iter().map(ToString::to_string).collect();
        ends.sort();
        assert_eq!(
            ends,
            ["fails: no disk", "hangs: did not end in time and was aborted", "panics: panicked: bad index"]
        );
    }

    #[tokio::test]
    async fn who_ends_before_the_drain_is_told() {
        #[track_caller]
        fn check(end: Result<(), TaskFailure>, expected: &str) {
            assert_eq!(end.map_or_else(|failure| failure.to_string(), |()| "drained".to_owned()), expected);
        }
        let (trigger, drain) = crate::drain();
        let mut tasks = Tasks::new();
        tasks.spawn("lasts", drain.clone().drained_owned());
        tasks.spawn("returns", async {});
        check(tasks.run_until(&drain).await, "returns: ended by itself");
        tasks.spawn_fallible("fails", async { Err("no disk") });
        check(tasks.run_until(&drain).await, "fails: no disk");
        trigger.drain();
        check(tasks.run_until(&drain).await, "drained");
    }
}
