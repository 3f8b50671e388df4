//! What the audit log counts, under upstream's names.

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, IntCounterVec};

use super::policy::Level;
use crate::metrics::{FIXED, counters};

/// The counters of a log.
pub(super) struct Metrics {
    events: IntCounter,
    levels: IntCounterVec,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let events = IntCounter::new("apiserver_audit_event_total", "Events that were sent on their way.");
        Self {
            events: events.expect(FIXED),
            levels: counters("apiserver_audit_level_total", "Requests, by how much is kept of them.", &["level"]),
        }
    }

    /// So much is kept of a request.
    pub(super) fn judged(&self, level: Option<Level>) {
        self.levels.with_label_values(&[level.unwrap_or(Level::None).as_str()]).inc();
    }

    pub(super) fn written(&self) {
        self.events.inc();
    }

    /// All of it, with how many events were lost on each way.
    pub(super) fn collect(&self, lost: impl Iterator<Item = (&'static str, u64)>) -> Vec<MetricFamily> {
        let errors = counters("apiserver_audit_error_total", "Events that were lost.", &["plugin"]);
        lost.for_each(|(plugin, count)| errors.with_label_values(&[plugin]).inc_by(count));
        [self.events.collect(), self.levels.collect(), errors.collect()].concat()
    }
}
