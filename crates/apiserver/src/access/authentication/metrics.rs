//! What authentication counts, under upstream's names.

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{HistogramVec, IntCounterVec};

use crate::access::Identity;
use crate::metrics::{ACCESS_TIMES, counters, histograms};

/// The counters of a server.
pub(super) struct Metrics {
    attempts: IntCounterVec,
    durations: HistogramVec,
    users: IntCounterVec,
}

/// What came of an attempt.
pub(super) enum Attempt<'a> {
    Success(&'a Identity),
    /// There was nothing to go by.
    Failure,
    /// What was shown is bad.
    Error,
}

impl Metrics {
    pub(super) fn new() -> Self {
        Self {
            attempts: counters("authentication_attempts", "Requests whose sender was looked for.", &["result"]),
            durations: histograms(
                "authentication_duration_seconds",
                "How long it took to find out who makes requests.",
                &ACCESS_TIMES,
                &["result"],
            ),
            users: counters(
                "authenticated_user_requests",
                "Requests of users that are known, by what kind of name they have.",
                &["username"],
            ),
        }
    }

    pub(super) fn collect(&self) -> Vec<MetricFamily> {
        let all: [&dyn Collector; 3] = [&self.attempts, &self.durations, &self.users];
        all.into_iter().flat_map(Collector::collect).collect()
    }

    pub(super) fn attempted(&self, attempt: &Attempt<'_>, took: Duration) {
        let result = match attempt {
            Attempt::Success(identity) => {
                self.users.with_label_values(&[shown(&identity.user)]).inc();
                "success"
            }
            Attempt::Failure => "failure",
            Attempt::Error => "error",
        };
        self.attempts.with_label_values(&[result]).inc();
        self.durations.with_label_values(&[result]).observe(took.as_secs_f64());
    }
}

/// The kind of a name: names themselves are too many, and nobody's business.
fn shown(user: &str) -> &str {
    match user {
        "admin" | "client" | "kube_proxy" | "kubelet" | "system:serviceaccount:kube-system:default" => user,
        email if email.contains('@') => "email_id",
        _ => "other",
    }
}
