//! Tasks that come while others run: a handle that anybody may hold, and one owner who runs what it is handed.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::{TaskFailure, Tasks};

type Named = (String, Pin<Box<dyn Future<Output = ()> + Send>>);

/// Hands tasks to their owner. Cheap to clone.
#[derive(Clone)]
pub struct Spawner(mpsc::UnboundedSender<Named>);

/// The tasks that spawners hand over; whoever holds it runs them with [`SpawnedTasks::run_until`].
pub struct SpawnedTasks {
    receiver: mpsc::UnboundedReceiver<Named>,
    running: Tasks,
}

/// The owner ended before the task did, or before it could start.
#[derive(Debug, thiserror::Error)]
#[error("the owner of the task has ended")]
pub struct OwnerEnded;

/// A handle, and what runs its tasks.
pub fn spawner() -> (Spawner, SpawnedTasks) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Spawner(sender), SpawnedTasks { receiver, running: Tasks::new() })
}

impl Spawner {
    /// Lets the owner run `task`. After the owner's end tasks are dropped, for then nothing new is to be started.
    pub fn spawn(&self, name: impl Into<String>, task: impl Future<Output = ()> + Send + 'static) {
        let _ = self.0.send((name.into(), Box::pin(task)));
    }

    /// Runs `operation` to its end also where the caller goes away meanwhile, for it must not stop half-way.
    pub async fn detached<T: Send + 'static>(
        &self,
        name: impl Into<String>,
        operation: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, OwnerEnded> {
        let (sender, receiver) = oneshot::channel();
        self.spawn(name, async move {
            // Nobody may wait any more, and what was done stays done.
            let _ = sender.send(operation.await);
        });
        receiver.await.map_err(|_| OwnerEnded)
    }
}

impl SpawnedTasks {
    /// Runs what comes until `end` completes, and tells `failed` of each task that failed.
    pub async fn run_until<F: Future>(&mut self, end: F, mut failed: impl FnMut(TaskFailure)) -> F::Output {
        tokio::pin!(end);
        loop {
            tokio::select! {
                output = &mut end => return output,
                Some((name, task)) = self.receiver.recv() => self.running.spawn(name, task),
                Some((_, end)) = self.running.join_next(), if !self.running.is_empty() => {
                    end.unwrap_or_else(&mut failed);
                }
            }
        }
    }

    /// Takes nothing new, and gives what runs `deadline` to end. Returns every failure.
    pub async fn shutdown(mut self, deadline: Duration) -> Vec<TaskFailure> {
        self.receiver.close();
        self.running.shutdown(deadline).await
    }
}

impl fmt::Debug for Spawner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Spawner")
    }
}

impl fmt::Debug for SpawnedTasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpawnedTasks").field("running", &self.running).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_operation_outlives_its_caller() {
        let (spawner, mut tasks) = spawner();
        let (told, mut seen) = mpsc::unbounded_channel();
        let (release, released) = oneshot::channel::<()>();
        let operation = async move {
            told.send("started").expect("the test waits");
            let _ = released.await;
            told.send("done").expect("the test waits");
        };
        let caller = tokio::spawn({
            let spawner = spawner.clone();
            async move { spawner.detached("operation", operation).await }
        });
        let end = async {
            assert_eq!(seen.recv().await, Some("started"));
            caller.abort();
            assert!(caller.await.expect_err("it was aborted").is_cancelled());
            let _ = release.send(());
            seen.recv().await
        };
        assert_eq!(tasks.run_until(end, |failure| panic!("{failure}")).await, Some("done"));
    }

    #[tokio::test]
    async fn whoever_waits_learns_of_the_owners_end() {
        let (spawner, tasks) = spawner();
        tasks.shutdown(Duration::ZERO).await;
        spawner.detached("late", async {}).await.expect_err("nobody runs it");
    }

    #[tokio::test]
    async fn failures_are_told_and_do_not_end_the_others() {
        let (spawner, mut tasks) = spawner();
        spawner.spawn("panics", async { panic!("bad index") });
        let (told, mut failures) = mpsc::unbounded_channel();
        let end = async {
            let failure = failures.recv().await;
            (failure, spawner.detached("goes on", async { 7 }).await.expect("it runs"))
        };
        let told = |failure: TaskFailure| told.send(failure.to_string()).expect("the test waits");
        assert_eq!(tasks.run_until(end, told).await, (Some("panics: panicked: bad index".to_owned()), 7));
    }
}
