//! Leader election by a Lease: of several candidates one runs, and another takes over when it stops renewing.
//!
//! Expiry is measured by each candidate's own clock from the moment it saw the lease change, so that clocks need not
//! agree. Two leaders at once are excluded as long as renew deadline and clock drift stay below the lease's duration.

use std::time::Duration;

use base::{Drain, Env};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use tokio::time::Instant;

use crate::objects;

/// The pause after the first request that failed.
const FIRST_RETRY: Duration = Duration::from_millis(50);

/// Who runs for which lease.
#[derive(Clone, Debug)]
pub struct Config {
    /// The namespace of the Lease.
    pub namespace: String,
    /// The name of the Lease.
    pub name: String,
    /// What this candidate is called; no two may share it.
    pub identity: String,
    /// How long other candidates wait after the last renewal that they saw.
    pub lease_duration: Duration,
    /// How long a leader tries to renew before it gives up.
    pub renew_deadline: Duration,
    /// The pause between two renewals that worked: each is a durable write.
    pub renew_period: Duration,
    /// The pause between two tries to acquire, and after a renewal that failed.
    pub retry_period: Duration,
}

impl Config {
    /// The usual times: 15 s, 10 s and 2 s; a renewal every 5 s.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>, identity: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
            identity: identity.into(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            renew_period: Duration::from_secs(5),
            retry_period: Duration::from_secs(2),
        }
    }
}

/// How a term ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome<T> {
    /// The drain signal came before this candidate was elected.
    NeverElected,
    /// The leader's work ended, by itself or after the drain signal, and the lease was released.
    Ended(T),
    /// The lease could not be renewed in time; the work was drained and has ended.
    Lost(T),
}

/// Waits to be elected, then runs `run` and renews the lease meanwhile.
///
/// `run` gets a drain signal that fires with `drain`, and when the lease is lost. The lease is released when `run` has
/// ended, so that the next candidate need not wait.
pub async fn elect<R, F>(config: Config, client: kube::Client, env: Env, drain: Drain, run: R) -> Outcome<F::Output>
where
    R: FnOnce(Drain) -> F,
    F: Future,
{
    let mut candidate = Candidate::new(config, client, env);
    if drain.until(candidate.acquire()).await.is_none() {
        return Outcome::NeverElected;
    }
    tracing::info!(lease = %candidate.config.name, identity = %candidate.config.identity, "became leader");
    let (trigger, term) = drain.child();
    let work = run(term);
    tokio::pin!(work);
    let ended = tokio::select! {
        ended = &mut work => Some(ended),
        () = candidate.renew_until_lost() => None,
    };
    match ended {
        Some(ended) => {
            candidate.release().await;
            Outcome::Ended(ended)
        }
        None => {
            tracing::error!(lease = %candidate.config.name, identity = %candidate.config.identity, "lost leadership");
            trigger.drain();
            Outcome::Lost(work.await)
        }
    }
}

struct Candidate {
    config: Config,
    api: Api<Lease>,
    env: Env,
    /// The lease as last seen, and when its content was first seen.
    observed: Option<(Lease, Instant)>,
}

/// What a candidate may do with the lease it sees.
#[derive(Debug, PartialEq, Eq)]
enum Turn {
    /// It is ours.
    Renew,
    /// It is free or has expired.
    TakeOver,
    /// Somebody else holds it.
    Wait,
}

impl Candidate {
    fn new(config: Config, client: kube::Client, env: Env) -> Self {
        let api = Api::namespaced(client, &config.namespace);
        Self { config, api, env, observed: None }
    }

    /// Tries until the lease is held.
    async fn acquire(&mut self) {
        // A server that has only just started has no namespace for the lease yet: that must not cost a whole period.
        let mut after_failure = FIRST_RETRY;
        loop {
            let pause = match self.try_acquire_or_renew().await {
                Ok(true) => return,
                Ok(false) => self.config.retry_period,
                Err(err) => {
                    tracing::debug!(lease = %self.config.name, err = %err, "cannot acquire lease");
                    let pause = after_failure.min(self.config.retry_period);
                    after_failure = pause * 2;
                    pause
                }
            };
            self.env.sleep(self.env.random().jitter(pause, 0.2)).await;
        }
    }

    /// Renews until that has not worked for the renew deadline, or somebody else holds the lease.
    async fn renew_until_lost(&mut self) {
        let mut renewed = self.env.instant();
        let mut pause = self.config.renew_period;
        loop {
            self.env.sleep(pause).await;
            pause = self.config.retry_period;
            let left = self.config.renew_deadline.saturating_sub(self.env.instant() - renewed);
            match tokio::time::timeout(left, self.try_acquire_or_renew()).await {
                Ok(Ok(true)) => {
                    renewed = self.env.instant();
                    pause = self.config.renew_period;
                }
                Ok(Ok(false)) => return,
                Ok(Err(err)) => tracing::warn!(lease = %self.config.name, err = %err, "cannot renew lease"),
                Err(_) => return,
            }
        }
    }

    async fn try_acquire_or_renew(&mut self) -> Result<bool, kube::Error> {
        // A leader that knows the lease as it wrote it needs no read; a conflict brings it back here.
        if let Some((lease, _)) = &self.observed
            && holder(lease) == Some(&self.config.identity)
        {
            let next = self.renewed(lease, Turn::Renew);
            match self.write(next).await {
                Err(err) if objects::is_conflict(&err) || objects::is_not_found(&err) => {}
                result => return result.map(|()| true),
            }
        }
        let Some(lease) = self.api.get_opt(&self.config.name).await? else {
            return self.create().await;
        };
        self.observe(lease);
        let Some((lease, since)) = &self.observed else { return Ok(false) };
        let turn = turn(lease, &self.config.identity, self.env.instant() - *since);
        if turn == Turn::Wait {
            return Ok(false);
        }
        let next = self.renewed(lease, turn);
        match self.write(next).await {
            Err(err) if objects::is_conflict(&err) => Ok(false),
            result => result.map(|()| true),
        }
    }

    async fn create(&mut self) -> Result<bool, kube::Error> {
        let now = self.env.now();
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(self.config.name.clone()),
                namespace: Some(self.config.namespace.clone()),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec { acquire_time: Some(MicroTime(now)), lease_transitions: Some(0), ..self.spec(now) }),
        };
        match self.api.create(&PostParams::default(), &lease).await {
            Ok(created) => {
                self.observe(created);
                Ok(true)
            }
            Err(err) if objects::is_already_exists(&err) => Ok(false),
            Err(err) => Err(err),
        }
    }

    fn spec(&self, now: Timestamp) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(self.config.identity.clone()),
            lease_duration_seconds: Some(i32::try_from(self.config.lease_duration.as_secs()).unwrap_or(i32::MAX)),
            renew_time: Some(MicroTime(now)),
            ..LeaseSpec::default()
        }
    }

    fn renewed(&self, lease: &Lease, turn: Turn) -> Lease {
        let now = self.env.now();
        let old = lease.spec.clone().unwrap_or_default();
        let (acquire_time, lease_transitions) = match turn {
            Turn::Renew => (old.acquire_time, old.lease_transitions),
            _ => (Some(MicroTime(now)), Some(old.lease_transitions.unwrap_or_default() + 1)),
        };
        let spec = LeaseSpec { acquire_time, lease_transitions, ..self.spec(now) };
        Lease { spec: Some(spec), ..lease.clone() }
    }

    async fn write(&mut self, lease: Lease) -> Result<(), kube::Error> {
        let written = self.api.replace(&self.config.name, &PostParams::default(), &lease).await?;
        self.observe(written);
        Ok(())
    }

    fn observe(&mut self, lease: Lease) {
        match &mut self.observed {
            Some((known, _)) if known.spec == lease.spec => *known = lease,
            observed => *observed = Some((lease, self.env.instant())),
        }
    }

    /// Gives the lease back, as well as that works: without it the next candidate waits for expiry.
    async fn release(&mut self) {
        let Some((lease, _)) = &self.observed else { return };
        let now = self.env.now();
        let spec = LeaseSpec {
            holder_identity: Some(String::new()),
            lease_duration_seconds: Some(1),
            acquire_time: Some(MicroTime(now)),
            lease_transitions: lease.spec.as_ref().and_then(|spec| spec.lease_transitions),
            ..self.spec(now)
        };
        let released = LeaseSpec { holder_identity: Some(String::new()), lease_duration_seconds: Some(1), ..spec };
        let lease = Lease { spec: Some(released), ..lease.clone() };
        let deadline = self.config.renew_deadline;
        match tokio::time::timeout(deadline, self.write(lease)).await {
            Ok(Ok(())) => tracing::info!(lease = %self.config.name, "released lease"),
            Ok(Err(err)) => tracing::warn!(lease = %self.config.name, err = %err, "cannot release lease"),
            Err(_) => tracing::warn!(lease = %self.config.name, "cannot release lease in time"),
        }
    }
}

fn holder(lease: &Lease) -> Option<&String> {
    lease.spec.as_ref()?.holder_identity.as_ref().filter(|holder| !holder.is_empty())
}

fn turn(lease: &Lease, identity: &str, unchanged: Duration) -> Turn {
    let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds).unwrap_or_default();
    match holder(lease) {
        Some(holder) if holder == identity => Turn::Renew,
        Some(_) if unchanged < Duration::from_secs(u64::try_from(seconds).unwrap_or_default()) => Turn::Wait,
        _ => Turn::TakeOver,
    }
}
