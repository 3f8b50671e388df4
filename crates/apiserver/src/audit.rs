//! The audit log: who did what, when, and what came of it.
//!
//! A policy says how much is kept of a request. Its event is written at each stage that the policy does not omit, as a
//! line of JSON, to a file that is rotated, or with others to a server. Requests never wait for those: what does not fit
//! the buffer is lost, and the server's own log says so.

mod annotations;
mod event;
mod file;
mod losses;
mod metrics;
mod policy;
mod trail;
mod webhook;

use std::sync::Arc;

use base::{Drain, Env, Random};
use bytes::Bytes;
use http::HeaderValue;
use prometheus::proto::MetricFamily;
use tokio::sync::mpsc;

pub(crate) use annotations::Annotations;
pub use file::{AuditFormat, AuditLog};
pub use policy::{AuditPolicy, AuditPolicyError};
pub(crate) use trail::{Trail, filter, refused};
pub use webhook::{AuditWebhook, Truncation};

use crate::access::RemoteError;
use crate::access::attributes::Attributes;
use event::Event;
use losses::Losses;
use metrics::Metrics;
use policy::Verdict;

/// Events that wait to be written.
const BUFFER: usize = 10_000;

/// A new name for a request.
pub(crate) fn new_id(random: &Random) -> HeaderValue {
    HeaderValue::try_from(random.uuid()).expect("a UUID is made of letters, digits and dashes")
}

/// What is kept of requests, and where events go: to a file, to a server, or both.
#[derive(Clone, Debug)]
pub struct AuditConfig {
    /// `--audit-policy-file`.
    pub policy: AuditPolicy,
    /// The file.
    pub log: Option<AuditLog>,
    /// The server.
    pub webhook: Option<AuditWebhook>,
}

/// The audit log of a server.
pub(crate) struct Audit {
    policy: AuditPolicy,
    outlets: Vec<Outlet>,
    metrics: Metrics,
    env: Env,
}

/// A way that events take.
struct Outlet {
    /// What upstream calls it.
    name: &'static str,
    format: AuditFormat,
    sender: mpsc::Sender<Bytes>,
    losses: Arc<Losses>,
}

/// The part at the end of a way.
pub(crate) struct Writer {
    receiver: mpsc::Receiver<Bytes>,
    end: End,
}

enum End {
    File(AuditLog, Arc<Losses>),
    Webhook(Box<webhook::Sender>),
}

impl Audit {
    /// A log by a policy, and what writes it.
    pub(crate) fn new(config: AuditConfig, env: Env) -> Result<(Self, Vec<Writer>), RemoteError> {
        let (mut outlets, mut writers) = (Vec::new(), Vec::new());
        let mut open = |name, format, buffer, losses: Arc<Losses>, end| {
            let (sender, receiver) = mpsc::channel(buffer);
            outlets.push(Outlet { name, format, sender, losses });
            writers.push(Writer { receiver, end });
        };
        if let Some(log) = config.log {
            let losses = Arc::<Losses>::default();
            open("log", log.format, BUFFER, losses.clone(), End::File(log, losses));
        }
        if let Some(webhook) = config.webhook {
            let (losses, buffer) = (Arc::<Losses>::default(), webhook.buffer_size.max(1));
            let sender = webhook::Sender::new(webhook, losses.clone(), env.clone())?;
            open("webhook", AuditFormat::Json, buffer, losses, End::Webhook(Box::new(sender)));
        }
        Ok((Self { policy: config.policy, outlets, metrics: Metrics::new(), env }, writers))
    }

    /// How much is kept of a request; nothing if the policy says so.
    fn judge(&self, attributes: &Attributes<'_>) -> Option<Verdict> {
        let verdict = self.policy.judge(attributes);
        self.metrics.judged(verdict.as_ref().map(|verdict| verdict.level));
        verdict
    }

    /// What is counted.
    pub(crate) fn metrics(&self) -> Vec<MetricFamily> {
        self.metrics.collect(self.outlets.iter().map(|outlet| (outlet.name, outlet.losses.count())))
    }

    fn write(&self, event: &Event) {
        self.metrics.written();
        let formats = [AuditFormat::Json, AuditFormat::Legacy];
        for format in formats {
            let mut outlets = self.outlets.iter().filter(|outlet| outlet.format == format).peekable();
            if outlets.peek().is_none() {
                continue;
            }
            let line: Bytes = match format {
                AuditFormat::Json => event.json(),
                AuditFormat::Legacy => event.legacy(),
            }
            .into();
            for outlet in outlets {
                if outlet.sender.try_send(line.clone()).is_err() {
                    outlet.losses.add(1, "events come faster than they can be written", &self.env);
                }
            }
        }
    }
}

impl Writer {
    /// Writes until `drain`, and then what is left.
    pub(crate) async fn run(self, env: Env, drain: Drain) {
        match self.end {
            End::File(log, losses) => file::run(log, self.receiver, losses, env, drain).await,
            End::Webhook(sender) => sender.run(self.receiver, drain).await,
        }
    }
}
