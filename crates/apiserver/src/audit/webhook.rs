//! The server that events are sent to, many at a time: `--audit-webhook-config-file` in upstream's mode `batch`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base::{Drain, Env};
use bytes::Bytes;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use url::Url;

use super::losses::Losses;
use crate::access::remote::{Remote, RemoteError, TIMEOUT};
use crate::token_bucket::TokenBucket;

/// How events are sent to a server.
#[derive(Clone, Debug)]
pub struct AuditWebhook {
    /// `--audit-webhook-config-file`: a kubeconfig that names the server.
    pub config_file: PathBuf,
    /// `--audit-webhook-initial-backoff`: the first pause before a batch that could not be sent is sent again.
    pub initial_backoff: Duration,
    /// `--audit-webhook-batch-buffer-size`: how many events wait; what does not fit is lost.
    pub buffer_size: usize,
    /// `--audit-webhook-batch-max-size`: how many events are sent at once.
    pub batch_max_size: usize,
    /// `--audit-webhook-batch-max-wait`: how long an event waits for others.
    pub batch_max_wait: Duration,
    /// `--audit-webhook-batch-throttle-qps` and `-burst`: how many batches are sent a second, and at once; nothing
    /// without `--audit-webhook-batch-throttle-enable`.
    pub throttle: Option<(f64, u32)>,
    /// `--audit-webhook-truncate-max-event-size` and `-max-batch-size` in bytes; nothing without
    /// `--audit-webhook-truncate-enabled`.
    pub truncate: Option<Truncation>,
}

impl AuditWebhook {
    /// Upstream's defaults for a server.
    pub fn new(config_file: impl Into<PathBuf>) -> Self {
        Self {
            config_file: config_file.into(),
            initial_backoff: Duration::from_secs(10),
            buffer_size: 10_000,
            batch_max_size: 400,
            batch_max_wait: Duration::from_secs(30),
            throttle: Some((10.0, 15)),
            truncate: None,
        }
    }
}

/// The bounds of what is sent.
#[derive(Clone, Copy, Debug)]
pub struct Truncation {
    /// The largest event, in bytes: of a larger one the bodies are left out, and what is still too large is lost.
    pub max_event_size: usize,
    /// The most that is sent at once.
    pub max_batch_size: usize,
}

/// Marks events whose bodies were left out.
const TRUNCATED: &str = "audit.k8s.io/truncated";

/// How many batches are on their way at once: a server that answers slowly holds up no others, and no more than these.
const IN_FLIGHT: usize = 8;

/// Sends events.
pub(crate) struct Sender {
    config: AuditWebhook,
    target: Arc<(Url, Remote)>,
    losses: Arc<Losses>,
    env: Env,
}

impl Sender {
    pub(super) fn new(config: AuditWebhook, losses: Arc<Losses>, env: Env) -> Result<Self, RemoteError> {
        let (url, remote) = Remote::from_kubeconfig(&config.config_file, env.clone())?;
        let target = Arc::new((url, remote.pausing(config.initial_backoff)));
        Ok(Self { config, target, losses, env })
    }

    /// Sends until `drain`, and then what is left.
    pub(super) async fn run(self, mut receiver: mpsc::Receiver<Bytes>, drain: Drain) {
        let throttle = self.config.throttle;
        let mut bucket = throttle.map(|(per_second, burst)| TokenBucket::new(per_second, burst, Instant::now()));
        let mut sending = JoinSet::new();
        loop {
            let (events, is_last) = self.collect(&mut receiver, &drain).await;
            for batch in self.batches(events) {
                let pause = bucket.as_mut().map(|bucket| bucket.take(Instant::now())).unwrap_or_default();
                if !pause.is_zero() && !is_last {
                    self.env.sleep(pause).await;
                }
                while sending.len() >= IN_FLIGHT {
                    sending.join_next().await;
                }
                sending.spawn(send(self.target.clone(), batch, self.losses.clone(), self.env.clone()));
            }
            while sending.try_join_next().is_some() {}
            if is_last {
                break;
            }
        }
        while sending.join_next().await.is_some() {}
        self.losses.tell("the server is ending");
    }

    /// The next events, and whether they are the last.
    async fn collect(&self, receiver: &mut mpsc::Receiver<Bytes>, drain: &Drain) -> (Vec<Bytes>, bool) {
        let mut events = Vec::new();
        let max = self.config.batch_max_size.max(1);
        let filling = async {
            let mut received = receiver.recv_many(&mut events, max).await;
            let deadline = Instant::now() + self.config.batch_max_wait;
            while received > 0 && events.len() < max {
                let room = max - events.len();
                match tokio::time::timeout_at(deadline, receiver.recv_many(&mut events, room)).await {
                    Ok(more) => received = more,
                    Err(_) => break,
                }
            }
            // Nothing is received any more only when nobody is left who could send.
            received == 0
        };
        if let Some(is_last) = drain.until(filling).await {
            return (events, is_last);
        }
        receiver.close();
        while receiver.recv_many(&mut events, max).await > 0 {}
        (events, true)
    }

    /// The events as they are sent at once, within the bounds.
    fn batches(&self, events: Vec<Bytes>) -> Vec<Vec<Bytes>> {
        let max_bytes = self.config.truncate.map_or(usize::MAX, |bounds| bounds.max_batch_size);
        let mut batches: Vec<Vec<Bytes>> = Vec::new();
        let mut room = 0;
        for event in events {
            let Some(event) = self.truncated(event) else { continue };
            let is_full = batches.last().is_none_or(|batch| batch.len() >= self.config.batch_max_size);
            if is_full || event.len() > room {
                batches.push(Vec::new());
                room = max_bytes;
            }
            room = room.saturating_sub(event.len());
            batches.last_mut().expect("one was pushed if there was none").push(event);
        }
        batches
    }

    /// The event, without its bodies if it is too large; nothing if it is too large even so.
    fn truncated(&self, event: Bytes) -> Option<Bytes> {
        let Some(max) = self.config.truncate.map(|bounds| bounds.max_event_size) else { return Some(event) };
        if event.len() <= max {
            return Some(event);
        }
        let mut document: Value = serde_json::from_slice(&event).ok()?;
        if let Some(fields) = document.as_object_mut() {
            fields.remove("requestObject");
            fields.remove("responseObject");
        }
        document["annotations"][TRUNCATED] = "true".into();
        let smaller = Bytes::from(document.to_string());
        if smaller.len() > max {
            self.losses.add(1, "an event is too large to be sent", &self.env);
            return None;
        }
        Some(smaller)
    }
}

async fn send(target: Arc<(Url, Remote)>, events: Vec<Bytes>, losses: Arc<Losses>, env: Env) {
    let (url, remote) = &*target;
    let mut body = br#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":["#.to_vec();
    for (index, event) in events.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        body.extend_from_slice(event.trim_ascii_end());
    }
    body.extend_from_slice(b"]}");
    if let Err(err) = remote.send(url, body.into(), TIMEOUT).await {
        losses.add(events.len() as u64, &format!("{url}: {err}"), &env);
    }
}
