//! What is asked of the container runtime.

use std::time::Duration;

use prometheus::{HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Registry};

use super::{counter, counters, gauges, histograms, register};

/// The bounds of upstream's buckets for pulls, in seconds.
const PULLS: [f64; 18] = [
    1.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 180.0, 240.0, 300.0, 360.0, 480.0, 600.0, 900.0, 1200.0, 1800.0, 2700.0,
    3600.0,
];
const MB: u64 = 1 << 20;
const GB: u64 = 1 << 30;
/// How upstream calls images that have so many bytes at least, the largest first.
const SIZES: [(u64, &str); 12] = [
    (100 * GB, "GT100GB"),
    (60 * GB, "60GB-100GB"),
    (40 * GB, "40GB-60GB"),
    (30 * GB, "30GB-40GB"),
    (20 * GB, "20GB-30GB"),
    (10 * GB, "10GB-20GB"),
    (5 * GB, "5GB-10GB"),
    (GB, "1GB-5GB"),
    (500 * MB, "500MB-1GB"),
    (100 * MB, "100MB-500MB"),
    (10 * MB, "10MB-100MB"),
    (0, "0-10MB"),
];

/// The counters of what the runtime does.
pub struct RuntimeMetrics {
    operations: IntCounterVec,
    errors: IntCounterVec,
    durations: HistogramVec,
    sandboxes: HistogramVec,
    sandbox_errors: IntCounterVec,
    pulls: HistogramVec,
    images_collected: IntCounterVec,
    event_streams: IntCounter,
    event_stream_errors: IntCounter,
    /// Without labels: these are absent until containers are listed.
    relists: HistogramVec,
    relist_intervals: HistogramVec,
    relisted_at: IntGaugeVec,
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
            pulls: histograms(
                "kubelet_image_pull_duration_seconds",
                "How long images took to be pulled, without waiting, by their size.",
                &PULLS,
                &["image_size_in_bytes"],
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
            relists: relists("kubelet_pleg_relist_duration_seconds", "How long the runtime took to list containers."),
            relist_intervals: relists("kubelet_pleg_relist_interval_seconds", "How long it was from list to list."),
            relisted_at: gauges("kubelet_pleg_last_seen_seconds", "When containers were listed last.", &[]),
        };
        register(registry, metrics.operations.clone());
        register(registry, metrics.errors.clone());
        register(registry, metrics.durations.clone());
        register(registry, metrics.sandboxes.clone());
        register(registry, metrics.sandbox_errors.clone());
        register(registry, metrics.pulls.clone());
        register(registry, metrics.images_collected.clone());
        register(registry, metrics.event_streams.clone());
        register(registry, metrics.event_stream_errors.clone());
        register(registry, metrics.relists.clone());
        register(registry, metrics.relist_intervals.clone());
        register(registry, metrics.relisted_at.clone());
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

    /// An image of so many bytes was pulled.
    pub fn image_pulled(&self, size: u64, took: Duration) {
        self.pulls.with_label_values(&[size_class(size)]).observe(took.as_secs_f64());
    }

    /// An image was removed, for `space` or for its `age`.
    pub fn image_collected(&self, reason: &str) {
        self.images_collected.with_label_values(&[reason]).inc();
    }

    /// The containers of a runtime without events were listed, at a second since 1970, so long after the time before.
    pub fn relisted(&self, second: i64, took: Duration, after: Option<Duration>) {
        let none: [&str; 0] = [];
        self.relisted_at.with_label_values(&none).set(second);
        self.relists.with_label_values(&none).observe(took.as_secs_f64());
        if let Some(after) = after {
            self.relist_intervals.with_label_values(&none).observe(after.as_secs_f64());
        }
    }

    /// The runtime was asked to tell of its containers.
    pub fn events_asked(&self, does: bool) {
        let counter = if does { &self.event_streams } else { &self.event_stream_errors };
        counter.inc();
    }
}

fn relists(name: &str, help: &str) -> HistogramVec {
    histograms(name, help, &prometheus::DEFAULT_BUCKETS[..], &[])
}

fn size_class(size: u64) -> &'static str {
    SIZES.iter().find(|(least, _)| size >= *least).map_or("0-10MB", |(_, class)| class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_told_apart_by_their_sizes() {
        for (size, class) in [
            (0, "0-10MB"),
            (10 * MB - 1, "0-10MB"),
            (10 * MB, "10MB-100MB"),
            (700 * MB, "500MB-1GB"),
            (3 * GB, "1GB-5GB"),
            (1000 * GB, "GT100GB"),
        ] {
            assert_eq!(size_class(size), class, "{size}");
        }
    }
}
