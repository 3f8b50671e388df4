//! Tokens for one use each.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base::Env;
use tokio::time::Instant;

use super::Session;

/// How long a client may take to come.
const LIFETIME: Duration = Duration::from_secs(60);

/// The tokens that are out.
#[derive(Debug)]
pub(super) struct Tokens {
    env: Env,
    waiting: Mutex<HashMap<String, (Session, Instant)>>,
}

impl Tokens {
    pub(super) fn new(env: Env) -> Self {
        Self { env, waiting: Mutex::default() }
    }

    /// A new token for `session`.
    pub(super) fn issue(&self, session: Session) -> String {
        let mut bytes = [0; 32];
        self.env.random().fill(&mut bytes);
        let token = hex::encode(bytes);
        let now = self.env.instant();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, (_, expires)| *expires > now);
        waiting.insert(token.clone(), (session, now + LIFETIME));
        token
    }

    /// What the token stands for; never again after this.
    pub(super) fn take(&self, kind: &str, token: &str) -> Option<Session> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let (session, expires) = waiting.remove(token)?;
        (session.kind() == kind && expires > self.env.instant()).then_some(session)
    }
}
