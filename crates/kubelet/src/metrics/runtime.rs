//! What is asked of the container runtime.

use std::time::Duration;

use prometheus::{HistogramVec, IntCounter, IntCounterVec, Registry};

use super::{counter, counters, histograms, register};

/// The counters of what the runtime does.
pub struct RuntimeMetrics {
    operations: IntCounterVec,
    errors: IntCounterVec,
    durations: HistogramVec,
    sandboxes: HistogramVec,
    sandbox_errors: IntCounterVec,
    images_collected: IntCounterVec,
    event_streams: IntCounter,
    event_stream_errors: IntCounter,
}

impl RuntimeMetrics {
    /// Nothing was asked yet.
    pub(super) fn new(registry: &Registry) -> Self {
        let (operation, handler) = (["operation_type"], ["runtime_handler"]);
        // Each bound is two and a half times the one before, from 5 ms to some 12 minutes.
        let bounds = prometheus::exponential_buckets(0.005, 2.5, 14).expect("the bounds rise");
        let metrics = Self {
            operations: counters("kubelet_runtime_operations_total", "Calls of the runtime, by what for.", &operation),
            errors: counters("kubelet_runtime_operations_errors_total", "Calls that failed, by what for.", &operation),
            durations: histograms(
                "kubelet_runtime_operations_duration_seconds",
                "How long the runtime took to answer, by what it was asked for.",
                &bounds,
                &operation,
            ),
            sandboxes: histograms(
                "kubelet_run_podsandbox_duration_seconds",
                "How long sandboxes took to be made, by the handler of their runtime class.",
                &prometheus::DEFAULT_BUCKETS[..],
                &handler,
            ),
            sandbox_errors: counters(
                "kubelet_run_podsandbox_errors_total",
                "Sandboxes that the runtime could not make, by the handler of their runtime class.",
                &handler,
            ),
            images_collected: counters(
                "kubelet_image_garbage_collected_total",
                "Images that were removed because nothing used them, by why it mattered.",
                &["reason"],
            ),
            event_streams: counter(
                "kubelet_evented_pleg_connection_success_count",
                "How often the runtime began to tell of its containers.",
            ),
            event_stream_errors: counter(
                "kubelet_evented_pleg_connection_error_count",
                "How often the runtime would not tell of its containers.",
            ),
        };
        register(registry, metrics.operations.clone());
        register(registry, metrics.errors.clone());
        register(registry, metrics.durations.clone());
        register(registry, metrics.sandboxes.clone());
        register(registry, metrics.sandbox_errors.clone());
        register(registry, metrics.images_collected.clone());
        register(registry, metrics.event_streams.clone());
        register(registry, metrics.event_stream_errors.clone());
        metrics
    }

    /// The runtime was called.
    pub fn called(&self, operation: &str, took: Duration, failed: bool) {
        let label = [operation];
        self.operations.with_label_values(&label).inc();
        self.durations.with_label_values(&label).observe(took.as_secs_f64());
        if failed {
            self.errors.with_label_values(&label).inc();
        }
    }

    /// The runtime was to make a sandbox.
    pub fn sandbox_run(&self, handler: &str, took: Duration, is_made: bool) {
        self.sandboxes.with_label_values(&[handler]).observe(took.as_secs_f64());
        if !is_made {
            self.sandbox_errors.with_label_values(&[handler]).inc();
        }
    }

    /// An image was removed, for `space` or for its `age`.
    pub fn image_collected(&self, reason: &str) {
        self.images_collected.with_label_values(&[reason]).inc();
    }

    /// The runtime was asked to tell of its containers.
    pub fn events_asked(&self, does: bool) {
        let counter = if does { &self.event_streams } else { &self.event_stream_errors };
        counter.inc();
    }
}
