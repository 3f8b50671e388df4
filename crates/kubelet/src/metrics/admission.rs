//! Pods that the node refuses, and those that it ends for others' sake.

use prometheus::{IntCounterVec, Registry};

use super::{counters, register};

/// The counters of who may stay.
pub struct AdmissionMetrics {
    rejections: IntCounterVec,
    evictions: IntCounterVec,
    preemptions: IntCounterVec,
}

impl AdmissionMetrics {
    /// All could stay yet.
    pub(super) fn new(registry: &Registry) -> Self {
        let (rejections, evictions) = ("kubelet_admission_rejections_total", "kubelet_evictions");
        let metrics = Self {
            rejections: counters(rejections, "Pods that were refused, by the reason.", &["reason"]),
            evictions: counters(evictions, "Pods that were evicted, by what was short.", &["eviction_signal"]),
            preemptions: counters(
                "kubelet_preemptions",
                "Pods that made room for critical ones, by what was missing first.",
                &["preemption_signal"],
            ),
        };
        register(registry, metrics.rejections.clone());
        register(registry, metrics.evictions.clone());
        register(registry, metrics.preemptions.clone());
        metrics
    }

    /// A pod was refused.
    pub fn rejected(&self, reason: &str) {
        self.rejections.with_label_values(&[reason]).inc();
    }

    /// A pod was evicted because of a signal.
    pub fn evicted(&self, signal: &str) {
        self.evictions.with_label_values(&[signal]).inc();
    }

    /// A pod had to make room in a resource.
    pub fn preempted(&self, resource: &str) {
        self.preemptions.with_label_values(&[resource]).inc();
    }
}
