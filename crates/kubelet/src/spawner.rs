//! Tasks that come and go at run time, in one set with an owner.

use std::time::Duration;

use base::{Drain, Tasks};
use futures::future::BoxFuture;
use tokio::sync::mpsc;

/// How long tasks may take to end after the drain signal.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(5);

type Named = (String, BoxFuture<'static, ()>);

/// Hands tasks to the set. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Spawner {
    sender: mpsc::UnboundedSender<Named>,
    drain: Drain,
}

/// The set that tasks are handed to; it has to be run.
pub struct TaskSet {
    receiver: mpsc::UnboundedReceiver<Named>,
    drain: Drain,
}

/// A handle and its set.
pub fn spawner(drain: Drain) -> (Spawner, TaskSet) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Spawner { sender, drain: drain.clone() }, TaskSet { receiver, drain })
}

impl Spawner {
    /// Runs a task in the set. Once the set has ended, tasks are dropped.
    pub fn spawn(&self, name: impl Into<String>, task: impl Future<Output = ()> + Send + 'static) {
        // A send fails only when the process drains, and then nothing new is to be started.
        let _ = self.sender.send((name.into(), Box::pin(task)));
    }

    /// The drain signal of the set.
    pub fn drain(&self) -> &Drain {
        &self.drain
    }
}

impl TaskSet {
    /// Runs tasks until the drain signal.
    pub async fn run(mut self) {
        let mut tasks = Tasks::new();
        loop {
            tokio::select! {
                () = self.drain.drained() => break,
                named = self.receiver.recv() => match named {
                    Some((name, task)) => tasks.spawn(name, task),
                    None => break,
                },
                Some((_, end)) = tasks.join_next(), if !tasks.is_empty() => {
                    if let Err(err) = end {
                        tracing::error!(err = %err, "task failed");
                    }
                }
            }
        }
        for err in tasks.shutdown(SHUTDOWN_DEADLINE).await {
            tracing::warn!(err = %err, "task did not end well");
        }
    }
}
