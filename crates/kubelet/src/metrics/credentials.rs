//! The programs that know credentials for images.

use std::time::Duration;

use prometheus::{HistogramVec, IntCounterVec, Registry};

use super::{counters, histograms, register};

/// The counters of these programs.
pub struct CredentialMetrics {
    durations: HistogramVec,
    errors: IntCounterVec,
}

impl CredentialMetrics {
    /// None has run yet.
    pub(super) fn new(registry: &Registry) -> Self {
        let label = ["plugin_name"];
        let metrics = Self {
            durations: histograms(
                "kubelet_credential_provider_plugin_duration",
                "How long programs took that know credentials for images, in seconds.",
                &prometheus::DEFAULT_BUCKETS[..],
                &label,
            ),
            errors: counters("kubelet_credential_provider_plugin_errors", "Those that gave no answer.", &label),
        };
        register(registry, metrics.durations.clone());
        register(registry, metrics.errors.clone());
        metrics
    }

    /// One has run.
    pub fn ran(&self, name: &str, took: Duration, failed: bool) {
        self.durations.with_label_values(&[name]).observe(took.as_secs_f64());
        if failed {
            self.errors.with_label_values(&[name]).inc();
        }
    }
}
