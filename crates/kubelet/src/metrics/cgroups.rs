//! How long it takes to make, set and remove cgroups of pods.

use std::time::Duration;

use prometheus::{HistogramVec, Registry};

use super::{histograms, register};

/// What was done with a pod's cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupOperation {
    /// It was made.
    Create,
    /// Its limits were set anew.
    Update,
    /// It was removed.
    Destroy,
}

/// The counters of cgroups. All clones are the same.
#[derive(Clone, Debug)]
pub struct CgroupMetrics(HistogramVec);

impl CgroupMetrics {
    /// Nothing was done yet.
    pub(super) fn new(registry: &Registry) -> Self {
        let name = "kubelet_cgroup_manager_duration_seconds";
        let help = "How long it took to do something with the cgroup of a pod.";
        let durations = histograms(name, help, &prometheus::DEFAULT_BUCKETS[..], &["operation_type"]);
        register(registry, durations.clone());
        Self(durations)
    }

    /// Something was done, or tried.
    pub fn done(&self, operation: CgroupOperation, took: Duration) {
        let label = match operation {
            CgroupOperation::Create => "create",
            CgroupOperation::Update => "update",
            CgroupOperation::Destroy => "destroy",
        };
        self.0.with_label_values(&[label]).observe(took.as_secs_f64());
    }
}
