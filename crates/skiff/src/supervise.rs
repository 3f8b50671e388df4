//! The life of a process with parts: it runs until it is asked to end or a part ends, then drains all parts.

use std::time::Duration;

use anyhow::{Context, Result};
use base::{Drain, DrainTrigger, Tasks};
use tokio::signal::unix::{SignalKind, signal};

/// How long the parts may take to end once they were asked to.
const GRACE: Duration = Duration::from_secs(20);

/// The parts of a process, the signal that ends them, and the way to fire it.
pub struct Parts {
    tasks: Tasks,
    trigger: DrainTrigger,
    drain: Drain,
}

impl Parts {
    /// No part yet.
    pub fn new() -> Self {
        let (trigger, drain) = base::drain();
        Self { tasks: Tasks::new(), trigger, drain }
    }

    /// The signal for a part that is spawned.
    pub fn drain(&self) -> Drain {
        self.drain.clone()
    }

    /// Runs a part. It is expected to run until the drain signal.
    pub fn spawn<F, E>(&mut self, name: &str, part: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<anyhow::Error> + 'static,
    {
        // `anyhow` prints the whole chain of sources of whatever error the part has.
        let part = async { part.await.map_err(Into::<anyhow::Error>::into) };
        self.tasks.spawn_fallible(name, part);
    }

    /// Runs a part that cannot fail. It is expected to run until the drain signal.
    pub fn spawn_endless(&mut self, name: &str, part: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(name, part);
    }

    /// Waits for SIGTERM or SIGINT, or for a part to end, and drains the rest.
    pub async fn run(mut self) -> Result<()> {
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
        let result = tokio::select! {
            _ = terminate.recv() => Ok(()),
            _ = interrupt.recv() => Ok(()),
            Some((name, end)) = self.tasks.join_next() => match end {
                Ok(()) => Err(anyhow::anyhow!("{name} ended unexpectedly")),
                Err(failure) => Err(failure.into()),
            },
        };
        if let Err(err) = &result {
            tracing::error!(err = %format!("{err:#}"), "a part failed, stopping");
        } else {
            tracing::info!("stopping");
        }
        self.trigger.drain();
        for failure in self.tasks.shutdown(GRACE).await {
            tracing::warn!(err = %failure, "a part did not stop well");
        }
        result
    }
}
