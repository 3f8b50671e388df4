//! The audit log: who did what, when, and what came of it.
//!
//! A policy says how much is kept of a request. Its event is written at each stage that the policy does not omit, as a
//! line of JSON, to a file that is rotated. Requests never wait for that file: what does not fit the buffer is lost, and
//! the server's own log says so.

mod annotations;
mod event;
mod file;
mod policy;
mod trail;

use std::sync::Arc;

use base::{Drain, Env, Random};
use bytes::Bytes;
use http::HeaderValue;
use tokio::sync::mpsc;

pub(crate) use annotations::Annotations;
pub use file::{AuditFormat, AuditLog};
pub use policy::{AuditPolicy, AuditPolicyError};
pub(crate) use trail::{Trail, filter, refused};

/// Events that wait to be written.
const BUFFER: usize = 10_000;

/// A new name for a request.
pub(crate) fn new_id(random: &Random) -> HeaderValue {
    HeaderValue::try_from(random.uuid()).expect("a UUID is made of letters, digits and dashes")
}

/// The audit log of a server.
pub(crate) struct Audit {
    policy: AuditPolicy,
    format: AuditFormat,
    sender: mpsc::Sender<Bytes>,
    losses: Arc<file::Losses>,
    env: Env,
}

/// The part that writes it.
pub(crate) struct Writer {
    log: AuditLog,
    receiver: mpsc::Receiver<Bytes>,
    losses: Arc<file::Losses>,
}

impl Audit {
    /// A log by a policy, and what writes it.
    pub(crate) fn new(policy: AuditPolicy, log: AuditLog, env: Env) -> (Self, Writer) {
        let (sender, receiver) = mpsc::channel(BUFFER);
        let (format, losses) = (log.format, Arc::<file::Losses>::default());
        let writer = Writer { log, receiver, losses: losses.clone() };
        (Self { policy, format, sender, losses, env }, writer)
    }

    fn write(&self, line: Bytes) {
        if self.sender.try_send(line).is_err() {
            self.losses.add(1, "events come faster than they can be written", &self.env);
        }
    }
}

impl Writer {
    /// Writes until `drain`, and then what is left.
    pub(crate) async fn run(self, env: Env, drain: Drain) {
        file::run(self.log, self.receiver, self.losses, env, drain).await;
    }
}
