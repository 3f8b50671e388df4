//! How long admission takes and what it refuses, under upstream's names.

use std::sync::OnceLock;
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{Histogram, HistogramVec, IntCounterVec};

use super::{Operation, Phase, Plugin};
use crate::metrics::{counters, histograms};

/// The bounds of upstream's buckets, in seconds: of plugins, and of webhooks, which take longer.
const TIMES: [f64; 6] = [0.005, 0.025, 0.1, 0.5, 1.0, 2.5];
const WEBHOOK_TIMES: [f64; 8] = [0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 25.0];

/// The counters of a server.
pub(super) struct Metrics {
    steps: HistogramVec,
    plugins: HistogramVec,
    webhooks: HistogramVec,
    requests: IntCounterVec,
    rejections: IntCounterVec,
    failed_open: IntCounterVec,
}

impl Metrics {
    pub(super) fn new() -> Self {
        Self {
            steps: histograms(
                "apiserver_admission_step_admission_duration_seconds",
                "How long all plugins together took, by the step and whether they refused the request.",
                &TIMES,
                &["type", "operation", "rejected"],
            ),
            plugins: histograms(
                "apiserver_admission_controller_admission_duration_seconds",
                "How long a plugin took, by the step and whether it refused the request.",
                &TIMES,
                &["name", "type", "operation", "rejected"],
            ),
            webhooks: histograms(
                "apiserver_admission_webhook_admission_duration_seconds",
                "How long a webhook took, by the step and whether it refused the request.",
                &WEBHOOK_TIMES,
                &["name", "type", "operation", "rejected"],
            ),
            requests: counters(
                "apiserver_admission_webhook_request_total",
                "Requests to webhooks, by the status that came of them.",
                &["name", "type", "operation", "code", "rejected"],
            ),
            rejections: counters(
                "apiserver_admission_webhook_rejection_count",
                "Requests that were refused by a webhook, or because it could not be asked.",
                &["name", "type", "operation", "error_type", "rejection_code"],
            ),
            failed_open: counters(
                "apiserver_admission_webhook_fail_open_count",
                "Requests that went on although a webhook could not be asked.",
                &["name", "type"],
            ),
        }
    }

    pub(super) fn collect(&self) -> Vec<MetricFamily> {
        let all: [&dyn Collector; 6] =
            [&self.steps, &self.plugins, &self.webhooks, &self.requests, &self.rejections, &self.failed_open];
        all.into_iter().flat_map(Collector::collect).collect()
    }

    /// The times of a plugin.
    pub(super) fn of_plugin(&self, plugin: &Plugin, phase: Phase, operation: Operation) -> Times {
        Times::new(&self.plugins, &[plugin.name, phase.as_str(), operation.as_str()])
    }

    /// The times of all plugins together.
    pub(super) fn of_step(&self, phase: Phase, operation: Operation) -> Times {
        Times::new(&self.steps, &[phase.as_str(), operation.as_str()])
    }

    /// A webhook has been asked.
    pub(super) fn asked(&self, webhook: &str, called: &Called) {
        let Called { step, operation, took, code, refusal } = called;
        let (operation, code) = (operation.as_str(), code.to_string());
        let rejected = if refusal.is_some() { "true" } else { "false" };
        self.webhooks.with_label_values(&[webhook, step, operation, rejected]).observe(took.as_secs_f64());
        self.requests.with_label_values(&[webhook, step, operation, &code, rejected]).inc();
        if let Some(refusal) = refusal {
            self.rejections.with_label_values(&[webhook, step, operation, refusal, &code]).inc();
        }
    }

    /// A request goes on although a webhook could not be asked.
    pub(super) fn failed_open(&self, webhook: &str, step: &str) {
        self.failed_open.with_label_values(&[webhook, step]).inc();
    }
}

/// What came of a call to a webhook.
pub(super) struct Called {
    /// `admit` or `validating`.
    pub(super) step: &'static str,
    pub(super) operation: Operation,
    pub(super) took: Duration,
    /// The status that it stands for, or 0.
    pub(super) code: u16,
    /// Whether the request was refused therefore, and why.
    pub(super) refusal: Option<&'static str>,
}

/// How long something takes that accepts or refuses. What never happens is not told of.
pub(super) struct Times {
    all: HistogramVec,
    /// All labels but the last, which says whether the request was refused.
    labels: Vec<&'static str>,
    accepted: OnceLock<Histogram>,
    rejected: OnceLock<Histogram>,
}

impl Times {
    fn new(all: &HistogramVec, labels: &[&'static str]) -> Self {
        let (accepted, rejected) = (OnceLock::new(), OnceLock::new());
        Self { all: all.clone(), labels: labels.to_vec(), accepted, rejected }
    }

    pub(super) fn took(&self, time: Duration, is_rejected: bool) {
        let (times, label) = if is_rejected { (&self.rejected, "true") } else { (&self.accepted, "false") };
        let of = || self.all.with_label_values(&[self.labels.as_slice(), &[label]].concat());
        times.get_or_init(of).observe(time.as_secs_f64());
    }
}
