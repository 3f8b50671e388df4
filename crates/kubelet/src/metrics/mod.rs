//! What the kubelet measures of itself, under upstream's names and in Prometheus' text format.
//!
//! Each kubelet has its own registries: several share a process in tests. What happens is counted where it happens; what
//! is there is counted when somebody asks ([`scraped`]).

mod admission;
mod cgroups;
mod credentials;
mod devices;
mod health;
mod pod_resources;
mod requests;
mod runtime;
mod scraped;

use std::time::Duration;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder,
};

use admission::AdmissionMetrics;
pub use cgroups::{CgroupMetrics, CgroupOperation};
use credentials::CredentialMetrics;
pub use devices::DeviceMetrics;
use health::HealthMetrics;
pub use pod_resources::{PodResourcesCall, PodResourcesMetrics};
use requests::RequestMetrics;
pub use requests::measured;
use runtime::RuntimeMetrics;
pub use scraped::scrape;

/// Names and help in this module are fixed and well-formed.
const FIXED: &str = "fixed names and labels are valid";

/// The bounds of upstream's buckets for starts of pods, in seconds.
const POD_STARTS: [f64; 25] = [
    0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 20.0, 30.0, 45.0, 60.0, 120.0, 180.0, 240.0, 300.0, 360.0, 480.0,
    600.0, 900.0, 1200.0, 1800.0, 2700.0, 3600.0,
];

/// The bounds of upstream's buckets for writes of pods' statuses, in seconds.
const STATUS_WRITES: [f64; 11] = [0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0];

/// What a probe's answer is counted for.
#[derive(Clone, Copy, Debug)]
pub struct ProbeLabels<'a> {
    /// `Liveness`, `Readiness` or `Startup`.
    pub kind: &'a str,
    /// The container.
    pub container: &'a str,
    /// The pod.
    pub pod: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
    /// Its UID.
    pub uid: &'a str,
}

/// The counters of a kubelet.
pub struct Metrics {
    /// What is asked of the runtime.
    pub runtime: RuntimeMetrics,
    /// Who may stay.
    pub admission: AdmissionMetrics,
    /// Who asks what containers have.
    pub pod_resources: PodResourcesMetrics,
    /// Who knows credentials.
    pub credentials: CredentialMetrics,
    /// Whether the kubelet was well.
    pub health: HealthMetrics,
    /// What becomes of cgroups.
    pub cgroups: CgroupMetrics,
    requests: RequestMetrics,
    own: Registry,
    probes: Registry,
    probe_total: IntCounterVec,
    probe_duration: HistogramVec,
    pod_start: Histogram,
    pod_start_total: Histogram,
    status_writes: Histogram,
    orphaned_pods: IntCounter,
    pod_worker: HistogramVec,
    started_pods: IntCounter,
    started_pod_errors: IntCounter,
    started_containers: IntCounterVec,
    started_container_errors: IntCounterVec,
    http_requests: IntCounterVec,
    http_durations: HistogramVec,
}

pub(super) fn gauges(name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    IntGaugeVec::new(Opts::new(name, help), labels).expect(FIXED)
}

pub(super) fn counters(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    IntCounterVec::new(Opts::new(name, help), labels).expect(FIXED)
}

pub(super) fn counter(name: &str, help: &str) -> IntCounter {
    IntCounter::new(name, help).expect(FIXED)
}

pub(super) fn histograms(name: &str, help: &str, buckets: &[f64], labels: &[&str]) -> HistogramVec {
    HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels).expect(FIXED)
}

fn register(registry: &Registry, collector: impl Collector + 'static) {
    registry.register(Box::new(collector)).expect("each name is registered once");
}

impl Metrics {
    /// Nothing has happened yet on a node.
    pub fn new(node_name: &str) -> Self {
        let usual = &prometheus::DEFAULT_BUCKETS[..];
        let starts = HistogramOpts::new(
            "kubelet_pod_start_duration_seconds",
            "Time from when the kubelet saw a pod first to when the pod began to run.",
        );
        let starts_in_all = HistogramOpts::new(
            "kubelet_pod_start_total_duration_seconds",
            "Time from when a pod was made to when it began to run.",
        );
        let statuses = HistogramOpts::new(
            "kubelet_pod_status_sync_duration_seconds",
            "Time from when a pod's status was found to have changed to when the API had it.",
        );
        let http = ["method", "path", "server_type", "long_running"];
        let own = Registry::new();
        let metrics = Self {
            runtime: RuntimeMetrics::new(&own),
            admission: AdmissionMetrics::new(&own),
            pod_resources: PodResourcesMetrics::new(&own),
            credentials: CredentialMetrics::new(&own),
            health: HealthMetrics::new(),
            cgroups: CgroupMetrics::new(&own),
            requests: RequestMetrics::new(&own),
            own,
            probes: Registry::new(),
            probe_total: counters(
                "prober_probe_total",
                "Answers of probes, by their result.",
                &["probe_type", "result", "container", "pod", "namespace", "pod_uid"],
            ),
            probe_duration: histograms(
                "prober_probe_duration_seconds",
                "How long probes took to be answered.",
                usual,
                &["probe_type", "container", "pod", "namespace"],
            ),
            pod_start: Histogram::with_opts(starts.buckets(POD_STARTS.to_vec())).expect(FIXED),
            pod_start_total: Histogram::with_opts(starts_in_all.buckets(POD_STARTS.to_vec())).expect(FIXED),
            status_writes: Histogram::with_opts(statuses.buckets(STATUS_WRITES.to_vec())).expect(FIXED),
            orphaned_pods: counter(
                "kubelet_orphaned_runtime_pods_total",
                "Pods that were found here though nobody asks for them.",
            ),
            pod_worker: histograms(
                "kubelet_pod_worker_duration_seconds",
                "How long one look at a pod took, by what it was for.",
                usual,
                &["operation_type"],
            ),
            started_pods: counter("kubelet_started_pods_total", "Sandboxes of pods that were to be made."),
            started_pod_errors: counter("kubelet_started_pods_errors_total", "Sandboxes that could not be made."),
            started_containers: counters(
                "kubelet_started_containers_total",
                "Containers that were to be started.",
                &["container_type"],
            ),
            started_container_errors: counters(
                "kubelet_started_containers_errors_total",
                "Containers that could not be started, by the reason.",
                &["container_type", "code"],
            ),
            http_requests: counters("kubelet_http_requests_total", "Requests to the kubelet's server.", &http),
            http_durations: histograms(
                "kubelet_http_requests_duration_seconds",
                "How long requests to the kubelet's server took.",
                usual,
                &http,
            ),
        };
        metrics.register(node_name);
        metrics
    }

    fn register(&self, node_name: &str) {
        register(&self.probes, self.probe_total.clone());
        register(&self.probes, self.probe_duration.clone());
        register(&self.own, self.pod_start.clone());
        register(&self.own, self.pod_start_total.clone());
        register(&self.own, self.status_writes.clone());
        register(&self.own, self.orphaned_pods.clone());
        register(&self.own, self.pod_worker.clone());
        register(&self.own, self.started_pods.clone());
        register(&self.own, self.started_pod_errors.clone());
        register(&self.own, self.started_containers.clone());
        register(&self.own, self.started_container_errors.clone());
        register(&self.own, self.http_requests.clone());
        register(&self.own, self.http_durations.clone());
        register(&self.own, prometheus::process_collector::ProcessCollector::for_self());
        let name = gauges("kubelet_node_name", "The node's name.", &["node"]);
        name.with_label_values(&[node_name]).set(1);
        register(&self.own, name);
    }

    /// A probe was answered: `successful`, `failed` or `unknown`.
    pub fn probed(&self, labels: ProbeLabels<'_>, result: &str, took: Duration) {
        let ProbeLabels { kind, container, pod, namespace, uid } = labels;
        self.probe_total.with_label_values(&[kind, result, container, pod, namespace, uid]).inc();
        self.probe_duration.with_label_values(&[kind, container, pod, namespace]).observe(took.as_secs_f64());
    }

    /// The probes of a pod are over: what was counted of them goes.
    pub fn forget_probe(&self, labels: ProbeLabels<'_>) {
        let ProbeLabels { kind, container, pod, namespace, uid } = labels;
        for result in ["successful", "failed", "unknown"] {
            // What was never counted cannot be removed, which is as well.
            let _ = self.probe_total.remove_label_values(&[kind, result, container, pod, namespace, uid]);
        }
        let _ = self.probe_duration.remove_label_values(&[kind, container, pod, namespace]);
    }

    /// A pod began to run so long after it was seen first, and so long after it was made, where that is known.
    pub fn pod_started(&self, after: Duration, in_all: Option<Duration>) {
        self.pod_start.observe(after.as_secs_f64());
        if let Some(in_all) = in_all {
            self.pod_start_total.observe(in_all.as_secs_f64());
        }
    }

    /// The API has a pod's status, so long after it had changed first.
    pub fn status_written(&self, after: Duration) {
        self.status_writes.observe(after.as_secs_f64());
    }

    /// A pod was found that nobody asks for.
    pub fn pod_orphaned(&self) {
        self.orphaned_pods.inc();
    }

    /// A look at a pod took so long; it was to `sync` or to `kill` it.
    pub fn pod_synced(&self, operation: &str, took: Duration) {
        self.pod_worker.with_label_values(&[operation]).observe(took.as_secs_f64());
    }

    /// A sandbox was to be made.
    pub fn sandbox_started(&self, is_made: bool) {
        self.started_pods.inc();
        if !is_made {
            self.started_pod_errors.inc();
        }
    }

    /// A container was to be started, which failed for a reason if there is one.
    pub fn container_started(&self, container_type: &str, failure: Option<&str>) {
        self.started_containers.with_label_values(&[container_type]).inc();
        if let Some(reason) = failure {
            self.started_container_errors.with_label_values(&[container_type, reason]).inc();
        }
    }

    /// A request was answered; `path` is its first segment.
    pub fn answered(&self, method: &str, path: &str, is_long: bool, took: Duration) {
        let labels = [method, path, "readwrite", if is_long { "true" } else { "false" }];
        self.http_requests.with_label_values(&labels).inc();
        self.http_durations.with_label_values(&labels).observe(took.as_secs_f64());
    }

    /// What was counted of the kubelet itself.
    pub(super) fn own(&self) -> Vec<MetricFamily> {
        self.own.gather()
    }

    /// `/metrics/probes`.
    pub fn probes(&self) -> Response {
        text(self.probes.gather())
    }
}

/// Metrics as an answer.
pub(super) fn text(mut families: Vec<MetricFamily>) -> Response {
    // The encoder takes none without values.
    families.retain(|family| !family.get_metric().is_empty());
    match TextEncoder::new().encode_to_string(&families) {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
        Err(err) => (axum::http::StatusCode::INTERNAL_SERVER_ERROR, err.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_of_a_probe_goes_with_it() {
        let metrics = Metrics::new("n1");
        let labels = ProbeLabels { kind: "Liveness", container: "c", pod: "p", namespace: "d", uid: "u" };
        let count = || metrics.probes.gather().iter().map(|family| family.get_metric().len()).sum::<usize>();
        metrics.probed(labels, "successful", Duration::from_millis(3));
        metrics.probed(labels, "failed", Duration::from_millis(3));
        assert_eq!(count(), 3);
        metrics.forget_probe(labels);
        assert_eq!(count(), 0);
    }
}
