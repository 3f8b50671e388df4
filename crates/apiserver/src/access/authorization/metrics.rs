//! What authorization counts, under upstream's names.

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{HistogramVec, IntCounter, IntCounterVec};

use super::{AuthorizationMode, Decision};
use crate::metrics::{ACCESS_TIMES, counters, histograms};

/// The counters of a server.
pub(super) struct Metrics {
    attempts: IntCounterVec,
    durations: HistogramVec,
    decisions: IntCounterVec,
}

impl Metrics {
    pub(super) fn new() -> Self {
        Self {
            attempts: counters(
                "authorization_attempts_total",
                "Requests that were decided about, by what came of it.",
                &["result"],
            ),
            durations: histograms(
                "authorization_duration_seconds",
                "How long it took to decide about requests, by what came of it.",
                &ACCESS_TIMES,
                &["result"],
            ),
            decisions: counters(
                "apiserver_authorization_decisions_total",
                "Requests that an authorizer allowed or denied.",
                &["type", "name", "decision"],
            ),
        }
    }

    pub(super) fn collect(&self) -> Vec<MetricFamily> {
        let all: [&dyn Collector; 3] = [&self.attempts, &self.durations, &self.decisions];
        all.into_iter().flat_map(Collector::collect).collect()
    }

    /// A request was decided about.
    pub(super) fn decided(&self, decision: &Decision, took: Duration) {
        let result = match decision {
            Decision::Allow(_) => "allowed",
            Decision::Deny(refused) | Decision::NoOpinion(refused) if refused.error.is_some() => "error",
            Decision::Deny(_) => "denied",
            Decision::NoOpinion(_) => "no-opinion",
        };
        self.attempts.with_label_values(&[result]).inc();
        self.durations.with_label_values(&[result]).observe(took.as_secs_f64());
    }

    /// The counters of an authorizer of a chain.
    pub(super) fn of(&self, mode: AuthorizationMode, name: &str) -> Decisions {
        let of = |decision| self.decisions.with_label_values(&[mode.as_str(), name, decision]);
        Decisions { allowed: of("allowed"), denied: of("denied") }
    }
}

/// How often an authorizer had an opinion.
pub(super) struct Decisions {
    allowed: IntCounter,
    denied: IntCounter,
}

impl Decisions {
    pub(super) fn count(&self, decision: &Decision) {
        match decision {
            Decision::Allow(_) => self.allowed.inc(),
            Decision::Deny(_) => self.denied.inc(),
            Decision::NoOpinion(_) => {}
        }
    }
}
