//! When nodes were last heard of, by this process's own clock: clocks of nodes need not agree with it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base::Env;
use jiff::Timestamp;
use tokio::time::Instant;

/// The signs of life of all nodes.
pub(super) struct Heartbeats {
    env: Env,
    heard: Mutex<HashMap<String, Heard>>,
}

/// The newest sign of life of a node: what it said, and when it was seen here.
#[derive(Default)]
struct Heard {
    lease: Option<Timestamp>,
    status: Option<Timestamp>,
    at: Option<Instant>,
}

impl Heartbeats {
    pub(super) fn new(env: Env) -> Self {
        Self { env, heard: Mutex::default() }
    }

    fn heard(&self) -> std::sync::MutexGuard<'_, HashMap<String, Heard>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A Lease with this renew time was seen.
    pub(super) fn lease(&self, node: &str, renewed: Timestamp) {
        let now = self.env.instant();
        let mut all = self.heard();
        let heard = all.entry(node.to_owned()).or_default();
        if heard.lease.is_none_or(|known| renewed > known) {
            heard.lease = Some(renewed);
            heard.at = Some(now);
        }
    }

    /// A status with this heartbeat time was seen.
    pub(super) fn status(&self, node: &str, reported: Option<Timestamp>) {
        let now = self.env.instant();
        let mut all = self.heard();
        let heard = all.entry(node.to_owned()).or_default();
        // A node that has never reported counts from when it was first seen.
        if heard.at.is_none() || reported > heard.status {
            heard.status = reported;
            heard.at = Some(now);
        }
    }

    /// How long a node has been silent.
    pub(super) fn silence(&self, node: &str) -> Duration {
        let now = self.env.instant();
        let mut all = self.heard();
        let heard = all.entry(node.to_owned()).or_default();
        now - *heard.at.get_or_insert(now)
    }

    /// Forgets a node.
    pub(super) fn forget(&self, node: &str) {
        self.heard().remove(node);
    }

    /// Counts all silence from now on: nobody was heard, so it was this process that could not hear.
    pub(super) fn reset(&self) {
        let now = self.env.instant();
        for heard in self.heard().values_mut() {
            heard.at = Some(now);
        }
    }
}
