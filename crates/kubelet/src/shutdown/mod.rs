//! The machine's shutdown, which waits until pods have ended: logind is asked to hold it up, and tells when it begins.
//!
//! Pods end in groups, those of the lowest priority first; what is bound to the node meanwhile is refused, and the node
//! says that it is not ready. A shutdown that is given up lets everything go on, but for the pods that have ended.
//!
//! Upstream: <https://kubernetes.io/docs/concepts/cluster-administration/node-shutdown/>.

mod groups;
mod logind;
mod record;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base::Drain;
use client::EventType;
use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::watch;

pub use groups::{Period, Settings};
use logind::{Logind, LogindError};
use record::Record;

use crate::context::{Context, Shared};
use crate::node::node_reference;
use crate::pods::{Failure, spec};

/// Between attempts to reach logind.
const RETRY: Duration = Duration::from_secs(5);
/// Why the node is not ready meanwhile.
pub const NODE_MESSAGE: &str = "node is shutting down";
/// What is said of a pod that had to end.
const MESSAGE: &str = "Pod was terminated in response to imminent node shutdown.";
/// The reason of such a pod.
const REASON: &str = "Terminated";

/// Whether the machine is being shut down, and when it was last.
#[derive(Debug)]
pub struct NodeShutdown {
    begun: watch::Sender<bool>,
    record: Record,
}

impl NodeShutdown {
    /// It is not; the kubelet that ran before has written below its directory when it was.
    pub fn restore(kubelet_dir: &Path) -> Self {
        Self { begun: watch::channel(false).0, record: Record::restore(kubelet_dir) }
    }

    /// Whether it is.
    pub fn has_begun(&self) -> bool {
        *self.begun.borrow()
    }

    /// Tells when that changes.
    pub fn changes(&self) -> watch::Receiver<bool> {
        self.begun.subscribe()
    }

    /// When pods of the last shutdown began to end, and when they had ended, in seconds since the epoch; 0 where that
    /// is not yet.
    pub fn times(&self) -> Option<(f64, f64)> {
        self.record.times()
    }
}

/// Holds up the machine's shutdowns until the drain signal, if it is to.
pub async fn run(context: Shared, drain: Drain) {
    let settings = &context.config.shutdown;
    let mut said = false;
    while settings.is_enabled() {
        match drain.until(follow(&context, settings)).await {
            None => return,
            Some(Ok(())) => tracing::info!("the connection with logind has ended and is made again"),
            Some(Err(err)) if !said => {
                said = true;
                tracing::warn!(err = %err, "a shutdown of the machine does not wait for pods");
            }
            Some(Err(err)) => tracing::debug!(err = %err, "logind cannot be asked yet"),
        }
        if drain.until(context.env.sleep(RETRY)).await.is_none() {
            return;
        }
    }
    // A part that ends by itself would end the kubelet.
    drain.drained().await;
}

/// Holds up shutdowns for as long as the bus is there.
async fn follow(context: &Context, settings: &Settings) -> Result<(), LogindError> {
    let logind = Logind::connect(settings.bus.as_deref()).await?;
    logind.wait_at_least(settings.total(), &settings.logind_conf_dir, &context.env).await?;
    let mut shutdowns = logind.shutdowns().await?;
    // What happened while there was no connection was not heard; what has begun cannot be held up any more.
    let missed = logind.is_shutting_down().await?;
    context.shutdown.begun.send_replace(missed);
    let mut inhibitor = if missed { None } else { Some(logind.inhibit().await?) };
    tracing::info!(seconds = settings.total().as_secs(), "a shutdown of the machine waits for pods");
    while let Some(begins) = shutdowns.next().await {
        tracing::info!(begins, "logind tells of a shutdown");
        let what = if begins { "shutdown event" } else { "shutdown cancellation" };
        let node = node_reference(&context.config.node_name);
        context.recorder.event(&node, EventType::Normal, "Shutdown", format!("Shutdown manager detected {what}"));
        // The node says so before the first pod ends.
        context.shutdown.begun.send_replace(begins);
        if begins {
            context.shutdown.record.begin(context.env.now());
            end_pods(context, settings).await;
            context.shutdown.record.end(context.env.now());
            drop(inhibitor.take());
        } else {
            inhibitor = Some(logind.inhibit().await?);
        }
    }
    Ok(())
}

async fn end_pods(context: &Context, settings: &Settings) {
    let pods = context.pods.list().into_iter().filter(|pod| !spec::is_terminal(pod)).collect();
    for (period, pods) in settings.groups(pods) {
        for pod in &pods {
            end(context, pod, period);
        }
        let ended = join_all(pods.iter().map(|pod| context.workers.released(spec::uid(pod))));
        tokio::select! {
            _ = ended => {}
            () = context.env.sleep(period.grace) => {
                tracing::warn!(priority = period.priority, "pods have not ended in time for the machine's shutdown");
            }
        }
    }
}

fn end(context: &Context, pod: &Arc<Pod>, period: Period) {
    tracing::info!(namespace = spec::namespace(pod), name = spec::name(pod), "ending a pod for the machine's shutdown");
    let grace = i64::try_from(period.grace.as_secs()).unwrap_or(i64::MAX);
    let disruption = Some(MESSAGE.to_owned());
    context.workers.end(spec::uid(pod), Failure { disruption, grace: Some(grace), ..Failure::new(REASON, MESSAGE) });
}
