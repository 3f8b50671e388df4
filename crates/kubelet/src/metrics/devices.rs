//! Plugins of devices, and what they are asked for.

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{HistogramVec, IntCounterVec};

use super::{counters, histograms};

/// The counters of what plugins do.
#[derive(Debug)]
pub struct DeviceMetrics {
    registrations: IntCounterVec,
    allocations: HistogramVec,
}

impl Default for DeviceMetrics {
    /// No plugin has come yet.
    fn default() -> Self {
        let label = ["resource_name"];
        Self {
            registrations: counters("kubelet_device_plugin_registration_total", "Plugins that came.", &label),
            allocations: histograms(
                "kubelet_device_plugin_alloc_duration_seconds",
                "How long plugins took to give devices.",
                &prometheus::DEFAULT_BUCKETS[..],
                &label,
            ),
        }
    }
}

impl DeviceMetrics {
    /// The plugin of a resource has come.
    pub fn registered(&self, resource: &str) {
        self.registrations.with_label_values(&[resource]).inc();
    }

    /// A plugin was asked for devices.
    pub fn allocated(&self, resource: &str, took: Duration) {
        self.allocations.with_label_values(&[resource]).observe(took.as_secs_f64());
    }

    /// What was counted.
    pub(super) fn collect(&self) -> Vec<MetricFamily> {
        [self.registrations.collect(), self.allocations.collect()].concat()
    }
}
