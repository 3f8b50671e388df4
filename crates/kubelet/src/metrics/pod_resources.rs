//! What watchers of devices ask.

use prometheus::{IntCounterVec, Registry};

use super::{counters, register};

/// The calls of the pod resources API, by the names that they have in metrics.
const CALLS: [&str; 3] = ["list", "get_allocatable", "get"];

/// The only version that is served.
const VERSION: &str = "v1";

/// The counters of the pod resources API.
pub struct PodResourcesMetrics {
    all: IntCounterVec,
    /// For each of [`CALLS`], how often it came and how often it failed.
    each: [(IntCounterVec, IntCounterVec); CALLS.len()],
}

/// A call of the pod resources API.
#[derive(Clone, Copy, Debug)]
pub enum PodResourcesCall {
    /// `List`.
    List,
    /// `GetAllocatableResources`.
    GetAllocatable,
    /// `Get`.
    Get,
}

impl PodResourcesMetrics {
    /// Nobody has asked yet.
    pub(super) fn new(registry: &Registry) -> Self {
        let label = ["server_api_version"];
        let name = |what: &str| format!("kubelet_pod_resources_endpoint_{what}");
        let new = |name: &str, help: &str| {
            let counters = counters(name, help, &label);
            register(registry, counters.clone());
            counters
        };
        let all = new(&name("requests_total"), "Calls of the pod resources API.");
        let each = CALLS.map(|call| {
            let (came, failed) = (name(&format!("requests_{call}")), name(&format!("errors_{call}")));
            (new(&came, &format!("Calls of {call}.")), new(&failed, &format!("Calls of {call} that failed.")))
        });
        Self { all, each }
    }

    /// A call was answered.
    pub fn answered(&self, call: PodResourcesCall, is_good: bool) {
        let (came, failed) = &self.each[call as usize];
        self.all.with_label_values(&[VERSION]).inc();
        came.with_label_values(&[VERSION]).inc();
        if !is_good {
            failed.with_label_values(&[VERSION]).inc();
        }
    }
}
